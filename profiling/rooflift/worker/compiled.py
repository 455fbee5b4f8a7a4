"""Compiles the versions of a plan for its targets; needs no GPU and launches nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType

from rooflift.compile.kernels import compile_version
from rooflift.compile.module import load_module
from rooflift.errors import RoofliftError
from rooflift.project.cases import Case
from rooflift.worker import protocol
from rooflift.worker.program import Stop, guarded
from rooflift.worker.protocol import say
from rooflift.worker.tensors import input_shapes, make_inputs


def run(plan: protocol.Plan, part: str) -> None:
    """Compile every version on every case of a part of the work, and say what came of each kernel."""
    reference: ModuleType | None = None
    for case in protocol.shard(plan.work, part):
        with guarded("reference", case):
            if case.init is None or case.inputs is None:
                reference = reference or load_module(Path(plan.reference).absolute())
            case = _concrete(reference, case)  # the same case, with what it lacked
        for name, file in plan.versions.items():
            say(protocol.Doing(f"compiling {name} for {case.name} {case.dtype}"))
            try:
                for kernel in compile_version(Path(file).absolute(), name, case, plan.targets):
                    say(protocol.Compiled(kernel))
            except RoofliftError as error:
                say(protocol.Refused(type(error).__name__, error.message, error.remedy))
                raise Stop from None


def _concrete(reference: ModuleType | None, case: Case) -> Case:
    """Return a case with the arguments and shapes of the reference where it has none of its own."""
    import torch

    if reference is None:  # it was loaded for what the case lacks
        return case
    init = reference.get_init_inputs() if case.init is None else case.init
    if case.inputs is not None:
        return replace(case, init=init)
    with torch.device("meta"):
        return replace(case, init=init, inputs=input_shapes(make_inputs(reference, case, "meta", 0)))

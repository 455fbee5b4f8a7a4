"""Compiles the versions of a plan for its targets; needs no GPU and launches nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from rooflift.compile.kernels import compile_version
from rooflift.compile.module import load_module
from rooflift.errors import RoofliftError
from rooflift.worker import protocol
from rooflift.worker.program import Stop, guarded
from rooflift.worker.protocol import say
from rooflift.worker.tensors import input_shapes, make_inputs


@dataclass(frozen=True, slots=True)
class ConcreteCase:
    """A case whose arguments and shapes are known."""

    name: str
    init: dict[str, Any] | list[Any]
    inputs: list[list[int]]


def run(plan: protocol.Plan, part: str) -> None:
    """Compile every version on every case of a part of the work, and say what came of each kernel."""
    reference: ModuleType | None = None
    for case in protocol.shard(plan.work, part):
        with guarded("reference", case):
            if case.init is None or case.inputs is None:
                reference = reference or load_module(Path(plan.reference).absolute())
            concrete = _concrete(reference, case)
        for name, file in plan.versions.items():
            say(protocol.Doing(f"compiling {name} for {case.case} {case.dtype}"))
            try:
                for kernel in compile_version(Path(file).absolute(), name, concrete, case.dtype, plan.targets):
                    say(protocol.Compiled(kernel))
            except RoofliftError as error:
                say(protocol.Refused(type(error).__name__, error.message, error.remedy))
                raise Stop from None


def _concrete(reference: ModuleType | None, case: protocol.CasePlan) -> ConcreteCase:
    """Return a case with the arguments and shapes of the reference where it has none of its own."""
    import torch

    init, inputs = case.init, case.inputs
    if reference is not None:
        init = reference.get_init_inputs() if init is None else init
        if inputs is None:
            with torch.device("meta"):
                inputs = input_shapes(make_inputs(reference, case, "meta", 0))
    assert init is not None  # the reference was loaded for what the case lacks
    assert inputs is not None
    return ConcreteCase(case.case, init, inputs)

"""Compiles the versions of a plan for its targets; needs no GPU and launches nothing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rooflift.compile.kernels import compile_version
from rooflift.compile.module import load_module, own_constants
from rooflift.compile.sass import Instruction
from rooflift.errors import RoofliftError
from rooflift.project.cases import Case
from rooflift.worker import protocol
from rooflift.worker.inputs import make_inputs
from rooflift.worker.program import Stop, guarded
from rooflift.worker.protocol import say
from rooflift.worker.stand_in import gpu_stands_in
from rooflift.worker.tensors import make_model


def run(plan: protocol.Plan, part: str) -> None:
    """Compile every version on every case of a part of the work, and say what came of each kernel."""
    for case in protocol.shard(plan.work, part):
        with guarded("reference", case):
            reference = reference_of(Path(plan.reference).absolute(), case)
            inputs = make_inputs(reference, case, "meta", seed=0)
        for name, file in plan.versions.items():
            say(protocol.Doing(f"compiling {name} for {case.name} {case.dtype}"))
            forward = partial(forward_on_meta, Path(file).absolute(), reference, case, inputs)
            listed: list[list[Instruction]] | None = [] if plan.listed else None
            try:
                kernels = compile_version(forward, name, case, plan.targets, listed)
            except RoofliftError as error:
                say(protocol.Refused(type(error).__name__, error.message, error.remedy))
                raise Stop from None
            for number, kernel in enumerate(kernels):
                say(protocol.Compiled(kernel, listed[number] if listed else []))
            if not kernels:
                say(protocol.NoKernel(name, case.name, case.dtype))


def reference_of(path: Path, case: Case) -> Any:
    """Return the reference, None for a case that says all of its arguments and inputs itself."""
    own = case.init is None or case.inputs is None or case.constants
    return load_module(path, constants=case.constants) if own else None


def forward_on_meta(file: Path, reference: Any, case: Case, inputs: Sequence[Any] | None = None) -> object:
    """Call a version on meta tensors, which it takes for a GPU's; None: the inputs that the case has on one."""
    with gpu_stands_in("meta"):
        version = load_module(file, constants=own_constants(file, case.constants))
    model = make_model(version.ModelNew, reference, case, "meta", seed=0)
    given = make_inputs(reference, case, "meta", seed=0) if inputs is None else inputs
    with gpu_stands_in("meta"):
        return model(*given)

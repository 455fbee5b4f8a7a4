"""The program that runs kernels: under ncu, for timing, or for checking. One process for all versions of a request."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from rooflift.compile.module import load_module
from rooflift.project.cases import Case
from rooflift.schema import DISPATCH, MachineCode, ResolvedCase
from rooflift.worker import protocol
from rooflift.worker.baselines import slow_baselines
from rooflift.worker.correctness import check_version, reference_result
from rooflift.worker.device import describe_device, gpu_state
from rooflift.worker.failure import describe_exception
from rooflift.worker.interpreter import fix_interpreter
from rooflift.worker.machine_code import launched_sha256
from rooflift.worker.protocol import Mismatch, say
from rooflift.worker.stream import memory_calls
from rooflift.worker.tensors import (
    flop_of,
    input_shapes,
    make_inputs,
    make_model,
    traffic,
)
from rooflift.worker.timing import Moment, time_providers


class Stop(Exception):
    """The request cannot go on; the event that says why has been sent."""


@contextmanager
def guarded(version: str, case: Case) -> Iterator[None]:
    """Turn whatever a version raises into a Broken event."""
    try:
        yield
    except Stop:
        raise
    except Exception as error:  # noqa: BLE001  # a kernel file may raise anything
        import triton

        compile_errors = (triton.CompilationError, triton.runtime.errors.PTXASError)
        compiling = isinstance(error, compile_errors) or "ptxas" in str(error)
        say(protocol.Broken(version, case.name, case.dtype, compiling, describe_exception(error)))
        raise Stop from None


class Program:
    """The loaded plan on one device."""

    def __init__(self, plan: protocol.Plan, device: str) -> None:
        self.plan, self.device = plan, device
        self.resolved: list[ResolvedCase] = []  # of the cases that were timed, without their FLOP
        nothing = Case("", None, None, ("",))
        with guarded("reference", nothing):
            self.reference = load_module(Path(plan.reference).absolute())
        self.versions: dict[str, ModuleType] = {}
        for name, file in plan.versions.items():
            with guarded(name, nothing):
                self.versions[name] = load_module(Path(file).absolute())
        self.checked = dict(self.versions)  # and timed
        if plan.dispatch:
            with guarded(DISPATCH, nothing):
                self.checked[DISPATCH] = load_module(Path(plan.dispatch).absolute())

    def check(self, case: Case) -> None:
        """Compare every version with the reference, on every seed."""
        for seed in range(self.plan.options.seeds):
            with guarded("reference", case):
                expected = reference_result(self.reference, case, self.device, seed)
            for name, module in self.checked.items():
                if seed == 0:
                    say(protocol.Doing(f"checking {name} on {case.name} {case.dtype}"))
                with guarded(name, case):
                    result = check_version(name, module, self.reference, case, self.device, seed, expected)
                if isinstance(result, Mismatch):
                    say(protocol.Wrong(result))
                    raise Stop
                say(protocol.Checked(result))
            del expected  # before the next seed's: in float64 it is the largest tensor of all

    def compile(self, case: Case) -> None:
        """Run every version once: what is compiled lies in triton's cache from then on."""
        say(protocol.Doing(f"compiling for {case.name} {case.dtype}"))
        with guarded("reference", case):
            inputs = make_inputs(self.reference, case, self.device, seed=0)
        self.calls(case, inputs)
        del inputs
        _free()

    def calls(self, case: Case, inputs: list[Any]) -> dict[str, Any]:
        """Return one call a version, warm: compiled, and tuned where it tunes itself."""
        import torch

        calls = {}
        for name, module in self.checked.items():
            with guarded(name, case):
                model = make_model(module.ModelNew, self.reference, case, self.device, seed=0)
                model(*inputs)
                torch.cuda.synchronize()
                calls[name] = partial(model, *inputs)
        return calls

    def time(self, case: Case, place: str) -> None:
        """Time the versions, the baselines, and what moves the case's compulsory bytes and does nothing else."""
        with guarded("reference", case):
            inputs = make_inputs(self.reference, case, self.device, seed=0)
            eager = make_model(self.reference.Model, self.reference, case, self.device, seed=0)
            moved = traffic(inputs, eager, eager(*inputs))
        init = self.reference.get_init_inputs() if case.init is None else case.init
        shapes = input_shapes(inputs)
        resolved = ResolvedCase(case.name, case.dtype, init, shapes, sum(moved), None, "", *moved)
        self.resolved.append(resolved)
        say(protocol.Doing(f"timing {case.name} {case.dtype}{place}"))
        providers = self.calls(case, inputs)
        for name, call in providers.items():
            code = launched_sha256(call)
            if code:
                say(protocol.Code(MachineCode(name, case.name, case.dtype, code)))
        providers["torch_eager"] = partial(eager, *inputs)
        if self.plan.options.slow_baselines:
            providers |= slow_baselines(case, eager, inputs)
        providers |= memory_calls(moved)
        timed_calls = {(name, 0): call for name, call in providers.items()}
        if self.plan.options.noise:
            last = list(self.versions)[-1]
            timed_calls[last, 1] = providers[last]

        def look(at: Moment) -> None:
            say(protocol.State(gpu_state(case.name, case.dtype, at)))

        assert self.plan.sampling is not None  # of every plan that is timed
        timed = time_providers(timed_calls, self.plan.sampling, f"{case.name} {case.dtype}", look)
        for (provider, repeat), times_us in timed.times_us.items():
            positions = timed.positions[provider, repeat]
            say(protocol.Samples(provider, repeat, case.name, case.dtype, times_us, positions))

    def profile(self, case: Case) -> None:
        """Run each version once inside its NVTX range, which is what ncu records."""
        import torch

        inputs = make_inputs(self.reference, case, self.device, seed=0)
        for name, call in self.calls(case, inputs).items():
            if name not in self.versions:
                continue
            torch.cuda.nvtx.range_push(protocol.RANGE)
            torch.cuda.nvtx.range_push(protocol.range_name(name, case))
            call()
            torch.cuda.synchronize()
            torch.cuda.nvtx.range_pop()
            torch.cuda.nvtx.range_pop()


def run(task: protocol.Task, plan: protocol.Plan, part: str) -> None:
    """Do one task for every case of the plan, or of its part."""
    # one process compiles for torch.compile: its pool of processes would outlive this one and hold its output open
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
    import torch
    from filelock import FileLock

    device = "cuda"
    turn: AbstractContextManager[object] = FileLock(protocol.GPU_LOCK)
    if os.environ.get("TRITON_INTERPRET") == "1":
        device, turn = "cpu", nullcontext()
        fix_interpreter()
    program = Program(plan, device)
    torch.empty(1, device=device)  # makes the CUDA context, while the other process may hold the lock
    if task == "time":
        gpu_state("", "", "before")  # wakes NVML, too
    with torch.no_grad():
        if task == "check":
            for case in protocol.shard(plan.work, part):
                if device == "cuda":
                    program.compile(case)  # many processes may do so at once; their comparisons take turns
                with turn:
                    program.check(case)
                    _free()
        else:
            with turn:
                _measure(task, program)
    for case, resolved in zip(plan.work, program.resolved, strict=False):  # timed: the other process has the GPU now
        flop, source = flop_of(program.reference, case, plan.known)
        say(protocol.Resolved(msgspec.structs.replace(resolved, flop=flop, flop_source=source)))


def _measure(task: protocol.Task, program: Program) -> None:
    """Time or profile every case, after a check where none was made before."""
    plan = program.plan
    if task == "time":
        say(describe_device())
    work = plan.work if task == "time" else plan.profiled
    for number, case in enumerate(work, 1):
        if not plan.checked:
            program.check(case)
        if task == "time":
            program.time(case, f", {number} of {len(work)}" if len(work) > 1 else "")
        else:
            program.profile(case)
        _free()


def _free() -> None:
    """Give back the memory of a case: the next one, or the process whose turn it is, may need all of it."""
    import torch

    torch.cuda.empty_cache()

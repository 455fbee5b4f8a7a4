"""The program that runs kernels: under ncu, for timing, or for checking. One process for all versions of a request."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from rooflift.compile.module import load_module, own_constants
from rooflift.errors import RoofliftError
from rooflift.project.cases import Case
from rooflift.region import RANGE
from rooflift.schema import DISPATCH, CheckRecord, MachineCode, ResolvedCase
from rooflift.worker import protocol, replayed
from rooflift.worker.baselines import slow_baselines
from rooflift.worker.candidate import ready_to_record
from rooflift.worker.configured import with_configuration
from rooflift.worker.correctness import check_model, check_version, compare, truth_of
from rooflift.worker.device import describe_device, gpu_state
from rooflift.worker.failure import describe_exception
from rooflift.worker.gaps import interpreter_gap
from rooflift.worker.inputs import describe, make_inputs
from rooflift.worker.interpreter import fix_interpreter
from rooflift.worker.machine_code import launched_sha256
from rooflift.worker.protocol import Mismatch, say
from rooflift.worker.replayed import Rotating
from rooflift.worker.stand_in import gpu_stands_in
from rooflift.worker.stream import MEMORY_PROVIDERS, memory_calls
from rooflift.worker.tensors import make_model, make_reference
from rooflift.worker.timing import Moment, time_providers
from rooflift.worker.truth import Truth, find_truth, precision
from rooflift.worker.work import flop_of, stated_traffic, traffic


class Stop(Exception):
    """The request cannot go on; the event that says why has been sent."""


class NotComparable(Exception):
    """Triton's interpreter cannot run a version on a case; the event that says so has been sent."""


@contextmanager
def guarded(version: str, case: Case) -> Iterator[None]:
    """Turn whatever a version raises into a Broken event."""
    try:
        yield
    except Stop:
        raise
    except RoofliftError as error:
        say(protocol.Refused(type(error).__name__, error.message, error.remedy, version, case.name, case.dtype))
        raise Stop from None
    except Exception as error:  # noqa: BLE001  # a kernel file may raise anything
        import torch
        import triton

        if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error):
            what = f"{version} on {case.name} {case.dtype}: {describe_exception(error)}"
            remedy = "Make the case smaller, or let the version take less memory."
            say(protocol.Refused("KernelFault", what, remedy, version, case.name, case.dtype))
            raise Stop from None
        gap = interpreter_gap(error)
        if gap and version != "reference":
            say(protocol.Gap(version, case.name, case.dtype, gap))
            raise NotComparable from None
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
        self.modules: dict[tuple[str, str], ModuleType] = {}  # by file, the constants that a case gives it, variables
        with guarded("reference", nothing):
            self.reference(nothing)
        self.checked = dict(plan.versions)  # and timed: names and files
        if plan.dispatch:
            self.checked[DISPATCH] = plan.dispatch
        # plans are read case by case, and a configuration that cannot be loaded hinders no other
        self.loaded = [] if plan.configurations else [name for name in self.checked if not self.replays(name)]
        for name in self.loaded:
            try:
                with self.trying(name, nothing):
                    self.version(name, nothing)
            except NotComparable:
                del self.checked[name]

    @contextmanager
    def trying(self, name: str, case: Case) -> Iterator[None]:
        """Let a version run; one that is wrong or does not run is left out where the plan goes on without it.

        Behind some faults nothing runs in this process: it stops then, as it does when no version is left.
        """
        say(protocol.Trying(name))
        try:
            with guarded(name, case):
                yield
        except Stop:
            self.checked.pop(name, None)
            if not self.plan.leave_out or not self.checked.keys() & self.plan.versions or not _alive(self.device):
                raise
        say(protocol.Trying(""))  # not where the version has left the program

    def replays(self, name: str) -> bool:
        """Tell whether a version is a launch plan here, and its file is not loaded."""
        return self.plan.replayed and name not in self.plan.trusted

    def reference(self, case: Case) -> ModuleType:
        """Return reference.py with the module constants of a case."""
        return self._module(Path(self.plan.reference).absolute(), case.constants)

    def version(self, name: str, case: Case) -> ModuleType:
        """Return a version, with those of the case's constants that its file assigns as well."""
        file = Path(self.checked[name]).absolute()
        with gpu_stands_in(self.device):
            return self._module(file, own_constants(file, case.constants), self.plan.configurations.get(name))

    def _module(
        self, file: Path, constants: dict[str, Any], configuration: Mapping[str, Any] | None = None
    ) -> ModuleType:
        key = str(file), f"{sorted(constants.items())} {configuration}"
        if key not in self.modules:
            self.modules[key] = load_module(file, constants=constants, variables=configuration)
        return self.modules[key]

    def check(self, case: Case) -> None:
        """Compare every version with the reference, on every seed."""
        for seed in range(self.plan.options.seeds):
            with guarded("reference", case):
                reference = self.reference(case)
                truth = truth_of(reference, case, self.device, seed)
            for name in list(self.checked):
                if seed == 0:
                    say(protocol.Doing(f"checking {name} on {case.name} {case.dtype}"))
                with suppress(NotComparable), self.trying(name, case):
                    result = self._check(name, reference, case, seed, truth)
                    if isinstance(result, Mismatch):
                        say(protocol.Wrong(result))
                        raise Stop
                    say(protocol.Checked(result))
            del truth  # before the next seed's: in float64 it is the largest of all

    def _check(self, name: str, reference: ModuleType, case: Case, seed: int, truth: Truth) -> CheckRecord | Mismatch:
        if not self.replays(name):
            return check_version(name, self.version(name, case), reference, case, self.device, seed, truth)
        version = replayed.load(name, case, truth.model, self.device)
        return check_model(name, version, version.missing, case, self.device, seed, truth)

    def compile(self, case: Case) -> None:
        """Run every version once: what is compiled lies in triton's cache from then on."""
        say(protocol.Doing(f"compiling for {case.name} {case.dtype}"))
        with guarded("reference", case):
            inputs = make_inputs(self.reference(case), case, self.device, seed=0)
        self.calls(case, inputs)
        del inputs
        _free()

    def calls(self, case: Case, inputs: list[Any]) -> dict[str, Any]:
        """Return one call a version, warm: compiled, and tuned where it tunes itself."""
        import torch

        calls = {}
        for name in list(self.checked):
            with self.trying(name, case):
                call = self._call(name, case, inputs)
                call()
                torch.cuda.synchronize()
                calls[name] = call
        return calls

    def _call(self, name: str, case: Case, inputs: list[Any]) -> Callable[[], Any]:
        reference = self.reference(case)
        if not self.replays(name):
            cls = self.version(name, case).ModelNew
            model = make_model(cls, reference, case, self.device, seed=0, drawn_on=self.device)
            return partial(with_configuration(model, self.plan.configurations.get(name)), *inputs)
        version = replayed.load(name, case, make_reference(reference, case, self.device, 0), self.device)
        seed = self.plan.sampling.seed if self.plan.sampling else 0
        draw = random.Random(f"{seed} {case.name} {case.dtype}")  # noqa: S311  # the run keeps its seed
        more = [make_inputs(reference, case, self.device, draw.randrange(2**31)) for _ in range(replayed.POOL - 1)]
        return replayed.Rotating(version, [inputs, *more])

    def time(self, case: Case, place: str) -> None:
        """Time the versions, the baselines, and what moves the case's compulsory bytes and does nothing else.

        TF32 is allowed to all of them or to none, as the case says.
        """
        with precision(case.allow_tf32):
            self._time(case, place)

    def _time(self, case: Case, place: str) -> None:
        with guarded("reference", case):
            reference = self.reference(case)
            inputs = make_inputs(reference, case, self.device, seed=0)
            eager = make_model(reference.Model, reference, case, self.device, seed=0, drawn_on=self.device)
            moved, bytes_source = stated_traffic(case, traffic(inputs, eager, eager(*inputs)))
        init = reference.get_init_inputs() if case.init is None else case.init
        shapes = describe(inputs)
        resolved = ResolvedCase(
            case.name,
            case.dtype,
            init,
            shapes,
            sum(moved),
            None,
            "",
            *moved,
            bytes_source=bytes_source,
            allow_tf32=case.allow_tf32,
        )
        self.resolved.append(resolved)
        say(protocol.Doing(f"timing {case.name} {case.dtype}{place}"))
        providers = self.calls(case, inputs)
        for name, call in providers.items():
            code = call.version.sha256() if isinstance(call, Rotating) else launched_sha256(call)
            if code:
                say(protocol.Code(MachineCode(name, case.name, case.dtype, code)))
        providers["torch_eager"] = partial(eager, *inputs)
        if self.plan.options.slow_baselines:
            own = Path(self.plan.baselines) if self.plan.baselines else None
            taken = [*self.checked, "torch_eager", *MEMORY_PROVIDERS]
            providers |= slow_baselines(case, eager, inputs, own, taken)
        providers |= memory_calls(moved)
        timed_calls = {(name, 0): call for name, call in providers.items()}
        if self.plan.options.noise:
            last = [name for name in self.plan.versions if name in providers][-1]
            timed_calls[last, 1] = providers[last]

        def look(at: Moment) -> None:
            say(protocol.State(gpu_state(case.name, case.dtype, at)))

        assert self.plan.sampling is not None  # of every plan that is timed
        rotating = {key: call for key, call in timed_calls.items() if isinstance(call, Rotating)}
        before = {key: call.before for key, call in rotating.items()}
        after = {key: call.after for key, call in rotating.items()}
        timed = time_providers(timed_calls, self.plan.sampling, f"{case.name} {case.dtype}", look, before, after)
        for (name, _), call in rotating.items():
            with self.trying(name, case):
                self._check_left(name, call, reference, case)
        for (provider, repeat), times_us in timed.times_us.items():
            positions = timed.positions[provider, repeat]
            say(protocol.Samples(provider, repeat, case.name, case.dtype, times_us, positions))

    def _check_left(self, name: str, call: Rotating, reference: ModuleType, case: Case) -> None:
        """Compare what random timed calls and the last one left, of inputs that the draw chose, with the truth."""
        for got, inputs in call.left():
            truth = find_truth(reference, case, self.device, 0, inputs)
            found = compare(got, inputs, truth, name, case, 0, call.version.missing)
            if isinstance(found, Mismatch):
                say(protocol.Wrong(found))
                raise Stop

    def profile(self, case: Case) -> None:
        """Run each version once inside its NVTX range, which is what ncu records."""
        import torch

        inputs = make_inputs(self.reference(case), case, self.device, seed=0)
        with precision(case.allow_tf32):
            for name, call in self.calls(case, inputs).items():
                if name not in self.plan.versions:
                    continue
                torch.cuda.nvtx.range_push(RANGE)
                torch.cuda.nvtx.range_push(protocol.range_name(name, case))
                call()
                torch.cuda.synchronize()
                torch.cuda.nvtx.range_pop()
                torch.cuda.nvtx.range_pop()


def _alive(device: str) -> bool:
    """Whether the device takes work still; an access outside of memory ends a process's use of a GPU."""
    import torch

    if device == "cuda":
        try:
            torch.cuda.synchronize()
        except RuntimeError:
            return False
    return True


def record(plan: protocol.Plan) -> None:
    """Leave the launch plans of every version of a plan, on all of its cases."""
    ready_to_record()
    for name in plan.versions:
        for case in [*plan.work, *(case for case in plan.profiled if case not in plan.work)]:
            say(protocol.Doing(f"recording {name} on {case.name} {case.dtype}"))
            with guarded(name, case):
                replayed.record_case(plan, name, case)


def run(task: protocol.Task, plan: protocol.Plan, part: str) -> None:
    """Do one task for every case of the plan, or of its part."""
    if task == "record":
        record(plan)
        return
    # one process compiles for torch.compile: its pool of processes would outlive this one and hold its output open
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
    import torch
    from filelock import FileLock

    device = "cuda"
    turn: AbstractContextManager[object] = FileLock(protocol.GPU_LOCK, poll_interval=0.01)
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
        flop = flop_of(program.reference(case), case, plan.known)
        counted = {"flop": flop.total, "flop_by_unit": flop.by_unit, "flop_source": flop.source}
        say(protocol.Resolved(msgspec.structs.replace(resolved, **counted)))


def _measure(task: protocol.Task, program: Program) -> None:
    """Time every case, after a check where none was made before, or profile those that ncu is to see."""
    plan = program.plan
    if task == "time":
        say(describe_device())
    work = plan.work if task == "time" else plan.profiled
    for number, case in enumerate(work, 1):
        if task == "time":
            if not plan.checked:
                program.check(case)
            program.time(case, f", {number} of {len(work)}" if len(work) > 1 else "")
        else:
            program.profile(case)
        _free()


def _free() -> None:
    """Give back the memory of a case: the next one, or the process whose turn it is, may need all of it."""
    import torch

    torch.cuda.empty_cache()

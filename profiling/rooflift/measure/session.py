"""One measurement: versions staged in a neutral folder, timed in one process and profiled by ncu in another.

The two processes start together and take turns on the GPU, so that the imports of one hide behind the other. Before
them, where much has to be compiled, several processes check the versions and leave them compiled in triton's cache.
"""

from __future__ import annotations

import asyncio
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from rooflift import errors
from rooflift.errors import KernelFault, WrongResult
from rooflift.measure.checkpoint import Checkpoint
from rooflift.measure.faults import kernel_fault, unfinished, wrong_result
from rooflift.measure.request import Request, in_dtypes
from rooflift.ncu.command import find_ncu, ncu_command, parse_version, progress_line
from rooflift.ncu.failures import explain
from rooflift.process import child_environment, run_to_end, stream
from rooflift.project.cases import Case
from rooflift.project.inline import inline
from rooflift.project.operator import Operator, Version
from rooflift.runs import atomic
from rooflift.schema import DISPATCH, CheckRecord, CompiledKernel, GpuState, MachineCode, ResolvedCase, Sampling
from rooflift.worker import protocol
from rooflift.worker.protocol import Plan, worker_command

if TYPE_CHECKING:
    from rooflift.sandbox.sandbox import Sandbox

Progress = Callable[[str], None]
Job = Callable[[], Coroutine[None, None, None]]
MUCH = 16  # kernels, 1 to 5 s of compilation each: from here on more processes save more than their start costs
MOST_PROCESSES = 8
FEW = 8  # comparisons in the interpreter, a second or less each: for more of them the imports of one more process pay


@dataclass(frozen=True, slots=True)
class MetricRequest:
    """What ncu is to collect, and where its report goes."""

    metrics: Sequence[str]
    sections: Sequence[str]
    full_set: bool
    report: Path


@dataclass(slots=True)
class Measurement:
    """What the processes said."""

    device: protocol.Device | None = None
    checks: list[CheckRecord] = field(default_factory=list)
    cases: list[ResolvedCase] = field(default_factory=list)
    samples: list[protocol.Samples] = field(default_factory=list)
    states: list[GpuState] = field(default_factory=list)
    machine_code: list[MachineCode] = field(default_factory=list)
    left_out: list[protocol.LeftOut] = field(default_factory=list)
    compiled: list[CompiledKernel] = field(default_factory=list)
    ncu_command: list[str] = field(default_factory=list)
    ncu_version: str | None = None


class Profiled(NamedTuple):
    """What is known of ncu's report beside itself."""

    command: list[str]  # as it is published
    version: str


@contextmanager
def staged(operator: Operator, versions: Sequence[Version], plan: Plan) -> Iterator[Path]:
    """Yield a neutral folder with the kernel files and plan.json: ncu writes the paths it sees into its report.

    The plan's versions are filled in with the names of their copies.
    """
    with tempfile.TemporaryDirectory(prefix="rooflift-") as name:
        stage = Path(name)
        shutil.copy(operator.reference, stage / plan.reference)
        for version in versions:
            shutil.copy(version.path, stage / version.path.name)
        if plan.dispatch and operator.dispatch is not None:
            (stage / plan.dispatch).write_text(inline(operator.dispatch), encoding="utf-8")
        files = {version.name: version.path.name for version in versions}
        (stage / "plan.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(plan, versions=files)))
        yield stage


def measure(
    request: Request,
    wanted: MetricRequest | None,
    sampling: Sampling,
    progress: Progress,
    known: Sequence[ResolvedCase] = (),
    checkpoint: Checkpoint | None = None,
) -> Measurement:
    """Check and time the versions on this machine's GPU, and profile them under one ncu process.

    The FLOP of the `known` cases, of runs of the same reference, is not counted again. What `checkpoint` holds is not
    measured again, and what is finished is put there.

    Raises:
        KernelFault: a version does not compile or run, or the time limit is over.
        WrongResult: a version differs from the reference.
        NcuFault: ncu is missing or failed; CounterPermission when it was refused the performance counters.
    """
    checkpoint = checkpoint or Checkpoint(None)
    work = request.timed
    processes = checking_processes(len(work), len(request.versions), os.cpu_count() or 1)
    timed = checkpoint.load("times", Measurement)
    checked = checkpoint.load("checks", Measurement) if timed is None and processes else None
    seen = timed or checked or Measurement()
    profiled = checkpoint.load("metrics", Profiled) if wanted is not None and wanted.report.exists() else None
    providers = len(request.versions) + (request.dispatch is not None)
    with_count = _with_count(seen, len(work) * providers * request.options.seeds, progress)
    plan = Plan(
        dispatch=_dispatch_file(request),
        work=work,
        profiled=request.profiled,
        options=request.options,
        sampling=sampling,
        checked=processes > 0,
        known=list(known),
    )
    with staged(request.operator, request.versions, plan) as stage:
        checks: list[Job] = [
            partial(run_worker, stage, "check", {}, seen, with_count, f"{index}/{processes}", request.sandbox)
            for index in range(processes)
        ]

        async def check_done() -> None:
            checkpoint.save("checks", seen)

        async def time() -> None:
            await run_worker(stage, "time", {}, seen, progress, sandbox=request.sandbox)
            checkpoint.save("times", seen)

        async def profile(wanted: MetricRequest) -> None:
            nonlocal profiled
            profiled = await _profile(stage, wanted, progress, request.sandbox)
            checkpoint.save("metrics", profiled)

        jobs: list[Job] = [partial(profile, wanted)] if wanted is not None and profiled is None else []
        jobs += [time] if timed is None else []
        before: list[list[Job]] = [checks, [check_done]] if processes and jobs and not seen.checks else []
        run_to_end(in_turn([*before, jobs], request.timeout_s))
    if profiled is not None:
        seen.ncu_command, seen.ncu_version = profiled.command, profiled.version
    seen.checks = in_order(seen.checks, work)
    return seen


def _dispatch_file(request: Request) -> str:
    return request.dispatch.name if request.dispatch is not None else ""


def checking_processes(cases: int, versions: int, cores: int) -> int:
    """Return how many processes check before timing and profiling begin; 0: those two check for themselves.

    Each core of a pair compiles, at most `MOST_PROCESSES` of them: they hold inputs and outputs of a case each.
    """
    processes = min(MOST_PROCESSES, cores // 2, cases)
    return processes if processes > 1 and cases * versions >= MUCH else 0


async def in_turn(stages: Sequence[Sequence[Job]], timeout_s: float) -> None:
    """Run stage after stage, the jobs of each side by side; the first fault, the time limit or Ctrl-C ends them all."""
    try:
        async with asyncio.timeout(timeout_s):
            for jobs in stages:
                async with asyncio.TaskGroup() as group:
                    for job in jobs:
                        group.create_task(job())
    except ExceptionGroup as faults:
        raise faults.exceptions[0] from None
    except TimeoutError:
        raise KernelFault(
            f"the work ran past {timeout_s:g} s", "Give it more time with --timeout, or fewer versions or cases."
        ) from None


async def _profile(stage: Path, wanted: MetricRequest, progress: Progress, sandbox: Sandbox | None) -> Profiled:
    ncu = str(find_ncu())
    command = ncu_command(
        ncu, worker_command("profile"), "report.ncu-rep", wanted.metrics, wanted.sections, wanted.full_set
    )
    published = ncu_command(
        "ncu", ["python", *worker_command("profile")[1:]], "report.ncu-rep", wanted.metrics, wanted.sections,
        wanted.full_set,
    )  # fmt: skip  # as it is published: without the paths of this machine
    release = asyncio.create_task(stream([ncu, "--version"], stage, {}, lambda _: None))

    def on_line(line: str) -> None:
        _hear(line, Measurement(), progress)  # the timing process says the same of checks and cases
        said = progress_line(line)
        if said:
            progress(said)

    if sandbox is None:
        ended = await stream(command, stage, child_environment(), on_line)
    else:
        ended = await sandbox.run(command, stage, {}, on_line, "profiled")
    version = parse_version((await release).output)
    report = stage / "report.ncu-rep"
    written = report.is_file() and not report.is_symlink()  # a version may have put a link in its place
    fault = explain(ended.output, ended.returncode, written, shutil.disk_usage(stage).free)
    if fault is not None:
        raise fault
    with atomic.told(wanted.report):
        shutil.move(report, wanted.report)
    return Profiled(published, version)


async def run_worker(
    stage: Path,
    task: protocol.Task,
    environment: dict[str, str],
    seen: Measurement,
    progress: Progress,
    part: str = protocol.WHOLE,
    sandbox: Sandbox | None = None,
) -> None:
    """Run the target program for one task, or a part of it, and collect what it says.

    Raises:
        KernelFault: a version, or the program itself, broke.
        WrongResult: a version differs from the reference.
    """
    command = worker_command(task, *([part] if part != protocol.WHOLE else []))
    # before a version can write there
    plan = msgspec.json.decode((stage / "plan.json").read_bytes(), type=Plan)

    def on_line(line: str) -> None:
        _hear(line, seen, progress)

    if sandbox is None:
        ended = await stream(command, stage, child_environment() | environment, on_line)
    else:
        ended = await sandbox.run(command, stage, environment, on_line)
    if ended.returncode != 0 or not _complete(plan, task, seen, part):
        raise unfinished(ended)


def _complete(plan: Plan, task: protocol.Task, seen: Measurement, part: str) -> bool:
    """Tell whether the program said all that its plan asks for: a kernel file may have left it with code 0."""
    own = {(case.name, case.dtype) for case in protocol.shard(plan.work, part)}
    if task == "compile":
        compiled = {(kernel.version, kernel.case, kernel.dtype) for kernel in seen.compiled}
        return compiled >= {(version, *case) for version in plan.versions for case in own}
    providers = [*plan.versions, *([DISPATCH] if plan.dispatch else [])]
    checks = sum((check.case, check.dtype) in own for check in seen.checks)
    if checks != len(providers) * len(own) * plan.options.seeds:
        return False
    timed = {(s.provider, s.case, s.dtype) for s in seen.samples}
    asked = {(provider, *case) for provider in providers for case in own}
    return task != "time" or (timed >= asked and own == {(case.case, case.dtype) for case in seen.cases})


def _hear(line: str, seen: Measurement, progress: Progress) -> None:  # noqa: C901  # one branch an event
    """Take one line of the target: an event, or something that a library printed."""
    match protocol.read_event(line):
        case protocol.Doing(text):
            progress(text)
        case protocol.Checked(record):
            seen.checks.append(record)
        case protocol.Resolved(case):
            seen.cases.append(case)
        case protocol.Samples() as samples:
            seen.samples.append(samples)
        case protocol.Code(code):
            seen.machine_code.append(code)
        case protocol.State(state):
            seen.states.append(state)
        case protocol.LeftOut() as left_out:
            seen.left_out.append(left_out)
        case protocol.Device() as device:
            seen.device = device
        case protocol.Compiled(kernel):
            seen.compiled.append(kernel)
        case protocol.Refused(error, message, remedy):
            raise getattr(errors, error)(message, remedy)
        case protocol.Broken() as broken:
            raise kernel_fault(broken)
        case protocol.Wrong(mismatch):
            raise WrongResult(*wrong_result(mismatch))


def verify(request: Request, cases: Sequence[Case], interpret: bool, progress: Progress) -> list[CheckRecord]:
    """Compare versions with the reference, on the GPU or in Triton's interpreter.

    Raises:
        KernelFault, WrongResult: as `measure`.
    """
    seen = Measurement()
    with checking(request, cases, interpret, seen, progress, os.cpu_count() or 1) as jobs:
        run_to_end(in_turn([jobs], request.timeout_s))
    return in_order(seen.checks, in_dtypes(cases, request.dtypes))


@contextmanager
def checking(
    request: Request, cases: Sequence[Case], interpret: bool, seen: Measurement, progress: Progress, cores: int
) -> Iterator[list[Job]]:
    """Yield the jobs that compare versions with the reference, some cases each; `seen` takes what they find."""
    work = in_dtypes(cases, request.dtypes)
    versions = len(request.versions) + (request.dispatch is not None)
    processes = checking_processes(len(work), versions, cores) or min(1, len(work))
    if interpret:
        processes = min(cores, len(work), math.ceil(len(work) * versions / FEW))
    environment = {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""} if interpret else {}
    with_count = _with_count(seen, len(work) * versions * request.options.seeds, progress)
    plan = Plan(work=work, options=request.options, dispatch=_dispatch_file(request))
    with staged(request.operator, request.versions, plan) as stage:
        yield [
            partial(run_worker, stage, "check", environment, seen, with_count, f"{index}/{processes}")
            for index in range(processes)
        ]


def _with_count(seen: Measurement, total: int, progress: Progress) -> Progress:
    """Return a progress that begins with how many comparisons are done."""
    return lambda text: progress(f"checked {len(seen.checks)} of {total}, {text}")


def in_order(checks: list[CheckRecord], work: Sequence[Case]) -> list[CheckRecord]:
    """Return checks in the order of the work; seeds and versions of a case stay as they came."""
    order = {(case.name, case.dtype): place for place, case in enumerate(work)}
    return sorted(checks, key=lambda check: order.get((check.case, check.dtype), 0))

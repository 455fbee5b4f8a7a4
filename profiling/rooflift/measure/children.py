"""The children of a measurement: kernel files staged in a neutral folder, the worker's program run there and heard."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from rooflift import errors
from rooflift.errors import KernelFault, RoofliftError, WrongResult
from rooflift.measure.faults import kernel_fault, unfinished, wrong_result
from rooflift.process import child_environment, stream
from rooflift.project.imports import imported_modules
from rooflift.project.inline import inline
from rooflift.project.operator import Operator, Version
from rooflift.schema import DISPATCH, CheckRecord, CompiledKernel, GpuState, LeftOutVersion, MachineCode, ResolvedCase
from rooflift.worker import protocol
from rooflift.worker.protocol import Plan

if TYPE_CHECKING:
    from rooflift.sandbox.sandbox import Sandbox

Progress = Callable[[str], None]
Job = Callable[[], Coroutine[None, None, None]]


@dataclass(slots=True)
class Measurement:
    """What the children said."""

    device: protocol.Device | None = None
    checks: list[CheckRecord] = field(default_factory=list)
    cases: list[ResolvedCase] = field(default_factory=list)
    samples: list[protocol.Samples] = field(default_factory=list)
    states: list[GpuState] = field(default_factory=list)
    machine_code: list[MachineCode] = field(default_factory=list)
    left_out: list[protocol.LeftOut] = field(default_factory=list)
    gaps: list[protocol.Gap] = field(default_factory=list)  # what Triton's interpreter could not compare
    compiled: list[CompiledKernel] = field(default_factory=list)
    listings: list[list[tuple[str, int, int, str]]] = field(default_factory=list)  # of the compiled, where asked for
    without_kernel: list[protocol.NoKernel] = field(default_factory=list)
    autotuned: list[protocol.Autotuned] = field(default_factory=list)
    unfit: list[protocol.Unfit] = field(default_factory=list)
    trying: str = ""  # the version or configuration that a child is at
    optional: list[str] = field(default_factory=list)  # versions whose faults end nothing
    faulty: list[LeftOutVersion] = field(default_factory=list)  # those that had one
    ncu_command: list[str] = field(default_factory=list)
    ncu_version: str | None = None

    def refuse(self, fault: RoofliftError, version: str, case: str, dtype: str) -> None:
        """Note the fault of a version that may be left out.

        Raises:
            RoofliftError: the fault, where the others cannot go on without it.
        """
        if version not in self.optional:
            raise fault
        if version not in self.left_out_versions:
            self.faulty.append(LeftOutVersion(version, case, dtype, type(fault).__name__, fault.message, fault.remedy))

    def forget(self, checks: list[CheckRecord]) -> None:
        """Take back what was said of times, and the checks but for these: a child that begins anew says it again."""
        self.checks = [*checks]
        for said in (self.cases, self.samples, self.states, self.machine_code, self.left_out):
            said.clear()

    @property
    def left_out_versions(self) -> set[str]:
        """The versions that had a fault."""
        return {fault.version for fault in self.faulty}


class CannotGoOn(Exception):
    """A child ended at a version that may be left out: the others have to be measured in another one."""


@contextmanager
def staged(operator: Operator, versions: Sequence[Version], plan: Plan) -> Iterator[Path]:
    """Yield a neutral folder with the kernel files and plan.json: ncu writes the paths it sees into its report.

    The plan's versions are filled in with the names of their copies, unless it has them: configurations of one file.
    """
    with tempfile.TemporaryDirectory(prefix="rooflift-") as name:
        stage = Path(name)
        shutil.copy(operator.reference, stage / plan.reference)
        for version in versions:
            shutil.copy(version.path, stage / f"{version.name}.py")
        for path in (operator.reference, *(version.path for version in versions)):
            for place, module in imported_modules(path, operator.folder).items():
                (stage / place).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(module, stage / place)
        if plan.dispatch and operator.dispatch is not None:
            (stage / plan.dispatch).write_text(inline(operator.dispatch), encoding="utf-8")
        if plan.baselines and operator.baselines is not None:
            shutil.copy(operator.baselines, stage / plan.baselines)
        files = plan.versions or {version.name: f"{version.name}.py" for version in versions}
        write_plan(stage, msgspec.structs.replace(plan, versions=files))
        yield stage


def read_plan(stage: Path) -> Plan:
    """Return the plan of a stage, before a version can write there."""
    return msgspec.json.decode((stage / "plan.json").read_bytes(), type=Plan)


def write_plan(stage: Path, plan: Plan) -> None:
    """Put a plan into its stage."""
    (stage / "plan.json").write_bytes(msgspec.json.encode(plan))


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
        CannotGoOn: the program ended at a version that may be left out.
    """
    command = protocol.worker_command(task, *([part] if part != protocol.WHOLE else []))
    plan = read_plan(stage)
    trying = ""  # by this child: others tell theirs to the same measurement

    def on_line(line: str) -> None:
        nonlocal trying
        seen.trying = trying
        hear(line, seen, progress)
        trying = seen.trying

    if sandbox is None:
        ended = await stream(command, stage, child_environment() | environment, on_line)
    else:
        ended = await sandbox.run(command, stage, environment, on_line)
    if ended.returncode != 0 or not _complete(plan, task, seen, part):
        if trying in seen.optional:
            seen.refuse(unfinished(ended), trying, "", "")
        if seen.left_out_versions & {*plan.versions, DISPATCH}:
            raise CannotGoOn
        raise unfinished(ended)


def _complete(plan: Plan, task: protocol.Task, seen: Measurement, part: str) -> bool:
    """Tell whether the program said all that its plan asks for: a kernel file may have left it with code 0."""
    if task in ("record", "configurations", "fit", "tune"):  # who asked finds what is missing, and goes on
        return True
    own = {(case.name, case.dtype) for case in protocol.shard(plan.work, part)}
    if task == "compile":
        compiled = {(kernel.version, kernel.case, kernel.dtype) for kernel in seen.compiled}
        compiled |= {(none.version, none.case, none.dtype) for none in seen.without_kernel}
        return compiled >= {(version, *case) for version in plan.versions for case in own}
    providers = [*plan.versions, *([DISPATCH] if plan.dispatch else [])]
    unloaded = {gap.version for gap in seen.gaps if not gap.case}
    providers = [name for name in providers if name not in unloaded | seen.left_out_versions]
    checks = sum(check.version in providers and (check.case, check.dtype) in own for check in seen.checks)
    checks += sum((gap.case, gap.dtype) in own for gap in seen.gaps)
    if checks != len(providers) * len(own) * plan.options.seeds:
        return False
    timed = {(s.provider, s.case, s.dtype) for s in seen.samples}
    asked = {(provider, *case) for provider in providers for case in own}
    return task != "time" or (timed >= asked and own == {(case.case, case.dtype) for case in seen.cases})


def hear(line: str, seen: Measurement, progress: Progress) -> None:  # noqa: C901  # one branch an event
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
        case protocol.Compiled(kernel, instructions):
            seen.compiled.append(kernel)
            seen.listings.append(instructions)
        case protocol.NoKernel() as none:
            seen.without_kernel.append(none)
        case protocol.Autotuned() as autotuned:
            seen.autotuned.append(autotuned)
        case protocol.Trying(version):
            seen.trying = version
        case protocol.Unfit() as unfit:
            seen.unfit.append(unfit)
        case protocol.Refused(error, message, remedy, version, named, dtype):
            seen.refuse(getattr(errors, error)(message, remedy), version, named, dtype)
        case protocol.Gap() as gap:
            seen.gaps.append(gap)
        case protocol.Broken() as broken:
            seen.refuse(kernel_fault(broken), broken.version, broken.case, broken.dtype)
        case protocol.Wrong(wrong):
            seen.refuse(WrongResult(*wrong_result(wrong)), wrong.version, wrong.case, wrong.dtype)

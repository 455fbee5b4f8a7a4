"""One measurement: versions staged in a neutral folder, timed in one process and profiled by ncu in another.

The two processes start together and take turns on the GPU, so that the imports of one hide behind the other. Before
them, where much has to be compiled, several processes check the versions and leave them compiled in triton's cache.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from rooflift import errors
from rooflift.errors import KernelFault, WrongResult
from rooflift.measure.checking import checking_processes, dispatch_file, in_order, with_count
from rooflift.measure.checkpoint import Checkpoint
from rooflift.measure.children import (
    CannotGoOn,
    Job,
    Measurement,
    Progress,
    hear,
    in_turn,
    read_plan,
    run_worker,
    staged,
    write_plan,
)
from rooflift.measure.request import Request
from rooflift.ncu.command import find_ncu, ncu_command, parse_version, progress_line
from rooflift.ncu.failures import explain
from rooflift.process import child_environment, run_to_end, stream
from rooflift.runs import atomic
from rooflift.schema import DISPATCH, ResolvedCase, Sampling
from rooflift.worker import protocol
from rooflift.worker.protocol import LAUNCH_PLANS, Plan

if TYPE_CHECKING:
    from rooflift.sandbox.sandbox import Sandbox


@dataclass(frozen=True, slots=True)
class MetricRequest:
    """What ncu is to collect, and where its report goes."""

    metrics: Sequence[str]
    sections: Sequence[str]
    full_set: bool
    report: Path


class Profiled(NamedTuple):
    """What is known of ncu's report beside itself."""

    command: list[str]  # as it is published
    version: str


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
        WrongResult: a version differs from the reference. Where the request says `leave_out`, the others go on, and
            what is left out is `faulty` in the measurement: both are raised when none is left.
        NcuFault: ncu is missing or failed; CounterPermission when it was refused the performance counters.
    """
    checkpoint = checkpoint or Checkpoint(None)
    work = request.timed
    processes = checking_processes(len(work), len(request.versions), os.cpu_count() or 1)
    timed = checkpoint.load("times", Measurement)
    checked = checkpoint.load("checks", Measurement) if timed is None and processes else None
    seen = timed or checked or Measurement()
    seen.optional = [*(version.name for version in request.versions), DISPATCH] if request.leave_out else []
    profiled = checkpoint.load("metrics", Profiled) if wanted is not None and wanted.report.exists() else None
    providers = len(request.versions) + (request.dispatch is not None)
    counted = with_count(seen, len(work) * providers * request.options.seeds, progress)
    plan = Plan(
        dispatch=dispatch_file(request),
        baselines=request.baselines.name if request.baselines is not None else "",
        work=work,
        profiled=request.profiled,
        options=request.options,
        sampling=sampling,
        checked=processes > 0,
        leave_out=request.leave_out,
        known=list(known),
        replayed=request.sandbox is not None and request.dispatch is None,
        trusted=list(request.trusted),
    )
    sandbox = None if request.trusted else request.sandbox
    with staged(request.operator, request.versions, plan) as stage:

        def checks() -> list[Job]:
            seen.forget([])
            parts = [f"{index}/{processes}" for index in range(processes)]
            return [partial(run_worker, stage, "check", {}, seen, counted, part, sandbox) for part in parts]

        async def time() -> None:
            nonlocal timed
            await run_worker(stage, "time", {}, seen, progress, sandbox=sandbox)
            timed = seen
            checkpoint.save("times", seen)

        async def profile(wanted: MetricRequest) -> None:
            nonlocal profiled
            profiled = await profile_staged(stage, wanted, progress, sandbox, seen)
            checkpoint.save("metrics", profiled)

        def left() -> list[Job]:
            jobs: list[Job] = [partial(profile, wanted)] if wanted is not None and profiled is None else []
            if timed is None:
                seen.forget(made)
                jobs.append(time)
            return jobs

        todo = timed is None or (wanted is not None and profiled is None)
        if plan.replayed and todo:
            _come_through(
                stage, seen, request.timeout_s, lambda: [partial(record, request, plan, stage, progress, seen=seen)]
            )
        if processes and todo and checked is None:
            _come_through(stage, seen, request.timeout_s, checks)
            checkpoint.save("checks", seen)
        made = seen.checks
        _come_through(stage, seen, request.timeout_s, left)
    if profiled is not None:
        seen.ncu_command, seen.ncu_version = profiled.command, profiled.version
    seen.checks = in_order(seen.checks, work)
    return seen


def _come_through(stage: Path, seen: Measurement, timeout_s: float, jobs: Callable[[], Sequence[Job]]) -> None:
    """Run jobs, anew where they could not go on behind a version, without it then."""
    while True:
        _leave_out(stage, seen)
        try:
            run_to_end(in_turn([jobs()], timeout_s))
        except CannotGoOn:
            continue
        _leave_out(stage, seen)
        return


def _leave_out(stage: Path, seen: Measurement) -> None:
    """Take the versions that had a fault out of the plan and out of what was said.

    Raises:
        KernelFault, WrongResult: the first of these faults, where no version is left.
    """
    gone, plan = seen.left_out_versions, read_plan(stage)
    versions = {name: file for name, file in plan.versions.items() if name not in gone}
    if not versions:
        first = seen.faulty[0]
        raise getattr(errors, first.error)(first.message, first.remedy)
    write_plan(
        stage, msgspec.structs.replace(plan, versions=versions, dispatch="" if DISPATCH in gone else plan.dispatch)
    )
    seen.checks = [check for check in seen.checks if check.version not in gone]
    seen.samples = [samples for samples in seen.samples if samples.provider not in gone]
    seen.machine_code = [code for code in seen.machine_code if code.version not in gone]


async def record(
    request: Request,
    plan: Plan,
    stage: Path,
    progress: Progress,
    environment: dict[str, str] | None = None,
    seen: Measurement | None = None,
) -> None:
    """Record the launch plans of versions, each in a process and a folder of its own, and put them into `stage`.

    Those that are trusted have none.

    Raises:
        KernelFault: a version does what a plan cannot express, or does not run, and `seen` cannot go without it.
    """
    seen = seen or Measurement()
    for version in (one for one in request.versions if one.name not in request.trusted):
        alone = msgspec.structs.replace(plan, dispatch="", baselines="")
        with staged(request.operator, [version], alone) as own:
            try:
                await run_worker(own, "record", environment or {}, Measurement(), progress, sandbox=request.sandbox)
            except (KernelFault, WrongResult) as fault:
                seen.refuse(fault, version.name, "", "")
            (stage / LAUNCH_PLANS).mkdir(exist_ok=True)
            with suppress(OSError):  # whatever it is by now; where it is read, files alone are
                (own / LAUNCH_PLANS / version.name).rename(stage / LAUNCH_PLANS / version.name)


async def profile_staged(
    stage: Path, wanted: MetricRequest, progress: Progress, sandbox: Sandbox | None, seen: Measurement | None = None
) -> Profiled:
    """Run the profiling program on a staged plan under ncu, and put its report where it is wanted.

    Raises:
        NcuFault: ncu is missing or failed; CounterPermission when it was refused the performance counters.
        CannotGoOn: the program ended at a version that `seen` can go without.
    """
    # the timing process says the same of cases
    own = Measurement(optional=seen.optional, faulty=seen.faulty) if seen else Measurement()
    planned = {*read_plan(stage).versions, DISPATCH}
    ncu = str(find_ncu())
    command = ncu_command(
        ncu, protocol.worker_command("profile"), "report.ncu-rep", wanted.metrics, wanted.sections, wanted.full_set
    )
    published = ncu_command(
        "ncu", ["python", *protocol.worker_command("profile")[1:]], "report.ncu-rep", wanted.metrics, wanted.sections,
        wanted.full_set,
    )  # fmt: skip  # as it is published: without the paths of this machine
    release = asyncio.create_task(stream([ncu, "--version"], stage, {}, lambda _: None))

    def on_line(line: str) -> None:
        hear(line, own, progress)
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
    if ended.returncode != 0 and own.left_out_versions & planned:
        raise CannotGoOn
    fault = explain(ended.output, ended.returncode, written, shutil.disk_usage(stage).free)
    if fault is not None:
        raise fault
    with atomic.told(wanted.report):
        shutil.move(report, wanted.report)
    return Profiled(published, version)

"""One measurement: versions staged in a neutral folder, timed in one process and profiled by ncu in another.

The two processes start together and take turns on the GPU, so that the imports of one hide behind the other. Before
them, where much has to be compiled, several processes check the versions and leave them compiled in triton's cache.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from rooflift.measure.checking import checking_processes, dispatch_file, in_order, with_count
from rooflift.measure.checkpoint import Checkpoint
from rooflift.measure.children import Job, Measurement, Progress, hear, in_turn, run_worker, staged
from rooflift.measure.request import Request
from rooflift.ncu.command import find_ncu, ncu_command, parse_version, progress_line
from rooflift.ncu.failures import explain
from rooflift.process import child_environment, run_to_end, stream
from rooflift.runs import atomic
from rooflift.schema import ResolvedCase, Sampling
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
    counted = with_count(seen, len(work) * providers * request.options.seeds, progress)
    plan = Plan(
        dispatch=dispatch_file(request),
        baselines=request.baselines.name if request.baselines is not None else "",
        work=work,
        profiled=request.profiled,
        options=request.options,
        sampling=sampling,
        checked=processes > 0,
        known=list(known),
        replayed=request.sandbox is not None and request.dispatch is None,
    )
    with staged(request.operator, request.versions, plan) as stage:
        checks: list[Job] = [
            partial(run_worker, stage, "check", {}, seen, counted, f"{index}/{processes}", request.sandbox)
            for index in range(processes)
        ]

        async def check_done() -> None:
            checkpoint.save("checks", seen)

        async def time() -> None:
            await run_worker(stage, "time", {}, seen, progress, sandbox=request.sandbox)
            checkpoint.save("times", seen)

        async def profile(wanted: MetricRequest) -> None:
            nonlocal profiled
            profiled = await profile_staged(stage, wanted, progress, request.sandbox)
            checkpoint.save("metrics", profiled)

        jobs: list[Job] = [partial(profile, wanted)] if wanted is not None and profiled is None else []
        jobs += [time] if timed is None else []
        before: list[list[Job]] = [checks, [check_done]] if processes and jobs and not seen.checks else []
        if plan.replayed and jobs:
            before.insert(0, [partial(record, request, plan, stage, progress)])
        run_to_end(in_turn([*before, jobs], request.timeout_s))
    if profiled is not None:
        seen.ncu_command, seen.ncu_version = profiled.command, profiled.version
    seen.checks = in_order(seen.checks, work)
    return seen


async def record(
    request: Request, plan: Plan, stage: Path, progress: Progress, environment: dict[str, str] | None = None
) -> None:
    """Record the launch plans of every version, each in a process and a folder of its own, and put them into `stage`.

    Raises:
        KernelFault: a version does what a plan cannot express, or does not run.
    """
    for version in request.versions:
        alone = msgspec.structs.replace(plan, dispatch="", baselines="")
        with staged(request.operator, [version], alone) as own:
            await run_worker(own, "record", environment or {}, Measurement(), progress, sandbox=request.sandbox)
            (stage / LAUNCH_PLANS).mkdir(exist_ok=True)
            with suppress(OSError):  # whatever it is by now; where it is read, files alone are
                (own / LAUNCH_PLANS / version.name).rename(stage / LAUNCH_PLANS / version.name)


async def profile_staged(stage: Path, wanted: MetricRequest, progress: Progress, sandbox: Sandbox | None) -> Profiled:
    """Run the profiling program on a staged plan under ncu, and put its report where it is wanted.

    Raises:
        NcuFault: ncu is missing or failed; CounterPermission when it was refused the performance counters.
    """
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
        hear(line, Measurement(), progress)  # the timing process says the same of cases
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

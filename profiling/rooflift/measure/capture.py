"""A program of anybody's run twice: once to find its kernels by time, once under ncu, which records some of them."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rooflift.errors import CounterPermission, EnvironmentFault, NcuFault
from rooflift.measure.children import Progress
from rooflift.measure.first_run import (
    COLLECTIVE,
    FirstRun,
    Kernel,
    choose,
    invocations,
    read_durations,
    read_traces,
)
from rooflift.ncu.capture import PLACE, REPORT, Graphs, Replay, capture_command, duration_command, split_launcher
from rooflift.ncu.command import find_ncu, progress_line
from rooflift.ncu.failures import explain
from rooflift.process import PACKAGE, Ended, run_to_end, stream
from rooflift.region import UNDER_NCU

TRACER = PACKAGE / "worker" / "tracing"
TRACE = "ROOFLIFT_TRACE"
NOTHING = (
    "ncu saw none of the kernels",
    "Name some with --kernel; of regions, check that the program launches kernels inside of `rl.region`.",
)


@dataclass(frozen=True, slots=True)
class CaptureRequest:
    """What is to be recorded of which program."""

    program: Sequence[str]
    kernel: str | None
    top: int
    launches: int  # of each kernel; of regions every launch is recorded
    metric_set: str
    replay: Replay
    graphs: Graphs
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Captured:
    """What was recorded: a report a rank, or none and the reason."""

    first: FirstRun
    chosen: Sequence[Kernel]
    reports: Mapping[str, Path]  # by rank, "" for a program of one
    command: Sequence[str]  # as it is published
    refused: str = ""  # why there are no metrics


def capture(request: CaptureRequest, stage: Path, say: Progress) -> Captured:
    """Run the program in the working directory, and leave the reports in `stage`.

    Raises:
        EnvironmentFault: the program fails by itself, or runs past the time limit.
        CatalogError: no kernel is called so, or where a launcher's program begins cannot be told.
        NcuFault: ncu failed, or saw no kernel; CounterPermission where not even durations are known.
    """
    _parts(request.program)  # before the program runs
    first = _first_run(request, stage, say)
    many = len(first.traces) > 1
    found = [kernel for kernel in first.kernels() if not (many and COLLECTIVE in kernel.name.lower())]
    chosen = choose(found, request.kernel, request.top)
    try:
        return _record(request, first, chosen, stage, say)
    except NcuFault as fault:
        if not isinstance(fault, CounterPermission) and _has_ncu():
            raise
        return Captured(first, chosen, {}, [], fault.message)


def _parts(program: Sequence[str]) -> tuple[list[str], list[str], str]:
    """Return a launcher and its program; what torchrun runs a script with is the Python that it is itself run with."""
    first = Path(shutil.which(program[0]) or program[0])
    beside = first if first.name.startswith("python") else first.with_name("python")
    return split_launcher(program, str(beside) if beside.exists() else "python")


def _has_ncu() -> bool:
    try:
        find_ncu()
    except NcuFault:
        return False
    return True


def _first_run(request: CaptureRequest, stage: Path, say: Progress) -> FirstRun:
    """Return the program's kernels by the tracer, else by a pass of ncu that takes durations alone."""
    say("first run: which kernels take the time")
    folder = stage / "trace"
    folder.mkdir()
    path = os.pathsep.join(filter(None, [str(TRACER), os.environ.get("PYTHONPATH")]))
    program = [word for word in request.program if word != PLACE]
    ended = _run(program, {TRACE: str(folder), "PYTHONPATH": path}, request.timeout_s, say)
    if ended.returncode != 0:
        words = "\n".join(ended.output.splitlines()[-15:])
        raise EnvironmentFault(
            f"the program ended with code {ended.returncode}\n{words}".rstrip(), "Run it without rooflift first."
        )
    first = read_traces(folder)
    if first.groups:
        return first
    say("no kernel seen inside of the program: ncu takes the durations of all")
    before, behind, variable = _parts(request.program)
    report = _report_name(stage / "durations", variable)
    if not _has_ncu():
        remedy = (
            "Check that it runs on a GPU. ncu would look into any program: install Nsight Compute and put it on PATH."
        )
        raise NcuFault("no kernel was seen in the program, and ncu is not here to look for one", remedy)
    command = [*before, *duration_command(str(find_ncu()), behind, report, request.graphs)]
    _under_ncu(command, stage, "durations*.ncu-rep", request.timeout_s, say)
    return read_durations(sorted(stage.glob("durations*.ncu-rep")))


def _record(request: CaptureRequest, first: FirstRun, chosen: Sequence[Kernel], stage: Path, say: Progress) -> Captured:
    before, behind, variable = _parts(request.program)
    variable = (first.rank_variable or variable) if before else ""
    regions = bool(first.regions)
    named = chosen if not regions or request.kernel else []
    options = {"replay": request.replay, "graphs": request.graphs, "regions": regions}

    def command(ncu: str, report: str) -> list[str]:
        which = {
            "kernels": [kernel.name for kernel in named],
            "others": [kernel.name for kernel in first.kernels() if kernel not in chosen],
            "invocations": [] if regions else invocations(first.groups, chosen, request.launches),
        }
        return [*before, *capture_command(ncu, behind, report, request.metric_set, **which, **options)]  # type: ignore[arg-type]  # as their fields are typed

    say(f"second run, under ncu: {len(chosen)} kernels")
    _under_ncu(
        command(str(find_ncu()), _report_name(stage / REPORT, variable)),
        stage,
        f"{REPORT}*.ncu-rep",
        request.timeout_s,
        say,
    )
    found = {path.name.removesuffix(".ncu-rep").partition(".")[2]: path for path in stage.glob(f"{REPORT}*.ncu-rep")}
    reports = dict(sorted(found.items(), key=lambda item: [int(n) for n in re.findall(r"\d+", item[0])]))
    return Captured(first, chosen, reports, command("ncu", _report_name(Path(REPORT), variable)))


def _report_name(path: Path, variable: str) -> str:
    """Return the report's name, with ncu's macro for the rank of each process."""
    return f"{path}.%q{{{variable}}}.ncu-rep" if variable else f"{path}.ncu-rep"


def _under_ncu(command: Sequence[str], stage: Path, reports: str, timeout_s: float, say: Progress) -> None:
    ended = _run(command, {UNDER_NCU: "1"}, timeout_s, lambda line: say(progress_line(line) or line))
    written = any(stage.glob(reports))
    fault = explain(ended.output, ended.returncode, written, shutil.disk_usage(stage).free, NOTHING)
    if fault is not None and not (written and fault.message.startswith(NOTHING[0])):  # one rank may have none
        raise fault


def _run(command: Sequence[str], environment: Mapping[str, str], timeout_s: float, say: Progress) -> Ended:
    """Run a program in the working directory; what it prints is progress."""

    async def work() -> Ended:
        async with asyncio.timeout(timeout_s):
            return await stream(command, Path.cwd(), environment, lambda line: say(line) if line.strip() else None)

    if shutil.which(command[0]) is None:
        raise EnvironmentFault(f"{command[0]}: no such program", "Name the program as in a shell.")
    try:
        return run_to_end(work())
    except TimeoutError:
        raise EnvironmentFault(
            f"the program ran past {timeout_s:g} s", "Give it more time with --timeout, or a shorter run of it."
        ) from None

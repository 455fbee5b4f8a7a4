"""`rooflift profile`."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rooflift.cli.console import (
    console,
    lower_first,
    note,
    print_json,
    print_run,
    progress_shown,
    records_of,
    run_as_json,
    shown,
)
from rooflift.cli.options import (
    DEFAULT_TARGETS,
    AsJson,
    Budget,
    Cases,
    Dtypes,
    Metrics,
    OperatorName,
    Precision,
    Root,
    Sanitize,
    Timeout,
    Versions,
    share_of,
)
from rooflift.cli.resolve import request_of
from rooflift.errors import NoGpu, RunFault

if TYPE_CHECKING:
    from rooflift.measure.request import Request


def profile(
    operator: OperatorName,
    version: Versions = None,
    case: Cases = None,
    dtype: Dtypes = None,
    metrics: Metrics = "standard",
    suite: Annotated[bool, typer.Option("--suite", help="Time every bench case in all its dtypes.")] = False,
    baselines: Annotated[
        bool | None,
        typer.Option(
            "--baselines/--no-baselines",
            help="Time torch_channels_last and torch_compile as well, which take seconds. Default: with --suite.",
        ),
    ] = None,
    sanitize: Sanitize = False,
    precision: Precision = None,
    budget: Budget = None,
    noise: Annotated[
        bool, typer.Option("--noise", help="Time the last version under two names: what no change looks like.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="The run folder to make. Default: below reports/.")] = None,
    timeout: Timeout = 1800,
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Check, time and profile versions; without a GPU, re-render a run.

    The run folder is whole or not there at all. Without a GPU the newest run is rendered again, and the versions are
    compiled, and checked in Triton's interpreter.
    """
    from rooflift import pipeline
    from rooflift.measure.request import command_line
    from rooflift.schema import MeasureOptions

    request = replace(
        request_of(root, operator, version, case, dtype, use="bench", timeout_s=timeout, metric_set=metrics),
        command=command_line(
            "profile",
            operator,
            version=version,
            case=case,
            dtype=dtype,
            suite=suite,
            baselines=baselines,
            no_baselines=baselines is False,
            metrics=metrics,
            sanitize=sanitize,
            precision=precision,
            budget=budget,
            noise=noise,
        ),
        suite=suite,
        options=MeasureOptions(
            precision=share_of(precision),
            budget_s=budget,
            slow_baselines=suite if baselines is None else baselines,
            noise=noise,
            sanitize=sanitize,
        ),
    )
    try:
        with progress_shown() as progress:
            told = pipeline.profile(request, out, progress)
        if told.taken_up:
            note(told.taken_up)
    except NoGpu as absent:
        _without_gpu(request, out, absent, as_json)
        return
    if as_json:
        print_json(run_as_json(told))
        return
    print_run(told)
    console().print(f"Wrote {shown(told.folder)} ({len(told.written)} files)")


def _without_gpu(request: Request, out: Path | None, absent: NoGpu, as_json: bool) -> None:
    """Do what needs no GPU: tell the newest run again, check in the interpreter, compile."""
    from rooflift import pipeline
    from rooflift.measure.compiled import compile_tables
    from rooflift.measure.environment import package_version
    from rooflift.measure.session import verify as verify_versions
    from rooflift.report import columns
    from rooflift.report.terminal import terminal
    from rooflift.runs.find import find_runs, newest_run
    from rooflift.schema import MeasureOptions

    if out is not None and out.exists():
        raise RunFault(f"{out} exists", "Name a folder that does not; a run is never overwritten.")
    reports = request.root / "reports"
    run = newest_run(reports, request.operator.label) if find_runs(reports, request.operator.label) else None
    if run is not None and request.suite:
        with suppress(RunFault):  # without a suite the newest run is all there is
            run = newest_run(reports, request.operator.label, suite=True)
    told = None
    note(absent.message[0].upper() + absent.message[1:] + ".")
    if run is not None:
        folder = out or request.root / "build" / request.operator.label / run.folder.name
        note(f"Working from the newest run, {shown(run.folder)}, measured on {run.manifest.machine.gpu}.")
        told = pipeline.rerender(run, folder)
        if not as_json:
            print_run(told)
            console().print(f"Every figure above, and in these files, was {lower_first(told.story.provenance)}")
            for path in told.written:
                console().print(f"  {shown(path)}: measured on {run.manifest.machine.gpu}")
    with progress_shown() as progress:
        compiled = compile_tables(request, list(DEFAULT_TARGETS), progress)
        if not as_json:
            title = (
                f"Compiled here for sm_89 (RTX 4090) and sm_90 (H100) by triton {package_version('triton')}, not run"
            )
            console().print(terminal(columns.table("compiled", compiled), title))
        once = replace(request, options=MeasureOptions(seeds=1))
        checks = verify_versions(once, request.operator.select_cases([], "test"), True, progress)
    if as_json:
        if told is not None:
            here = {"gpu_here": None, "compiled": records_of(compiled), "interpreter_checks": len(checks)}
            print_json(run_as_json(told) | here)
    else:
        worst = max((check.error_over_tolerance for check in checks), default=0)
        console().print(
            f"Checked here in Triton's interpreter: {len(checks)} comparisons with the reference in float64 agree, "
            f"the largest error is {worst:.2f} of the tolerance."
            if checks
            else "Not checked here: the operator has no small case (use = ['test'] in cases.toml)."
        )
    if told is None:
        raise NoGpu(f"{request.operator.label} has no run yet, and {absent.message}", absent.remedy)

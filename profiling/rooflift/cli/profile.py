"""`rooflift profile`."""

from __future__ import annotations

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
from rooflift.cli.resolve import project_root
from rooflift.errors import NoGpu

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
    noise: Annotated[bool, typer.Option("--noise", help="Time the last version twice, to measure the noise.")] = False,
    out: Annotated[Path | None, typer.Option(help="The run folder to make. Default: below reports/.")] = None,
    timeout: Timeout = 1800,
    all_versions: Annotated[
        bool,
        typer.Option("--all-versions", help="Without a GPU: check and compile every version, not the newest alone."),
    ] = False,
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Check, time and profile versions; without a GPU, re-render a run.

    The run folder is whole or not there at all. Without a GPU the newest run is rendered again, and the newest version
    of each ladder is compiled and checked in Triton's interpreter; so is every version that is named.
    """
    from rooflift import pipeline
    from rooflift.measure.request import profile_request
    from rooflift.schema import MeasureOptions

    request = profile_request(
        project_root(root),
        operator,
        versions=version,
        cases=case,
        dtypes=dtype,
        metric_set=metrics,
        suite=suite,
        baselines=baselines,
        options=MeasureOptions(precision=share_of(precision), budget_s=budget, noise=noise, sanitize=sanitize),
        timeout_s=timeout,
    )
    try:
        with progress_shown() as progress:
            told = pipeline.profile(request, out, progress)
        if told.resumed:
            note(told.resumed)
    except NoGpu as absent:
        _without_gpu(request, out, absent, every=all_versions or bool(version), as_json=as_json)
        return
    if as_json:
        print_json(run_as_json(told))
        return
    print_run(told)
    console().print(f"Wrote {shown(told.folder)} ({len(told.written)} files)")


def _without_gpu(request: Request, out: Path | None, absent: NoGpu, *, every: bool, as_json: bool) -> None:
    """Re-render the newest run, then check and compile what was asked for."""
    from rooflift import pipeline
    from rooflift.measure.environment import package_version
    from rooflift.report import columns
    from rooflift.report.terminal import terminal

    note(absent.message[0].upper() + absent.message[1:] + ".")
    told = pipeline.rerender_newest(request, out)
    if told is not None and not as_json:
        gpu = told.story.manifest.machine.gpu
        note(f"Working from the newest run, {shown(told.folder)}, measured on {gpu}.")
        print_run(told)
        console().print(f"Every figure above, and in these files, was {lower_first(told.story.provenance)}")
        for path in told.written:
            console().print(f"  {shown(path)}: measured on {gpu}")
    with progress_shown() as progress:
        found = pipeline.check_and_compile(request, DEFAULT_TARGETS, progress, every=every)
    worst = max((check.error_over_tolerance for check in found.checks), default=0)
    if as_json and told is not None:
        here = {"gpu_here": None, "compiled": records_of(found.compiled), "interpreter_checks": len(found.checks)}
        print_json(run_as_json(told) | here)
    if not as_json:
        title = f"Compiled here for sm_89 (RTX 4090) and sm_90 (H100) by triton {package_version('triton')}, not run"
        console().print(terminal(columns.table("compiled", found.compiled), title))
        console().print(
            f"Checked here in Triton's interpreter: {len(found.checks)} comparisons with the reference in float64 "
            f"agree, the largest error is {worst:.2f} of the tolerance."
            if found.checks
            else "Not checked here: the operator has no small case (use = ['test'] in cases.toml)."
        )
        if found.left_out:
            console().print(f"--all-versions checks and compiles the other {found.left_out} versions, too.")
    if told is None:
        raise NoGpu(f"{request.operator.label} has no run yet, and {absent.message}", absent.remedy)

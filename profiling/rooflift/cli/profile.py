"""`rooflift profile`."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rooflift.cli.console import note, print_json, print_parts, print_view, progress_shown
from rooflift.cli.options import (
    AsJson,
    Budget,
    Candidate,
    Cases,
    Dtypes,
    Metrics,
    OperatorName,
    Precision,
    Root,
    Sanitize,
    Timeout,
    Versions,
)
from rooflift.errors import NoGpu, NoRun, RunFault

if TYPE_CHECKING:
    from rooflift.api.run import Run


def profile(
    operator: OperatorName,
    version: Versions = None,
    candidate: Candidate = None,
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

    The run folder is whole or not there at all. A version that is wrong or does not run is left out with its reason,
    and the exit code is 1; where it is the only one, there is no run. Without a GPU the newest run is rendered again,
    and the newest version of each ladder is compiled and checked in Triton's interpreter; so is every version that is
    named.
    """
    from rooflift.api import work
    from rooflift.api.shown import short

    try:
        with progress_shown() as progress:
            run = work.profile(
                operator,
                versions=version or (),
                candidate=candidate,
                cases=case or (),
                dtypes=dtype or (),
                metrics=metrics,
                suite=suite,
                baselines=baselines,
                sanitize=sanitize,
                precision=precision,
                budget_s=budget,
                noise=noise,
                out=out,
                timeout_s=timeout,
                say=progress,
                root=root,
            )
    except NoGpu as absent:
        if candidate is not None:
            raise NoGpu(absent.message, "`rooflift verify --candidate` checks it in Triton's interpreter.") from None
        note(absent.message[0].upper() + absent.message[1:] + ".")
        chosen = {"versions": version or (), "cases": case or (), "dtypes": dtype or (), "timeout_s": timeout}
        _without_gpu(operator, root, out, absent, suite=suite, every=all_versions, as_json=as_json, **chosen)
        return
    for text in run.manifest.notes:
        note(text)
    files = [path for path in run.folder.rglob("*") if path.is_file()]
    print_view(run, as_json, written=[short(path) for path in sorted(files)])
    if not as_json:
        print_parts([f"Wrote {short(run.folder)} ({len(files)} files)"])
    for left_out in run.manifest.left_out:
        note(f"{left_out.version} is left out: {left_out.message}\n  {left_out.remedy}")
    if run.manifest.left_out:
        raise typer.Exit(1)


def _without_gpu(
    name: str, root: Path | None, out: Path | None, absent: NoGpu, *, suite: bool, as_json: bool, **chosen: Any
) -> None:
    """Re-render the newest run, then check and compile what was asked for."""
    from rooflift.api.operators import operator
    from rooflift.api.shown import short

    run = _newest(name, root, suite=suite)
    if run is not None:
        files = run.report(out, page=False)
        note(f"Working from the newest run, {short(run.folder)}, measured on {run.gpu}.")
        if not as_json:
            print_parts(run.parts())
            print_parts(["Every figure above, and in these files, is of that run:"])
            print_parts(f"  {short(path)}: measured on {run.gpu}" for path in files)
    with progress_shown() as progress:
        found = operator(name, root=root).offline(say=progress, **chosen)
    if as_json and run is not None:
        print_json(files.record() | found.record())
    if not as_json:
        print_parts(found.parts())
    if run is None:
        known = f"`rooflift report {name}` writes what is known without one"
        raise NoGpu(f"{name} has no run yet, and {absent.message}", f"{absent.remedy} {known}")


def _newest(name: str, root: Path | None, *, suite: bool) -> Run | None:
    """Return an operator's newest run, with `suite` that of the suite if there is one; None for no run at all."""
    from rooflift.api import find

    try:
        run = find.open(name, root=root)
    except NoRun:
        return None
    if suite:
        with suppress(RunFault):  # without a suite the newest run is all there is
            return find.open(name, suite=True, root=root)
    return run

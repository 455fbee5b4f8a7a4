"""`rooflift report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rooflift.cli.console import print_view, progress_shown
from rooflift.cli.options import AsJson, NewestSuite, Root, RunName
from rooflift.cli.resolve import run_and_version
from rooflift.errors import NoRun


def report(
    what: RunName,
    suite: NewestSuite = False,
    base: Annotated[
        str | None, typer.Option(help="RUN or RUN:VERSION to compare with. Default: the version before the last.")
    ] = None,
    zipped: Annotated[
        bool, typer.Option("--bundle", help="Also one zip of report, figures, data and .ncu-rep files.")
    ] = False,
    png: Annotated[bool, typer.Option("--png", help="Also each figure as PNG, beside its SVG.")] = False,
    out: Annotated[Path | None, typer.Option(help="Where to write. Default: below build/.")] = None,
    terminal: Annotated[bool, typer.Option("--terminal", help="Print what decides, and write no files.")] = False,
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Write a run's report as Markdown and HTML, or print what decides.

    They are made of the run's reports and tables; the run itself stays as it is. Of an operator that has no run yet
    there is a report of what its checks and the compiler say.
    """
    from rooflift.api import find
    from rooflift.api.unmeasured import report_unmeasured

    try:
        run = find.open(what, suite=suite, root=root)
    except NoRun:
        with progress_shown() as progress:
            found = report_unmeasured(what, out, write=not terminal, say=progress, root=root)
        print_view(found, as_json)
        return
    other, version = run_and_version(base, root) if base else (None, None)
    if terminal:
        print_view(run.overview(base=version, other=other), as_json)
        return
    with progress_shown() as progress:
        progress("reading the reports and drawing")
        files = run.report(out, base=version, other=other, png=png, bundle=zipped)
    print_view(files, as_json)

"""`rooflift report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rooflift.cli.console import console, print_json, progress_shown, run_as_json, shown
from rooflift.cli.options import AsJson, NewestSuite, Root, RunName
from rooflift.cli.resolve import find_run, find_side
from rooflift.errors import RunFault


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
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Write a run's report and figures as Markdown and HTML.

    They are made of the run's reports and tables; the run itself stays as it is.
    """
    from rooflift import pipeline
    from rooflift.report.text import first_lines

    run = find_run(root, what, suite)
    if run.manifest.origin is not None:
        raise RunFault(f"{run.folder} was imported: it has no times to report", "`rooflift advise` and `show` read it.")
    folder = out or (root or Path.cwd()) / "build" / run.manifest.operator / run.folder.name
    if (folder / "run.json").exists():
        raise RunFault(f"{folder} is a run", "Name another folder; what was measured is never overwritten.")
    with progress_shown() as progress:
        progress("reading the reports and drawing")
        told = pipeline.rerender(run, folder, find_side(root, base) if base else None, page=True, png=png)
        if zipped:
            told.written.append(pipeline.bundle(run, folder, told.written))
    if as_json:
        print_json(run_as_json(told))
        return
    for line in first_lines(told.story):
        console().print(line.replace("**", ""), markup=False)
    console().print(told.story.provenance)
    for path in told.written:
        console().print(f"  {shown(path)}", markup=False)

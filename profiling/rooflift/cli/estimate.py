"""`rooflift estimate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rooflift.cli import completion
from rooflift.cli.console import console, note, print_json, records_of, shown
from rooflift.cli.options import AsJson, Case, Dtype, Root, RunName, Versions
from rooflift.cli.resolve import find_run, roofs_on
from rooflift.errors import CatalogError


def estimate(
    what: RunName,
    to: Annotated[
        str | None, typer.Option(help="The target, by its spec: rtx4090, h200, ...", autocompletion=completion.gpus)
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(help="A run on the target: the estimates are held against it.", autocompletion=completion.runs),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="With --against: write the error table here, as Markdown.")] = None,
    version: Versions = None,
    case: Case = None,
    dtype: Dtype = None,
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Estimate a run's times on another GPU.

    Time, bottleneck and percentages of its versions there; with --against, beside what was measured there.
    """
    from dataclasses import asdict

    import pandas as pd

    from rooflift import queries
    from rooflift.analysis import selection
    from rooflift.project.gpus import spec_for_key
    from rooflift.report import columns
    from rooflift.report import estimate as forecast
    from rooflift.report.terminal import terminal
    from rooflift.runs import atomic

    run = find_run(root, what)
    truth = find_run(root, against) if against else None
    if truth is None and to is None:
        raise CatalogError("no target GPU", "Name one with --to, or a run on it with --against.")
    if out is not None and truth is None:
        raise CatalogError("--out without --against: there is nothing to hold against", "Name a run with --against.")
    named = spec_for_key(to) if to else None
    target = queries.spec_of(truth)[0] if truth else named
    assert target is not None  # one of the two was given
    if named is not None and named.name != target.name:
        raise CatalogError(f"--to {to} is {named.name}, {against} was measured on {target.name}", "Leave out --to.")
    there = roofs_on(root, target.matches[0])
    chosen = selection.select_all(run, version, case, dtype)
    found = queries.estimates(run, chosen, target, there)
    held = selection.held(found, truth) if truth else []
    assumptions = found[0][1].assumptions
    rows = pd.DataFrame([asdict(row) for row in held]) if truth else forecast.estimate_rows(found)
    for text in queries.spec_of(run)[1]:
        note(f"{text}: the report is believed.")
    if out is not None and truth is not None:
        table = forecast.error_table(held, run.manifest, truth.manifest, assumptions)
        atomic.write_file(out, table)
    if as_json:
        print_json({"run": shown(run.folder), "target": target.name, "rows": records_of(rows), "assumed": assumptions})
        return
    title = f"{run.manifest.operator}, measured on {run.manifest.machine.gpu}, estimated to {target.name}"
    console().print(terminal(columns.table("estimate errors" if truth else "estimate", rows), title))
    for text in assumptions:
        console().print(f"  {text}", markup=False)
    if out is not None:
        console().print(f"Wrote {shown(out)}", markup=False)

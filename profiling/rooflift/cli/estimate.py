"""`rooflift estimate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rooflift.cli import completion
from rooflift.cli.console import note, print_json, print_parts
from rooflift.cli.options import AsJson, Case, Dtype, Root, RunName, Versions
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
    from rooflift.api import find
    from rooflift.api.estimates import estimate
    from rooflift.api.shown import records, short, titled

    run = find.open(what, root=root)
    truth = find.open(against, root=root) if against else None
    target = to or (truth.gpu if truth else None)
    if target is None:
        raise CatalogError("no target GPU", "Name one with --to, or a run on it with --against.")
    if out is not None and truth is None:
        raise CatalogError("--out without --against: there is nothing to hold against", "Name a run with --against.")
    found = estimate(run, target, versions=version or (), case=case, dtype=dtype)
    rows = found.against(truth) if truth else found.table()
    for text in found.contradictions:
        note(f"{text}: the report is believed.")
    if out is not None and truth is not None:
        found.error_table(truth, out)
    if as_json:
        rows_here = {"rows": records(rows), "assumed": found.assumptions}
        print_json({"run": short(run.folder), "target": found.target.name, **rows_here})
        return
    title = f"{run.operator}, measured on {run.gpu}, estimated to {found.target.name}"
    print_parts([titled("estimate errors" if truth else "estimate", rows, title)])
    print_parts(f"  {text}" for text in found.assumptions)
    if out is not None:
        print_parts([f"Wrote {short(out)}"])

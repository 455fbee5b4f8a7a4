"""The commands that look after recorded runs: `verify-run`, and the table of `list --runs`. `cli` takes them up."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rooflift.cli import completion
from rooflift.cli.console import console, print_json, shown
from rooflift.cli.judging import AsJson, Root
from rooflift.errors import CatalogError, RunFault

if TYPE_CHECKING:
    from rooflift.schema import Manifest


def verify_run(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN...",
            help="Run folders, their names, or operators: all runs of it.",
            autocompletion=completion.runs,
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every run below reports/.")] = False,
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Hold every byte of runs against the sha256 in their run.json: altered, missing and additional files.

    Exit codes: 0 nothing is wrong, 1 something is, 2 there is no such run.
    """
    from rooflift.project.operator import find_root
    from rooflift.runs.find import find_runs, resolve_folders
    from rooflift.runs.verify import verify

    if bool(what) == every:
        raise CatalogError("no run is named" if not every else "runs, and --all", "Name runs, or give --all.")
    try:
        top = find_root((root or Path.cwd()).resolve())
    except CatalogError:  # a folder can be verified anywhere
        top = None
    reports = (top or Path()) / "reports"
    folders = find_runs(reports) if every else [path for one in what or () for path in resolve_folders(reports, one)]
    found = [verify(folder, top) for folder in dict.fromkeys(folders)]
    if as_json:
        print_json(
            [
                {
                    "run": shown(one.folder),
                    "whole": one.whole,
                    "faults": [{"file": file, "what": wrong} for file, wrong in one.faults],
                    "notes": one.notes,
                }
                for one in found
            ]
        )
    else:
        for one in found:
            typer.echo(f"{shown(one.folder)}: {'whole' if one.whole else f'faults: {len(one.faults)}'}")
            for file, wrong in one.faults:
                typer.echo(f"  {file}: {wrong}")
            for text in one.notes:
                typer.echo(f"  note: {text}")
    if not all(one.whole for one in found):
        raise typer.Exit(1)


def print_runs(top: Path, operator: str | None, *, as_json: bool) -> None:
    """Print a table of the runs, oldest first; one that cannot be read stands in it with the reason."""
    from rich.table import Table
    from rich.text import Text

    from rooflift.project.operator import load_operator
    from rooflift.runs.find import list_runs

    rows: list[dict[str, Any]] = [
        {"run": folder.name, "folder": folder.parent.name}
        | ({"error": found.message} if isinstance(found, RunFault) else _row(found))
        for folder, found in list_runs(top / "reports", operator)
    ]
    if operator and not rows:
        load_operator(top, operator)  # says so when there is none
    if as_json:
        print_json(rows)
        return
    table = Table(title=f"Runs below {shown(top / 'reports')}", title_justify="left", header_style="bold")
    for heading in ("run", "operator", "GPU", "date", "versions", "counters", "suite", "origin", "tree"):
        table.add_column(heading)
    for row in rows:
        if "error" in row:
            cells = [row["run"], row["folder"], "cannot be read"]
        else:
            cells = [
                *(row["run"], row["operator"], row["gpu"], row["created"][:16].replace("T", " ")),
                *(_versions(row["versions"]), row["counters"], "yes" if row["suite"] else "no"),
                *(row["origin"] or "measured", "changed" if row["dirty"] else "clean"),
            ]
        table.add_row(*map(Text, cells))
    console().print(table)
    for row in rows:
        if "error" in row:
            typer.echo(f"{row['run']} cannot be read: {row['error']}")


def _row(manifest: Manifest) -> dict[str, Any]:
    machine = manifest.machine
    return {
        "operator": manifest.operator,
        "gpu": machine.gpu,
        "created": manifest.created,
        "versions": [version.version for version in manifest.versions],
        "software": {name: getattr(machine, name) for name in ("driver", "cuda", "ncu", "torch", "triton", "python")},
        "counters": manifest.metric_set,
        "suite": manifest.suite,
        "origin": manifest.origin.kind if manifest.origin else None,
        "commit": manifest.commit,
        "dirty": manifest.dirty,
    }


def _versions(names: list[str]) -> str:
    return " ".join(name.partition("_")[0] for name in names) or "-"


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("verify-run")(verify_run)

"""`rooflift runs`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rooflift.cli import completion
from rooflift.cli.console import console, print_json, shown
from rooflift.cli.options import AsJson, Root
from rooflift.cli.resolve import project_root
from rooflift.errors import CatalogError, RunFault

if TYPE_CHECKING:
    from rooflift.schema import Manifest


def runs(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN",
            help="Run folders, their names, or operators: all runs of it. Default: all below reports/.",
            autocompletion=completion.runs,
        ),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare every file of these runs with its recorded SHA-256.")
    ] = False,
    every: Annotated[bool, typer.Option("--all", help="With --verify: every run below reports/.")] = False,
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """List the recorded runs, or verify their files.

    A table, oldest first; a run that cannot be read stands in it with the reason. With --verify: altered, missing and
    additional files. Exit codes: 0 nothing is wrong, 1 a file is, 2 there is no such run.
    """
    if verify:
        _verify(what or [], every, root, as_json)
    else:
        _list(what or [], project_root(root), as_json)


def _verify(what: Sequence[str], every: bool, root: Path | None, as_json: bool) -> None:
    from rooflift.runs.find import find_runs, resolve_folders
    from rooflift.runs.verify import verify

    if bool(what) == every:
        raise CatalogError("no run is named" if not every else "runs, and --all", "Name runs, or give --all.")
    try:
        top = project_root(root)
    except CatalogError:  # a folder can be verified anywhere
        top = None
    reports = (top or Path()) / "reports"
    folders = find_runs(reports) if every else [path for one in what for path in resolve_folders(reports, one)]
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


def _list(what: Sequence[str], top: Path, as_json: bool) -> None:
    from rooflift.runs.find import list_runs, resolve_folders

    reports = top / "reports"
    named = {path.resolve() for one in what for path in resolve_folders(reports, one)}
    rows: list[dict[str, Any]] = [
        {"run": folder.name, "folder": folder.parent.name}
        | ({"error": found.message} if isinstance(found, RunFault) else _row(found))
        for folder, found in list_runs(reports)
        if not what or folder.resolve() in named
    ]
    if as_json:
        print_json(rows)
        return
    _print_table(rows, f"Runs below {shown(reports)}")
    for row in rows:
        if "error" in row:
            typer.echo(f"{row['run']} cannot be read: {row['error']}")


def _print_table(rows: Sequence[dict[str, Any]], title: str) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", header_style="bold")
    for heading in ("run", "operator", "GPU", "date", "versions", "metrics", "suite", "origin", "tree"):
        table.add_column(heading)
    for row in rows:
        if "error" in row:
            cells = [row["run"], row["folder"], "cannot be read"]
        else:
            cells = [
                *(row["run"], row["operator"], row["gpu"], row["created"][:16].replace("T", " ")),
                *(_versions(row["versions"]), row["metrics"], "yes" if row["suite"] else "no"),
                *(row["origin"] or "measured", "changed" if row["dirty"] else "clean"),
            ]
        table.add_row(*map(Text, cells))
    console().print(table)


def _row(manifest: Manifest) -> dict[str, Any]:
    machine = manifest.machine
    return {
        "operator": manifest.operator,
        "gpu": machine.gpu,
        "created": manifest.created,
        "versions": [version.version for version in manifest.versions],
        "software": {name: getattr(machine, name) for name in ("driver", "cuda", "ncu", "torch", "triton", "python")},
        "metrics": manifest.metric_set,
        "suite": manifest.suite,
        "origin": manifest.origin.kind if manifest.origin else None,
        "commit": manifest.commit,
        "dirty": manifest.dirty,
    }


def _versions(names: list[str]) -> str:
    return " ".join(name.partition("_")[0] for name in names) or "-"

"""`rooflift runs`."""

from __future__ import annotations

from typing import Annotated

import typer

from rooflift.cli import completion
from rooflift.cli.console import print_view
from rooflift.cli.options import AsJson, Root
from rooflift.errors import CatalogError


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
    compress: Annotated[
        bool, typer.Option("--compress", help="Put the reports of these runs into gzip; `gunzip` opens one for ncu-ui.")
    ] = False,
    history: Annotated[
        bool,
        typer.Option("--history", help="The fastest version of each case and GPU so far, and what became slower."),
    ] = False,
    version: Annotated[
        str | None,
        typer.Option("--version", "-v", metavar="VERSION", help="With --history: this one over runs and GPUs."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every run below reports/.")] = False,
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """List or verify the recorded runs, or compress their reports.

    A table, oldest first; a run that cannot be read stands in it with the reason. With --verify: altered, missing and
    additional files. With --compress: gzip, and a new
    seal; everything here reads the reports as before. Exit codes: 0 nothing is wrong, 1 a file is, 2 no such run.
    """
    from rooflift.api import find

    if (verify or compress) and bool(what) == every:
        raise CatalogError("no run is named" if not every else "runs, and --all", "Name runs, or give --all.")
    if version and not history:
        raise CatalogError("--version without --history", "Give --history, too: the times of a version over runs.")
    found = find.runs(*(what or ()), root=root)
    if history:
        print_view(found.history(version or ""), as_json)
        return
    if compress:
        print_view(found.compress(), as_json)
        return
    if verify:
        sealed = found.verify()
        print_view(sealed, as_json)
        raise typer.Exit(0 if sealed.whole else 1)
    print_view(found, as_json)

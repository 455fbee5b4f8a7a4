"""`rooflift hotspots`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rooflift.cli.console import print_json, print_parts
from rooflift.cli.options import AsJson, Case, Dtype, Root, RunName
from rooflift.errors import CatalogError


def hotspots(
    what: RunName,
    version: Annotated[
        str | None,
        typer.Argument(
            metavar="VERSION", help="v1_grid, v1 or 1; of a report a part of a kernel's name. Default: last."
        ),
    ] = None,
    case: Case = None,
    dtype: Dtype = None,
    top: Annotated[int, typer.Option(help="So many lines.", min=1)] = 10,
    sass: Annotated[bool, typer.Option("--sass", help="Open each line into its SASS.")] = False,
    ptx: Annotated[bool, typer.Option("--ptx", help="Open each line into its PTX.")] = False,
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Show the source lines that the time goes to.

    Of a run profiled with --metrics source or full, or of any report with ncu's SourceCounters.
    """
    from rooflift.api import find
    from rooflift.api import hotspots as api

    if sass and ptx:
        raise CatalogError("--sass and --ptx", "Choose one of the two.")
    opened = "sass" if sass else "ptx" if ptx else ""
    if Path(what).is_file():
        found = api.of_report(what, version or "")
    else:
        found = find.open(what, root=root).hotspots(version, case, dtype)
    print_json(found.record(top, opened)) if as_json else print_parts(found.parts(top, opened))

"""`rooflift site`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rooflift.cli.console import print_view, progress_shown
from rooflift.cli.options import AsJson, Root


def site(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder of the pages, made where it is not there.")],
    repository: Annotated[
        str, typer.Option(metavar="ADDRESS", help="https://HOST/OWNER/NAME, to whose commits and files pages link.")
    ] = "",
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Write static pages of operators, runs, GPUs and comparisons.

    They open from a disk and from any web server; a search is in each. Only what changed since the last time is
    written again.
    """
    from rooflift.site.build import site as build

    with progress_shown() as progress:
        found = build(out, repository=repository, say=progress, root=root)
    print_view(found, as_json)

"""`rooflift advise`."""

from __future__ import annotations

from typing import Annotated

import typer

from rooflift.cli.console import print_view
from rooflift.cli.options import AsJson, Case, Dtype, Root, RunName
from rooflift.errors import NoRun


def advise(
    what: RunName,
    version: Annotated[
        str | None, typer.Argument(metavar="VERSION", help="v1_grid, v1 or 1. Default: the run's last.")
    ] = None,
    case: Case = None,
    dtype: Dtype = None,
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Show SOL, bottleneck and the stage worth trying next.

    Or that no stage is worth trying: the version is at its speed of light. Of an operator without a run: what the
    compiler makes of it, and that nothing is measured.
    """
    from rooflift.api import find

    try:
        run = find.open(what, root=root)
    except NoRun:
        from rooflift.api.first_look import first_look

        print_view(first_look(what, version, case, dtype, root=root), as_json)
    else:
        print_view(run.advice(version, case, dtype), as_json)

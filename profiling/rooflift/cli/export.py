"""`rooflift export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rooflift.cli.console import print_parts
from rooflift.cli.options import OperatorName, Root


def export(
    operator: OperatorName,
    out: Annotated[Path | None, typer.Option("--out", help="The file to write. Default: standard output.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    root: Root = None,
) -> None:
    """Write an operator as one module that needs torch and triton alone.

    It holds the class ModelNew of dispatch.py with the kernels that dispatch chooses from, or of an operator without
    one its newest version, and the project's licence.
    """
    from rooflift.api.operators import operator as find
    from rooflift.api.shown import short

    text = find(operator, root=root).export(out, force=force)
    if out is None:
        typer.echo(text, nl=False)
    else:
        print_parts([f"Wrote {short(out)}"])

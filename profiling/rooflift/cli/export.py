"""`rooflift export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rooflift.cli.console import console, shown
from rooflift.cli.options import OperatorName, Root
from rooflift.cli.resolve import project_root
from rooflift.errors import RunFault


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
    from rooflift.export import export_module
    from rooflift.project.operator import load_operator
    from rooflift.runs import atomic

    top = project_root(root)
    text = export_module(load_operator(top, operator), top / "LICENSE")
    if out is None:
        typer.echo(text, nl=False)
        return
    if out.exists() and not force:
        raise RunFault(f"{out} exists", "Name another file, or replace it with --force.")
    atomic.write_file(out, text.encode())
    console().print(f"Wrote {shown(out)}", markup=False)

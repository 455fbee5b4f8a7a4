"""`rooflift lint`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rooflift.cli.console import note, print_view, progress_shown
from rooflift.cli.options import AsJson, Gpu, OfOperator, Root, SomeStage


def lint(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A candidate: a kernel file, or Markdown with one fenced block.")
    ],
    operator: OfOperator,
    stage: SomeStage = None,
    base: Annotated[Path | None, typer.Option(help="The version that the candidate starts from.")] = None,
    compiles: Annotated[
        bool, typer.Option("--compile/--no-compile", help="Record its calls and compile its kernels, too; sandboxed.")
    ] = True,
    gpu: Gpu = "h100",
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Check a candidate's form and compile its kernels; none is run.

    With --stage, the rules of that stage as well. Whether it is right and honest, `optimize` judges by what it does.
    Exit codes: 0 accepted, 1 rejected.
    """
    from rooflift.api.lint import lint

    with progress_shown() as progress:
        judged = lint(file, operator, stage=stage, base=base, compiles=compiles, gpu=gpu, say=progress, root=root)
    print_view(judged, as_json)
    for gap in () if as_json else judged.unchecked:
        note(gap)
    if not judged.accepted:
        raise typer.Exit(1)

"""`rooflift batch`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from rooflift.cli import completion
from rooflift.cli.console import print_view, progress_shown
from rooflift.cli.options import AsJson, Root
from rooflift.errors import EnvironmentFault


def batch(
    task: Annotated[Literal["verify", "compile", "profile"], typer.Argument(help="What to do with each.")],
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="OPERATOR[:VERSION]",
            help="Operators, ladders or versions. Default: all.",
            autocompletion=completion.operators,
        ),
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="A dask scheduler, tcp://HOST:PORT. Default: this machine.")
    ] = None,
    cpu_workers: Annotated[int, typer.Option(help="Workers for what needs no GPU.", min=0)] = 1,
    out: Annotated[Path | None, typer.Option(help="Folder of the journal. Default: below build/batch/.")] = None,
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Verify, compile or profile many operators on all GPUs.

    A worker a GPU, so that a measurement has its GPU to itself. The same command resumes: what is done with the same
    files is not done again. A job whose worker dies goes to another. Exit codes: 0 all are done, 1 a job failed.
    """
    try:
        import distributed  # noqa: F401
    except ImportError:
        raise EnvironmentFault("distributed is not installed", "Run `pip install 'rooflift[batch]'`.") from None
    from rooflift.batch.batch import batch as run

    with progress_shown() as progress:
        found = run(task, what or (), scheduler=scheduler, cpu_workers=cpu_workers, out=out, say=progress, root=root)
    print_view(found, as_json)
    if not found.whole:
        raise typer.Exit(1)

"""`rooflift batch`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from rooflift.cli import completion
from rooflift.cli.console import print_view, progress_shown
from rooflift.cli.options import AsJson, Metrics, Root
from rooflift.errors import EnvironmentFault


def batch(
    task: Annotated[
        Literal["verify", "compile", "profile", "tune", "optimize"], typer.Argument(help="What to do with each.")
    ],
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="OPERATOR[:VERSION|:FILE.py]",
            help="Operators, ladders, versions, or candidates as files. Default: all operators.",
            autocompletion=completion.operators,
        ),
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="A dask scheduler, tcp://HOST:PORT. Default: this machine.")
    ] = None,
    cpu_workers: Annotated[int, typer.Option(help="Workers for what needs no GPU.", min=0)] = 1,
    metrics: Metrics = "standard",
    values: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUES", help="tune: values of a parameter, as in `rooflift tune`."),
    ] = None,
    agent: Annotated[str, typer.Option(metavar="COMMAND", help="optimize: the agent of every loop.")] = "",
    stages: Annotated[str | None, typer.Option(help="optimize: stages in their order, with commas.")] = None,
    iterations: Annotated[int, typer.Option(help="optimize: iterations a stage.", min=1)] = 3,
    out: Annotated[Path | None, typer.Option(help="Folder of the journal. Default: below build/batch/.")] = None,
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Verify, compile, profile, tune or optimize on all GPUs.

    A worker a GPU, so that a measurement has its GPU to itself. The same command resumes: what is done with the same
    files is not done again. A job whose worker dies goes to another. Exit codes: 0 all are done, 1 a job failed.
    """
    try:
        import distributed  # noqa: F401
    except ImportError:
        raise EnvironmentFault("distributed is not installed", "Run `pip install 'rooflift[batch]'`.") from None
    from rooflift.batch.batch import batch as run

    with progress_shown() as progress:
        found = run(
            task,
            what or (),
            scheduler=scheduler,
            cpu_workers=cpu_workers,
            metrics=metrics,
            values=values or (),
            agent=agent,
            stages=[name.strip() for name in stages.split(",")] if stages else (),
            iterations=iterations,
            out=out,
            say=progress,
            root=root,
        )
    print_view(found, as_json)
    if not found.whole:
        raise typer.Exit(1)

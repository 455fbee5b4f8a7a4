"""`rooflift capture`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from rooflift.cli.console import note, print_view, progress_shown
from rooflift.cli.options import AsJson, Metrics, Root, Timeout


def capture(
    program: Annotated[
        list[str],
        typer.Argument(metavar="-- PROGRAM...", help="The program and its arguments, behind --."),
    ],
    kernel: Annotated[str | None, typer.Option(help="Kernels whose name this regular expression finds.")] = None,
    top: Annotated[int, typer.Option(min=1, help="Record so many kernels, those that take most of the time.")] = 5,
    launches: Annotated[int, typer.Option(min=1, help="Launches of each kernel that are recorded.")] = 3,
    metrics: Metrics = "standard",
    replay: Annotated[
        Literal["kernel", "application", "range", "app-range"],
        typer.Option(help="What is run again where one pass cannot count all: kernels, the program, ranges of it."),
    ] = "kernel",
    graphs: Annotated[Literal["node", "graph"], typer.Option(help="CUDA graphs: by kernel, or each whole.")] = "node",
    out: Annotated[Path | None, typer.Option(help="The run folder to make. Default: below reports/captured.")] = None,
    timeout: Timeout = 1800,
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Record kernels of any program under ncu: those that take the time.

    The program runs twice: a first run finds its kernels by time, the second is under ncu. Child processes are
    recorded, and each rank of torchrun, mpirun and srun in a report and a run of its own; behind another launcher {ncu}
    says where the program begins. Regions marked with `rl.region("v1")` become a ladder. Where ncu is refused the
    performance counters the run holds durations alone.
    """
    from rooflift.api.capture import capture as recorded

    with progress_shown() as progress:
        found = recorded(
            program,
            kernel=kernel,
            top=top,
            launches=launches,
            metrics=metrics,
            replay=replay,
            graphs=graphs,
            out=out,
            timeout_s=timeout,
            say=progress,
            root=root,
        )
    for text in dict.fromkeys(text for run in found.runs for text in run.manifest.notes):
        note(text)
    print_view(found, as_json)

"""`rooflift tune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rooflift.cli.console import note, print_view, progress_shown
from rooflift.cli.options import AsJson, Cases, Dtypes, Metrics, OneTarget, OperatorName, Root, Timeout


def tune(
    operator: OperatorName,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="v1_grid, v1 or 1.")],
    values: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUES",
            help="Values of a parameter: num_warps=4,8 or num_stages=2..5; of a kernel, of a launch, or a variable of"
            " the host's code; KERNEL.NAME for one kernel. Several times. Default: the version's @triton.autotune.",
        ),
    ] = None,
    case: Cases = None,
    dtype: Dtypes = None,
    search: Annotated[
        str,
        typer.Option(
            metavar="HOW", help="all, tpe, random; auto walks up to 128 configurations whole, and searches more by TPE."
        ),
    ] = "auto",
    evaluations: Annotated[
        int | None,
        typer.Option(help="At most so many configurations a case. Default: a quarter of a large space.", min=1),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option("--budget", metavar="SECONDS", help="No batch of a case begins after so many seconds.", min=1),
    ] = None,
    best: Annotated[int, typer.Option(help="So many are timed once more together, and profiled.", min=1)] = 5,
    metrics: Metrics = "standard",
    target: OneTarget = None,
    out: Annotated[
        Path | None, typer.Option(help="The folder to make. Default: below reports/; without a GPU none.")
    ] = None,
    timeout: Timeout = 1800,
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Try configurations of a version; without a GPU, compile them.

    Compiled side by side, checked, timed in rounds together; the best ones profiled. Leaves tune.csv, tune.md and a
    figure of the time over each parameter. The same command resumes what was interrupted.
    """
    from rooflift.api import tune as api

    with progress_shown() as progress:
        found = api.tune(
            operator,
            version,
            values=values or (),
            cases=case or (),
            dtypes=dtype or (),
            search=search,
            evaluations=evaluations,
            budget_s=budget,
            best=best,
            metrics=metrics,
            target=target,
            out=out,
            timeout_s=timeout,
            say=progress,
            root=root,
        )
    if not found.measured:
        note("No GPU here: the configurations were compiled, none was run.")
    print_view(found, as_json)

"""`rooflift prompt`."""

from __future__ import annotations

from typing import Annotated

import typer

from rooflift.cli import completion
from rooflift.cli.console import print_json
from rooflift.cli.options import AsJson, Case, Dtype, Gpu, OperatorName, Root, Stage
from rooflift.errors import CatalogError, did_you_mean


def prompt(
    operator: OperatorName,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="The version to start from: v1_grid, v1 or 1.")],
    stage: Stage,
    gpu: Gpu,
    run: Annotated[
        str | None,
        typer.Option(
            help="The run to show. Default: the newest on that GPU, else the newest.", autocompletion=completion.runs
        ),
    ] = None,
    case: Case = None,
    dtype: Dtype = None,
    form: Annotated[str, typer.Option("--format", help="md or json.")] = "md",
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Write the prompt for the next version.

    All that an agent or a person needs: target GPU, stage, code, metrics, bottleneck, rules.
    """
    import msgspec

    from rooflift.api import find
    from rooflift.optimize.ask import prompt

    if form not in ("md", "json"):
        raise CatalogError(f"--format {form}: no such form", did_you_mean(form, ("md", "json")))
    of_run = find.open(run, root=root) if run else None
    found = prompt(operator, version, stage=stage, gpu=gpu, run=of_run, case=case, dtype=dtype, root=root)
    if as_json or form == "json":
        print_json(msgspec.to_builtins(found))
    else:
        typer.echo(str(found), nl=False)

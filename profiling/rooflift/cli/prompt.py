"""`rooflift prompt`."""

from __future__ import annotations

from typing import Annotated

import typer

from rooflift.cli import completion
from rooflift.cli.console import print_json
from rooflift.cli.options import AsJson, Case, Dtype, Gpu, OperatorName, Root, Stage
from rooflift.cli.resolve import find_run, project_root, roofs_on
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

    from rooflift.analysis.selection import select
    from rooflift.optimize.prompt import markdown, prompt
    from rooflift.project.gpus import spec_for_key
    from rooflift.project.operator import load_operator
    from rooflift.runs.find import newest_on

    if form not in ("md", "json"):
        raise CatalogError(f"--format {form}: no such form", did_you_mean(form, ("md", "json")))
    top = project_root(root)
    of_operator = load_operator(top, operator)
    of_version = of_operator.select_versions([version])[0]
    spec = spec_for_key(gpu)
    of_run = find_run(root, run) if run else newest_on(top, operator, spec.matches)
    about = select(of_run, of_version.name, case, dtype)
    there = roofs_on(root, spec.matches[0])
    told = prompt(of_operator, of_version, stage, spec, of_run, about, there)
    if as_json or form == "json":
        print_json(msgspec.to_builtins(told))
    else:
        typer.echo(markdown(told), nl=False)

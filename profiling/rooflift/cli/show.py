"""`rooflift show`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rooflift.cli import completion
from rooflift.cli.console import note, print_json, print_parts, print_view
from rooflift.cli.options import AsJson, AssumedUnits, NewestSuite, Root
from rooflift.errors import CatalogError, NoRun

if TYPE_CHECKING:
    from rooflift.api.operators import Operator, Unreadable


def show(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN",
            help="A run folder or its name, an operator, or a file (report, CSV, JSON). Default: all operators.",
            autocompletion=completion.runs,
        ),
    ] = None,
    suite: NewestSuite = False,
    fast_p: Annotated[
        bool,
        typer.Option(
            "--fast-p", help="KernelBench's fast_p: how many operators have a version p times as fast as torch."
        ),
    ] = False,
    kernel: Annotated[
        str | None, typer.Option(help="Of a file: kernels whose name this regular expression finds.")
    ] = None,
    launch: Annotated[int | None, typer.Option(help="Of a file: the launch of this number, from 0.")] = None,
    skip: Annotated[int, typer.Option(min=0, help="Of a file: leave out so many launches, such as warm-ups.")] = 0,
    last: Annotated[bool, typer.Option("--last", help="Of a file: the last launch that is left.")] = False,
    metrics: Annotated[
        str | None, typer.Option(help="Of a file: every metric whose name this regular expression finds.")
    ] = None,
    full_names: Annotated[bool, typer.Option("--full-names", help="Of a file: kernels by their whole names.")] = False,
    units: AssumedUnits = "auto",
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Print a run's table, the kernels of a report, or the operators.

    Of a file with many launches the kernels stand by their share of the time, and then the metrics of one of them;
    launches of one kernel with the same grid are repeats, and medians are shown.

    An operator stands for its newest run. Of one without a run, and without a name of every operator, the versions,
    cases and runs are listed; one that cannot be read stands there with the reason. Exit codes: 0, 2 none can be read.
    """
    from rooflift.api import find, kernelbench, operators, reports

    of_file = {"--kernel": kernel, "--launch": launch, "--skip": skip, "--last": last, "--metrics": metrics}
    given = [
        name for name, value in of_file.items() if value not in (None, 0, False) or (name, value) == ("--launch", 0)
    ]
    if given and not (what and reports.is_file(what)):
        remedy = (
            "Name a report; of a run `rooflift hotspots` and `advise` take a version, and metrics.csv has all metrics."
        )
        raise CatalogError(f"{', '.join(given)} picks among the launches of a file", remedy)
    if fast_p:
        print_view(kernelbench.fast_p(root=root), as_json)
    elif what is None:
        found = operators.all_operators(root=root)
        _list(found, as_json)
        if found and all(isinstance(one, operators.Unreadable) for one in found):
            raise typer.Exit(2)
    elif reports.is_file(what):
        if metrics is not None:
            print_view(reports.metric_values(what, metrics, kernel, launch, units=units), as_json)
            return
        chosen: dict[str, Any] = {"kernel": kernel, "launch": launch, "skip": skip, "last": last}
        print_view(reports.launches(what, **chosen, full_names=full_names, units=units), as_json)
    else:
        try:
            print_view(find.open(what, suite=suite, root=root), as_json)
        except NoRun as absent:
            _list([operators.operator(what, root=root)], as_json)
            note(f"{absent.message}: {absent.remedy}")


def _list(found: Sequence[Operator | Unreadable], as_json: bool) -> None:
    if as_json:
        print_json([one.record() for one in found])
    for one in () if as_json else found:
        print_parts(one.parts())

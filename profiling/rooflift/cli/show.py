"""`rooflift show`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rooflift.cli import completion
from rooflift.cli.console import console, note, print_json, print_run, records_of, run_as_json
from rooflift.cli.options import AsJson, NewestSuite, Root
from rooflift.cli.resolve import find_run, project_root

if TYPE_CHECKING:
    from rooflift.runs.run import Run


def show(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN",
            help="A run folder or its name, an operator, or a .ncu-rep file. Default: all operators.",
            autocompletion=completion.runs,
        ),
    ] = None,
    suite: NewestSuite = False,
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Print a run's table, the metrics of a report, or the operators.

    An operator stands for its newest run. Of one without a run, and without a name of every operator, the versions,
    cases and runs are listed.
    """
    if what is None:
        _show_operators(root, None, as_json)
    elif what.endswith(".ncu-rep"):
        _show_report(Path(what), as_json)
    elif _has_no_run(root, what):
        _show_operators(root, what, as_json)
        note(f"{what} has no run yet: `rooflift profile {what}` makes one.")
    elif (run := find_run(root, what, suite)).manifest.origin is not None:
        _show_import(run, as_json)
    else:
        _show_run(run, as_json)


def _show_run(run: Run, as_json: bool) -> None:
    from rooflift.pipeline import Told
    from rooflift.report.data import report_data
    from rooflift.runs.roofs import roofs_of

    measured = roofs_of(run)
    told = Told(run.folder, report_data(run.manifest, run.metrics, run.timings, run.compiled, measured=measured), [])
    if as_json:
        print_json(run_as_json(told))
        return
    print_run(told)
    console().print(told.story.provenance)


def _has_no_run(root: Path | None, what: str) -> bool:
    """Return whether this is an operator of the project that was not measured yet."""
    from rooflift.project.operator import operator_names
    from rooflift.runs.find import find_runs

    if (Path(what) / "run.json").exists():
        return False
    top = project_root(root)
    return what in operator_names(top) and not find_runs(top / "reports", what)


def _show_operators(root: Path | None, operator: str | None, as_json: bool) -> None:
    from rich.markup import escape

    from rooflift.project.operator import load_operator, operator_names
    from rooflift.runs.find import find_runs

    top = project_root(root)
    found: list[dict[str, Any]] = []
    for name in [operator] if operator else operator_names(top):
        of_operator = load_operator(top, name)
        found.append(
            {
                "operator": name,
                "versions": [
                    {"version": v.name, "stage": v.header.stage, "title": v.header.title} for v in of_operator.versions
                ],
                "cases": {case.name: sorted(case.use) for case in of_operator.cases.values()},
                "runs": [path.name for path in find_runs(top / "reports", name)],
            }
        )
    if as_json:
        print_json(found)
        return
    for entry in found:
        console().print(f"[bold]{escape(entry['operator'])}[/]")
        for version in entry["versions"]:
            console().print(f"  {version['version']:<24} {escape(version['stage']):<10} {escape(version['title'])}")
        console().print(f"  cases: {', '.join(entry['cases'])}", markup=False)
        console().print(f"  runs:  {', '.join(entry['runs']) or 'none'}", markup=False)


def _show_report(path: Path, as_json: bool) -> None:
    from rooflift.ncu.report import read_reports, report_gpu
    from rooflift.report import columns
    from rooflift.report.terminal import terminal

    frame = read_reports([path], path.parent)
    if as_json:
        print_json(records_of(frame))
        return
    for (version, case, dtype, kernel, launch), rows in frame.groupby(
        ["version", "case", "dtype", "kernel", "launch"], sort=False
    ):
        about = " ".join(filter(None, (version, case, dtype))) or "not made by rooflift"
        title = f"{kernel}, launch {launch} ({about}), on {report_gpu(path) or 'an unnamed GPU'}"
        console().print(terminal(columns.table("metrics", rows), title))


def _show_import(run: Run, as_json: bool) -> None:
    from rooflift.report import columns
    from rooflift.report.terminal import terminal

    if as_json:
        print_json(records_of(run.metrics))
        return
    for kernel, rows in run.metrics.groupby("kernel", sort=False):
        title = f"{run.manifest.operator}, {kernel}, on {run.manifest.machine.gpu}"
        console().print(terminal(columns.table("metrics", rows), title))
    for text in run.manifest.notes:
        console().print(text, markup=False)

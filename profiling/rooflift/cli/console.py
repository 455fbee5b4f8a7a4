"""What the commands print: tables, stories, JSON, progress. The only module beside cli that writes to the terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from rooflift.escape import plain, printable

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from rooflift.pipeline import Told


def console() -> Console:
    """Return the terminal, or a wide page where standard output is a pipe or a file; it takes no escape sequences."""
    from rich.console import Console

    class Cleaned(Console):
        def print(self, *objects: Any, **options: Any) -> None:
            super().print(*(printable(o) if isinstance(o, str) else o for o in objects), **options)

    return Cleaned(width=None if sys.stdout.isatty() else 200, highlight=False, soft_wrap=not sys.stdout.isatty())


def print_run(told: Told) -> None:
    """Print a run's table, what bounds each version, the predictions with their verdicts, and the suite."""
    from rooflift.report import columns, tables
    from rooflift.report.terminal import terminal
    from rooflift.report.text import suite_line

    story = told.story
    manifest = story.manifest
    measured = f"on {manifest.machine.gpu} ({manifest.created[:10]})"
    title = f"{manifest.operator}, {story.case.case} {story.case.dtype}, {measured}"
    console().print(terminal(columns.table("summary", story.main), title))
    for row in tables.bottlenecks(story.main):
        console().print(f"Bottleneck of {row['version']}: {row['bottleneck']} ({row['evidence']})", markup=False)
    for version, prediction, value, verdict in columns.table("predictions", story.judged).texts:
        console().print(f"  {version}: {prediction}: measured {value}, {verdict}", markup=False)
    if not story.suite.empty:
        title = "Suite: SOL %, with the term that binds where it is not memory"
        console().print(terminal(tables.suite_table(story.suite), title))
        console().print(suite_line(story).replace("**", ""), markup=False)


def run_as_json(told: Told) -> dict[str, Any]:
    """Return what `print_run` shows, for a program."""
    story = told.story
    return {
        "run": shown(told.folder),
        "gpu": story.manifest.machine.gpu,
        "measured_on": story.provenance,
        "summary": records_of(story.summary),
        "predictions": records_of(story.judged),
        "timings": records_of(story.timings),
        "suite": records_of(story.suite),
        "written": [shown(path) for path in told.written],
    }


def records_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a frame's rows; a missing value is None."""
    records: list[dict[str, Any]] = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return records


def print_json(value: Any) -> None:
    """Print JSON on standard output; NaN is an error, not JSON."""
    typer.echo(json.dumps(value, indent=2, allow_nan=False))


def note(text: str) -> None:
    """Tell the user something that is no result: it goes to standard error."""
    typer.echo(printable(text), err=True)


def shown(path: Path) -> str:
    """Return a path relative to the working directory where it lies below."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def lower_first(text: str) -> str:
    """Return a sentence as it stands behind other words."""
    return text[0].lower() + text[1:]


@contextmanager
def progress_shown() -> Iterator[Callable[[str], None]]:
    """Show what is being done: a spinner with the time on a terminal, a line each elsewhere."""
    if not sys.stderr.isatty():
        yield lambda text: note(f"  {text}")
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting")
        yield lambda text: bar.update(task, description=plain(text))

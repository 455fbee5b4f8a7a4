"""What the commands print: tables, lines, JSON, notes, progress."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from rooflift.escape import plain, printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable

    from rooflift.api.shown import Part, Shown
    from rooflift.cli.layout import Block


def console() -> Console:
    """Return the terminal, or a wide page where standard output is a pipe or a file; it takes no escape sequences."""
    from rich.console import Console

    class Cleaned(Console):
        def print(self, *objects: Any, **options: Any) -> None:
            super().print(*(printable(o) if isinstance(o, str) else o for o in objects), **options)

    return Cleaned(width=None if sys.stdout.isatty() else 200, highlight=False, soft_wrap=not sys.stdout.isatty())


def print_view(view: Shown, as_json: bool, **more: Any) -> None:
    """Print a view of the API: its parts, or its record as JSON; `more` fields stand in that alone."""
    if as_json:
        print_json(view.record() | more if more else view.record())
    else:
        print_parts(view.parts())


def print_parts(parts: Iterable[Part]) -> None:
    """Print titled tables and lines; nothing in them is taken for markup."""
    from rooflift.cli.layout import blocks

    terminal = console()
    for part in parts:
        if isinstance(part, str):
            terminal.print(part, markup=False)
        else:
            for block in blocks(part, terminal.width):
                terminal.print(drawn(block))


def drawn(block: Block) -> RichTable:
    """Return a block of a table for rich, which takes no markup from its cells."""
    from rich.table import Table
    from rich.text import Text

    title = Text(plain(block.title)) if block.title else None
    found = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    for one in block.columns:
        found.add_column(
            Text(plain(one.heading)), justify="right" if one.right else "left", width=one.width, overflow="fold"
        )
    for row in zip(*(one.texts for one in block.columns), strict=True):
        found.add_row(*map(Text, row))
    return found


def print_json(value: Any) -> None:
    """Print JSON on standard output; NaN is an error, not JSON."""
    typer.echo(json.dumps(value, indent=2, allow_nan=False))


def note(text: str) -> None:
    """Tell the user something that is no result: it goes to standard error."""
    typer.echo(printable(text), err=True)


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

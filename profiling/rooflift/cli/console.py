"""What the commands print: tables, lines, JSON, notes, progress."""

from __future__ import annotations

import json
import os
import re
import sys
import time
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

_COUNT = re.compile(r"\b(\d+) of (\d+)\b")


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


class _Asked:
    """What `--wide` says of the command that runs; `show_wide` sets it."""

    wide = False


def show_wide(value: bool) -> None:
    """Print all columns of the tables that follow, or on a narrow terminal those that fit."""
    _Asked.wide = value


def print_parts(parts: Iterable[Part]) -> None:
    """Print titled tables and lines; nothing in them is taken for markup.

    A terminal that is too narrow for a table shows the columns that fit, and names the others; a pipe has them all.
    """
    from rooflift.cli.layout import blocks

    terminal = console()
    for part in parts:
        if isinstance(part, str):
            terminal.print(part, markup=False)
            continue
        for block in blocks(part, terminal.width, wide=_Asked.wide or not sys.stdout.isatty()):
            terminal.print(drawn(block))
            if block.left_out:
                terminal.print(f"With --wide also: {', '.join(block.left_out)}", markup=False)


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
    """Show what is being done: on a terminal with a bar, the time, and how long it will take; elsewhere a line each.

    In CI, where the variable CI is set, nothing is shown. How much is done is what a text says: "checked 3 of 20".
    """
    if os.environ.get("CI"):
        yield lambda _: None
        return
    if not sys.stderr.isatty():
        yield lambda text: note(f"  {text}")
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.table import Column

    text_column = TextColumn(
        "{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")
    )
    columns = (SpinnerColumn(), text_column, BarColumn(16), TextColumn("{task.fields[left]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, expand=True) as bar:
        task = bar.add_task("starting", total=None, left="")
        pace = Pace()

        def show(text: str) -> None:
            pace.hear(text, time.monotonic())
            bar.update(task, description=plain(text), completed=pace.done, total=pace.total, left=pace.left)

        yield show


class Pace:
    """How much is done of what, and how long the rest will take at this pace, by texts such as "checked 3 of 20"."""

    def __init__(self) -> None:
        self.done = 0
        self.total: int | None = None
        self.left = ""  # "about 12 s left"; "" until it can be said
        self._began = (0, 0.0)  # how much was done when the first text of this kind came, and when

    def hear(self, text: str, now_s: float) -> None:
        """Take a text at a time; one without a count leaves all as it is."""
        found = _COUNT.search(text)
        if found is None:
            return
        done, total = int(found[1]), int(found[2])
        if total != self.total or done < self.done:  # something else is counted from here on
            self._began = (done, now_s)
        self.done, self.total = done, total
        first, began_s = self._began
        self.left = _left((now_s - began_s) * (total - done) / (done - first)) if done > first else ""


def _left(seconds: float) -> str:
    return f"about {seconds:.0f} s left" if seconds < 100 else f"about {seconds / 60:.0f} min left"

"""A table on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rooflift.escape import plain

if TYPE_CHECKING:
    from rich.table import Table as RichTable

    from rooflift.report.cells import Table


def terminal(shown: Table, title: str) -> RichTable:
    """Return a table for rich, which takes no markup from its cells."""
    from rich.table import Table
    from rich.text import Text

    found = Table(title=Text(plain(title)), title_justify="left", title_style="bold", header_style="bold")
    for heading, right in zip(shown.headings, shown.right, strict=True):
        found.add_column(Text(plain(heading)), justify="right" if right else "left")
    for row in shown.texts:
        found.add_row(*map(Text, row))
    return found

"""How objects show themselves in a notebook: a table with a caption, a picture. Everything is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from rooflift.escape import plain
from rooflift.report import cells
from rooflift.report.cells import Table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def html_table(shown: Table, caption: str) -> str:
    """Return a table as HTML under a caption."""
    sides = ["right" if right else "left" for right in shown.right]
    rows = [_row("th", shown.headings, sides), *(_row("td", texts, sides) for texts in shown.texts)]
    return f"<p>{escape(plain(caption))}</p>\n<table>\n{''.join(rows)}</table>"


def _row(tag: str, texts: Sequence[str], sides: Sequence[str]) -> str:
    found = (
        f'<{tag} style="text-align: {side}">{escape(text)}</{tag}>' for text, side in zip(texts, sides, strict=True)
    )
    return f"<tr>{''.join(found)}</tr>\n"


def texts(frame: pd.DataFrame, names: Sequence[str]) -> Table:
    """Return columns of a frame as a table of texts."""
    return cells.table(frame.astype(object).where(frame.notna(), ""), map(cells.words, names))


class Picture:
    """Something with a figure: a notebook shows that."""

    def figure(self) -> Figure:
        """Return the matplotlib Figure."""
        raise NotImplementedError

    def _repr_png_(self) -> bytes:
        from rooflift.report.figures.style import png

        return png(self.figure())

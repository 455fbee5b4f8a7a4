"""How objects show themselves: tables and pictures in a notebook, parts on a terminal, records for a program.

What a notebook is given is escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rooflift.escape import plain
from rooflift.report import cells
from rooflift.report.cells import MISSING, Table
from rooflift.report.terminal import Part, Titled, compiled_parts, mix_part, titled

__all__ = [
    "MISSING",
    "Part",
    "Picture",
    "Shown",
    "Table",
    "Titled",
    "compiled_parts",
    "html_table",
    "mix_part",
    "records",
    "short",
    "texts",
    "titled",
]

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class Shown(Protocol):
    """What a command prints, in its two forms."""

    def parts(self) -> Sequence[Part]:
        """Return what a terminal shows: titled tables and lines, in order."""

    def record(self) -> Any:
        """Return the same for a program: dicts, lists, texts and numbers; what is missing is None."""


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a frame's rows; a missing value is None."""
    found: list[dict[str, Any]] = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return found


def short(path: Path) -> str:
    """Return a path relative to the working directory where it lies below."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


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

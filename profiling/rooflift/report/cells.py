"""A table of a report: cells of a text and the value that it sorts by, under their headings. Knows no metric."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from rooflift.escape import Markdown, escaped, plain

if TYPE_CHECKING:
    import pandas as pd

MISSING = "-"
Row = Mapping[str, Any]


class Cell(NamedTuple):
    """What stands in a table, the number by which it sorts (NaN for a text or a missing value), and where it leads."""

    text: str
    value: float = math.nan
    link: str = ""  # on a page

    @property
    def key(self) -> str:
        """The number as HTML holds it, "" without one."""
        return "" if self.value is None or math.isnan(self.value) else repr(float(self.value))


@dataclass(frozen=True, slots=True)
class Column:
    """A heading, and the cell of a frame's row under it."""

    heading: str
    cell: Callable[[Row], Cell]
    right: bool = True


@dataclass(frozen=True, slots=True)
class Table:
    """Headings and cells, the same for terminal, Markdown and HTML."""

    headings: tuple[str, ...]
    right: tuple[bool, ...]  # whether a column is aligned to the right
    rows: tuple[tuple[Cell, ...], ...]

    @property
    def texts(self) -> list[list[str]]:
        """The texts of the rows."""
        return [[cell.text for cell in row] for row in self.rows]


def table(frame: pd.DataFrame, columns: Iterable[Column]) -> Table:
    """Return the table of a frame's rows."""
    return table_of(frame.to_dict("records"), columns)


def table_of(records: Iterable[Row], columns: Iterable[Column]) -> Table:
    """Return the table of some rows."""
    shown = tuple(columns)
    rows = (tuple(column.cell(row) for column in shown) for row in records)
    return Table(
        tuple(column.heading for column in shown),
        tuple(column.right for column in shown),
        tuple(tuple(cell._replace(text=plain(cell.text)) for cell in row) for row in rows),
    )


def words(name: str, heading: str | None = None) -> Column:
    """Return a column of texts, a dash for an empty one."""
    return Column(name if heading is None else heading, lambda row: Cell(str(row[name]) or MISSING), right=False)


def figure(name: str, heading: str, decimals: int = 0, unit: str = "") -> Column:
    """Return a column of numbers with so many decimals and a unit."""
    return Column(heading, lambda row: Cell(number(row[name], decimals, unit), row[name]))


def time(name: str, heading: str) -> Column:
    """Return a column of times, which the frame has in microseconds."""
    return Column(heading, lambda row: Cell(duration(row[name]), row[name]))


def number(value: float, decimals: int = 0, unit: str = "") -> str:
    """Return a number with so many decimals, a dash for NaN."""
    if value is None or math.isnan(value):
        return MISSING
    return f"{value:,.{decimals}f}{unit}".replace(",", " ")


def duration(time_us: float) -> str:
    """Return microseconds in the unit that keeps three or four digits."""
    if math.isnan(time_us):
        return MISSING
    return f"{time_us / 1e3:.3f} ms" if time_us >= 1e3 else f"{time_us:.1f} µs"


def rate(per_s: float, unit: str) -> str:
    """Return bytes, FLOP or other operations a second in TB/s, TFLOP/s or Top/s."""
    return number(per_s / 1e12, 2, {"byte/s": " TB/s", "FLOP/s": " TFLOP/s", "op/s": " Top/s"}[unit])


def named(names: Sequence[str], most: int = 3) -> str:
    """Return the first few of some names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def markdown(shown: Table) -> Markdown:
    """Return a table in Markdown, its cells escaped."""
    lines = [
        "| " + " | ".join(map(escaped, shown.headings)) + " |",
        "| " + " | ".join("---:" if right else "---" for right in shown.right) + " |",
    ]
    lines += ["| " + " | ".join(map(escaped, row)) + " |" for row in shown.texts]
    return Markdown("\n".join(lines))

"""A table fitted into a terminal: wrapped between words, then the columns that fit, or all in several blocks.

No text is cut off; which columns are left out is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rooflift.api.shown import MISSING, Titled

BORDER = 3  # characters between two columns
FOLDED = 20  # a column of long names may be folded to so many
FIRST = (  # what a narrow terminal shows before other columns
    *("time", "SOL %", "head / base", "verdict", "Samples", "Main stalls", "Source", "bottleneck", "error"),
)


class Column(NamedTuple):
    """A column as it is drawn."""

    heading: str
    right: bool
    texts: Sequence[str]
    width: int = 0

    @property
    def most(self) -> int:
        """Characters without any wrapping."""
        return max(map(len, (self.heading, *self.texts)))

    @property
    def least(self) -> int:
        """Characters of the longest word; a number is one word with its unit."""
        words = self.texts if self.right else " ".join(self.texts).split()
        return max(map(len, (*self.heading.split(), *words)), default=1)


class Block(NamedTuple):
    """Columns that fit side by side, under a title."""

    title: str
    columns: Sequence[Column]
    left_out: Sequence[str] = ()  # headings of the columns that do not fit


def blocks(part: Titled, width: int, *, wide: bool = True) -> list[Block]:
    """Return a table as blocks of at most `width` characters.

    What is too wide loses the columns of texts that are the same in all rows, which the title then names; it is wrapped
    between words; a last column of long names is folded; at last it goes on in further blocks, each with the columns
    of texts that begin it. Without `wide` there is one block, of the columns that fit.
    """
    title, table = part
    columns = [
        Column(heading, right, [row[place] for row in table.texts])
        for place, (heading, right) in enumerate(zip(table.headings, table.right, strict=True))
    ]
    if not _fits([column.most for column in columns], width):
        same = [c for c in columns[1:] if not c.right and len(c.texts) > 1 and len(set(c.texts)) == 1]
        title = ", ".join([title, *(f"{c.heading} {c.texts[0]}" for c in same if c.texts[0] != MISSING)])
        columns = [column for column in columns if column not in same]
    left_out: list[str] = []
    if not wide:
        columns, left_out = _chosen(columns, width)
    if not _fits([column.least for column in columns], width) and not columns[-1].right and len(columns) > 1:
        rest = width - _taken([column.least for column in columns[:-1]])
        if rest - BORDER - 1 >= FOLDED:
            last = columns[-1]._replace(width=rest - BORDER - 1)
            return [Block(title, [*(c._replace(width=c.least) for c in columns[:-1]), last], left_out)]
    keys, rest_of = _keyed(columns)
    groups: list[list[Column]] = [[]]
    for column in rest_of:
        if groups[-1] and not _fits([c.least for c in (*keys, *groups[-1], column)], width):
            groups.append([])
        groups[-1].append(column)
    return [
        Block(title if not place else "", _widened([*keys, *group], width), left_out if group is groups[-1] else ())
        for place, group in enumerate(groups)
    ]


def _keyed(columns: list[Column]) -> tuple[list[Column], list[Column]]:
    """Return the columns of texts that begin a table, one at least, and the others."""
    first = max(next((place for place, column in enumerate(columns) if column.right), 1), 1)
    return columns[:first], columns[first:]


def _chosen(columns: list[Column], width: int) -> tuple[list[Column], list[str]]:
    """Return the columns that fit side by side, in their order, and the headings of the others.

    Those that name the rows come first, then those of FIRST, then the others from the left.
    """
    keys, rest_of = _keyed(columns)
    kept = list(keys)
    for column in sorted(rest_of, key=lambda column: FIRST.index(column.heading) if column.heading in FIRST else 99):
        widths = [one.least for one in kept]
        last = column is columns[-1] and not column.right
        if _fits([*widths, min(column.least, FOLDED) if last else column.least], width):
            kept.append(column)
    return [c for c in columns if c in kept], [c.heading for c in columns if c not in kept]


def _taken(widths: Sequence[int]) -> int:
    return sum(widths) + BORDER * len(widths) + 1


def _fits(widths: Sequence[int], width: int) -> bool:
    return _taken(widths) <= width


def _widened(columns: Sequence[Column], width: int) -> list[Column]:
    """Return columns with the width that is left over: first to those that need least to be wrapped nowhere."""
    widths = [column.least for column in columns]
    left = max(width - _taken(widths), 0)
    for place in sorted(range(len(columns)), key=lambda place: columns[place].most - columns[place].least):
        more = min(left, columns[place].most - widths[place])
        widths[place] += more
        left -= more
    return [column._replace(width=own) for column, own in zip(columns, widths, strict=True)]

"""Two versions' machine code side by side: tables of what they execute and wait for, and the SASS that changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rooflift.analysis import kernels
from rooflift.analysis.kernels import LineChange
from rooflift.report import cells
from rooflift.report.cells import Table, figure, words

if TYPE_CHECKING:
    import pandas as pd

MOST_LINES, MOST_INSTRUCTIONS = 12, 8  # of the SASS that changed, as shown
MOST_REASONS = 8
SIDES = (figure("base", "base", 0), figure("head", "head", 0))


def mix_table(base: pd.DataFrame, head: pd.DataFrame) -> Table:
    """Return the instructions of two versions by group, in the binary and executed."""
    executed = [figure("base_executed", "base, executed by warps"), figure("head_executed", "head, executed by warps")]
    return cells.table(kernels.mixes(base, head), [words("group"), *SIDES, *executed])


def stalls_table(base: pd.DataFrame, head: pd.DataFrame) -> Table:
    """Return the samples of two versions by the reason for which warps waited."""
    percent = [figure("base_pct", "base", 1, " %"), figure("head_pct", "head", 1, " %")]
    return cells.table(kernels.stalls(base, head).head(MOST_REASONS), [words("reason"), *percent])


def sass_changes(found: Sequence[LineChange], rest: str) -> list[tuple[str, list[str]]]:
    """Return a title for each source line whose SASS changed, and its lines; equal instructions share one.

    Where more than MOST_LINES changed, the last title says how many, and `rest` where they are.
    """
    told = []
    for change in found[:MOST_LINES]:
        places = " -> ".join(f"{place[0]}:{place[1]}" if place else "none" for place in (change.base, change.head))
        lines = []
        for sign, instructions in (("-", change.removed), ("+", change.added)):
            counts = Counter(instructions).most_common()
            lines += [f"{sign} {count:>3}x {text}" for text, count in counts[:MOST_INSTRUCTIONS]]
            left = sum(count for _, count in counts[MOST_INSTRUCTIONS:])
            lines += [f"{sign} {left} more"] if left else []
        told.append((f"{places}: {change.text[:100]}", lines))
    if len(found) > MOST_LINES:
        told.append((f"{len(found) - MOST_LINES} more source lines changed; {rest}", []))
    return told


def changes(base: pd.DataFrame, head: pd.DataFrame, texts: Mapping[str, str], rest: str) -> list[tuple[str, list[str]]]:
    """Return `sass_changes` of two versions of one run."""
    return sass_changes(kernels.changed_lines(base, head, texts, texts), rest)

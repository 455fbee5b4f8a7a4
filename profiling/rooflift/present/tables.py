"""The tables people read, for the terminal and in Markdown, from one list of columns. Computes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

MISSING = "-"


@dataclass(frozen=True, slots=True)
class Column:
    """A heading, and the text of a summary row under it."""

    heading: str
    text: Callable[[Any], str]
    right: bool = True


def number(value: float, digits: int = 0, unit: str = "") -> str:
    """Return a number with so many decimals, a dash for NaN."""
    if value is None or math.isnan(value):
        return MISSING
    return f"{value:,.{digits}f}{unit}".replace(",", " ")


def duration(time_us: float) -> str:
    """Return microseconds in the unit that keeps three or four digits."""
    if math.isnan(time_us):
        return MISSING
    return f"{time_us / 1e3:.3f} ms" if time_us >= 1e3 else f"{time_us:.1f} µs"


SUMMARY_COLUMNS = (
    Column("version", lambda row: row["version"], right=False),
    Column("time", lambda row: duration(row["time_us"])),
    Column("speedup", lambda row: number(row["speedup"], 2, "x")),
    Column("roof %", lambda row: number(row["roof_pct"], 1)),
    Column("sm_pct", lambda row: number(row["sm_pct"])),
    Column("dram_pct", lambda row: number(row["dram_pct"])),
    Column("L2 hit %", lambda row: number(row["l2_hit_pct"])),
    Column("warps active %", lambda row: number(row["warps_active_pct"])),
    Column("grid", lambda row: number(row["grid_size"])),
    Column("registers", lambda row: number(row["registers"])),
    Column("excess traffic", lambda row: number(row["excess_traffic"], 3, "x")),
    Column("bound by", lambda row: row["bound"], right=False),
    Column("predictions", lambda row: row["predictions"], right=False),
)

COMPILED_COLUMNS = (
    Column("version", lambda row: row["version"], right=False),
    Column("kernel", lambda row: row["kernel"], right=False),
    Column("dtype", lambda row: row["dtype"], right=False),
    Column("target", lambda row: row["target"], right=False),
    Column("registers", lambda row: number(row["registers"])),
    Column("stack B", lambda row: number(row["stack_bytes"])),
    Column("spills", lambda row: number(row["spill_instructions"])),
    Column("shared B", lambda row: number(row["shared_bytes"])),
    Column("occupancy %", lambda row: number(row["occupancy_pct"])),
    Column("limited by", lambda row: row["occupancy_limit"], right=False),
)

PREDICTION_COLUMNS = (
    Column("version", lambda row: row["version"], right=False),
    Column("prediction", lambda row: row["prediction"], right=False),
    Column("measured", lambda row: number(row["value"], 3 if abs(row["value"]) < 10 else 1)),
    Column("verdict", lambda row: row["verdict"], right=False),
)

TIMING_COLUMNS = (
    Column("subject", lambda row: row["subject"], right=False),
    Column("median", lambda row: duration(row["median_us"])),
    Column("20 %", lambda row: duration(row["q20_us"])),
    Column("80 %", lambda row: duration(row["q80_us"])),
    Column("samples", lambda row: number(row["n"])),
)


METRIC_COLUMNS = (
    Column("metric", lambda row: row["metric"], right=False),
    Column("value", lambda row: number(row["value"], 2) if row["missing"] == "" else "missing"),
    Column("unit", lambda row: row["unit"], right=False),
    Column("ncu name, or why it is missing", lambda row: row["missing"] or row["ncu_name"], right=False),
)


def mix_columns(mix: pd.DataFrame) -> list[Column]:
    """Return the columns of an instruction mix: version, dtype, target, then a count a group."""
    names = ("version", "dtype", "target")
    texts = [Column(name, itemgetter(name), right=False) for name in names]
    return texts + [Column(c, partial(_count, c)) for c in mix.columns if c not in names]


def _count(column: str, row: dict[str, float]) -> str:
    return number(row[column])


def with_predictions(summary: pd.DataFrame, judged: pd.DataFrame) -> pd.DataFrame:
    """Return the summary with a column `predictions`: "3 hit, 2 missed" of each version."""
    texts = {}
    for version, verdicts in judged.groupby("version")["verdict"]:
        counts = {"hit": (verdicts == "hit").sum(), "missed": (verdicts == "miss").sum()}
        counts["not judged"] = len(verdicts) - sum(counts.values())
        texts[version] = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    return summary.assign(predictions=[texts.get(version, MISSING) for version in summary["version"]])


def cells(frame: pd.DataFrame, columns: Sequence[Column]) -> list[list[str]]:
    """Return the texts of a frame's rows."""
    return [[column.text(row) for column in columns] for row in frame.to_dict("records")]


def markdown(frame: pd.DataFrame, columns: Sequence[Column]) -> str:
    """Return a Markdown table; a pipe inside a cell is escaped."""
    lines = [
        "| " + " | ".join(column.heading for column in columns) + " |",
        "| " + " | ".join("---:" if column.right else "---" for column in columns) + " |",
    ]
    lines += ["| " + " | ".join(text.replace("|", "\\|") for text in row) + " |" for row in cells(frame, columns)]
    return "\n".join(lines)


def terminal(frame: pd.DataFrame, columns: Sequence[Column], title: str) -> Table:
    """Return a table for rich."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    for column in columns:
        table.add_column(column.heading, justify="right" if column.right else "left")
    for row in cells(frame, columns):
        table.add_row(*map(Text, row))
    return table

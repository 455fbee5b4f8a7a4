"""The tables people read, for the terminal and in Markdown, from one list of columns. Computes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from rooflift.escape import Markdown, escaped, plain

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


@dataclass(frozen=True, slots=True)
class Texts:
    """A table whose cells are texts already."""

    headings: Sequence[str]
    right: Sequence[bool]
    rows: Sequence[Sequence[str]]


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


def rate(per_s: float, unit: str) -> str:
    """Return bytes or FLOP a second in TB/s or TFLOP/s."""
    return number(per_s / 1e12, 2, {"byte/s": " TB/s", "FLOP/s": " TFLOP/s"}[unit])


SUMMARY_COLUMNS = (
    Column("version", lambda row: row["version"], right=False),
    Column("time", lambda row: duration(row["time_us"])),
    Column("speedup", lambda row: number(row["speedup"], 2, "x")),
    Column("roof %", lambda row: number(row["sol_pct"], 1)),
    Column("sm_pct", lambda row: number(row["sm_pct"])),
    Column("dram_pct", lambda row: number(row["dram_pct"])),
    Column("L2 hit %", lambda row: number(row["l2_hit_pct"])),
    Column("warps active %", lambda row: number(row["warps_active_pct"])),
    Column("grid", lambda row: number(row["grid_size"])),
    Column("registers", lambda row: number(row["registers"])),
    Column("excess traffic", lambda row: number(row["excess_traffic"], 3, "x")),
    Column("bottleneck", lambda row: row["bottleneck"], right=False),
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
    Column("provider", lambda row: row["provider"], right=False),
    Column("median", lambda row: duration(row["median_us"])),
    Column("20 %", lambda row: duration(row["q20_us"])),
    Column("80 %", lambda row: duration(row["q80_us"])),
    Column("samples", lambda row: number(row["n"])),
)


ROOF_COLUMNS = (
    Column("roof", lambda row: row["name"], right=False),
    Column("rate", lambda row: rate(row["per_s"], row["unit"])),
    Column("20 %", lambda row: rate(row["q20_per_s"], row["unit"])),
    Column("80 %", lambda row: rate(row["q80_per_s"], row["unit"])),
    Column("datasheet", lambda row: rate(row["datasheet_per_s"], row["unit"])),
    Column("SM, memory MHz", lambda row: ", ".join(map(str, row["clocks_after_mhz"])) or MISSING),
    Column("best configuration", lambda row: row["configuration"], right=False),
)

METRIC_COLUMNS = (
    Column("metric", lambda row: row["metric"], right=False),
    Column("value", lambda row: number(row["value"], 2) if row["missing"] == "" else "missing"),
    Column("unit", lambda row: row["unit"], right=False),
    Column("ncu name, or why it is missing", lambda row: row["missing"] or row["ncu_name"], right=False),
)


BASELINES = {
    "torch_eager": "the reference as it stands",
    "torch_channels_last": "the reference, model and 4-D inputs converted to channels_last before the timing",
    "torch_compile": "torch.compile(reference, dynamic=False)",
}


def suite_table(suite: pd.DataFrame) -> tuple[pd.DataFrame, list[Column]]:
    """Return a suite with one row a case, and its columns: for each dtype the last version and the best baseline.

    Both are shown as percent of the copy floor; "behind" stands where the baseline is faster.
    """
    import pandas as pd

    cases = suite.groupby("case", sort=False)
    rows = [
        {
            "case": case,
            "megabytes": ", ".join(dict.fromkeys(number(size / 1e6) for size in own["compulsory_bytes"])),
            **{row["dtype"]: row for row in own.to_dict("records")},
        }
        for case, own in cases
    ]
    last = str(suite["version"].iloc[-1]).split("_")[0]
    columns = [Column("case", itemgetter("case"), right=False), Column("MB", itemgetter("megabytes"))]
    for dtype in dict.fromkeys(suite["dtype"]):
        columns += [Column(f"{last} {dtype} %", partial(_own_share, dtype))]
        columns += [Column(f"best baseline {dtype} %", partial(_peer_share, dtype))]
    return pd.DataFrame(rows), columns


def _own_share(dtype: str, row: dict[str, Any]) -> str:
    own = row[dtype]
    if not isinstance(own, dict):  # the case was not measured in this dtype
        return MISSING
    return number(own["sol_pct"], 1) + (" behind" if own["lead"] < 1 else "")


def _peer_share(dtype: str, row: dict[str, Any]) -> str:
    own = row[dtype]
    return f"{number(own['baseline_pct'], 1)} {own['baseline']}".rstrip() if isinstance(own, dict) else MISSING


def provider_columns(dtypes: Sequence[str]) -> list[Column]:
    """Return the columns of one case's times: the provider, then its median and 20 % and 80 % quantiles a dtype."""
    return [Column("provider", itemgetter("provider"), right=False)] + [
        Column(dtype, partial(_median_and_spread, dtype)) for dtype in dtypes
    ]


def _median_and_spread(dtype: str, row: dict[str, Any]) -> str:
    times = row[dtype]
    if not isinstance(times, dict):
        return MISSING
    return f"{duration(times['median_us'])} ({times['q20_us']:.1f} to {times['q80_us']:.1f} µs)"


def mix_columns(mix: pd.DataFrame) -> list[Column]:
    """Return the columns of an instruction mix: version, dtype, target, then a count a group."""
    names = ("version", "dtype", "target")
    texts = [Column(name, itemgetter(name), right=False) for name in names]
    return texts + [Column(c, partial(_count, c)) for c in mix.columns if c not in names]


def _count(column: str, row: dict[str, float]) -> str:
    return number(row[column])


def predictions_text(judged: pd.DataFrame) -> str:
    """Return how the predictions came out, in one line."""
    if judged.empty:
        return "None is judged: the versions' headers make none, or not for the cases of this run."
    told = _counted(judged["verdict"])
    return f"Written into the versions' headers before the measurement. Of {len(judged)}: {told}."


def with_predictions(summary: pd.DataFrame, judged: pd.DataFrame) -> pd.DataFrame:
    """Return the summary with a column `predictions`: "3 hit, 2 missed" of each version."""
    texts = {}
    for version, verdicts in judged.groupby("version")["verdict"]:
        texts[version] = _counted(verdicts)
    return summary.assign(predictions=[texts.get(version, MISSING) for version in summary["version"]])


def _counted(verdicts: pd.Series) -> str:
    counts = {"hit": (verdicts == "hit").sum(), "missed": (verdicts == "miss").sum()}
    counts["not judged"] = len(verdicts) - sum(counts.values())
    return ", ".join(f"{count} {word}" for word, count in counts.items() if count)


def cells(frame: pd.DataFrame, columns: Sequence[Column]) -> list[list[str]]:
    """Return the texts of a frame's rows."""
    return [[plain(column.text(row)) for column in columns] for row in frame.to_dict("records")]


def texts(frame: pd.DataFrame, columns: Sequence[Column]) -> Texts:
    """Return the texts of a frame under their headings."""
    return Texts([column.heading for column in columns], [column.right for column in columns], cells(frame, columns))


def markdown(frame: pd.DataFrame, columns: Sequence[Column]) -> Markdown:
    """Return a Markdown table, its cells escaped."""
    return in_markdown(texts(frame, columns))


def in_markdown(table: Texts) -> Markdown:
    """Return a table in Markdown, its cells escaped."""
    lines = [
        "| " + " | ".join(map(escaped, table.headings)) + " |",
        "| " + " | ".join("---:" if right else "---" for right in table.right) + " |",
    ]
    lines += ["| " + " | ".join(map(escaped, row)) + " |" for row in table.rows]
    return Markdown("\n".join(lines))


def terminal(frame: pd.DataFrame, columns: Sequence[Column], title: str) -> Table:
    """Return a table for rich."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(plain(title)), title_justify="left", title_style="bold", header_style="bold")
    for column in columns:
        table.add_column(Text(plain(column.heading)), justify="right" if column.right else "left")
    for row in cells(frame, columns):
        table.add_row(*map(Text, row))
    return table

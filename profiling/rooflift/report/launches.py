"""The launches of a report as tables: kernels by share of time, and the metrics of one of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rooflift.analysis.launches import kernels, launches
from rooflift.ncu.cells import NOT_A_NUMBER
from rooflift.ncu.doubt import doubt, is_doubt
from rooflift.ncu.metrics import BY_NAME
from rooflift.ncu.names import short_name
from rooflift.report.cells import MISSING, Cell, Column, Row, Table, duration, figure, named, number, table, words
from rooflift.report.terminal import Part, Titled, titled

if TYPE_CHECKING:
    import pandas as pd

    from rooflift.ncu.files import Metrics
    from rooflift.schema import Manifest

MOST_KERNELS = 25  # rows of the list; what is below takes little of the time
SMALL_PCT = 5.0  # of the time: beside a kernel of interest this is set-up or a remainder
SPREAD = 1.25  # the longest of a kernel's launches over the shortest, from which both are shown


def _numbers(found: Sequence[int]) -> str:
    """Return "0", "0-6" or "0, 2, 9"."""
    if len(found) > 2 and found[-1] - found[0] == len(found) - 1:
        return f"{found[0]}-{found[-1]}"
    shown = [*map(str, found[:4]), *(["..."] if len(found) > 4 else [])]
    return ", ".join(shown)


def _name(row: Row, *, full_names: bool) -> str:
    own = " ".join(filter(None, (row["version"], row["case"], row["dtype"])))
    name = row["kernel"] if full_names else short_name(row["kernel"], 48)
    return f"{own}: {name}" if own else str(name)


def _time(row: Row) -> Cell:
    text = duration(row["time_us"])
    if row["high_us"] > SPREAD * row["low_us"]:
        text += f" ({duration(row['low_us'])} to {duration(row['high_us'])})"
    return Cell(text if not math.isnan(row["time_us"]) else MISSING, row["time_us"])


def _limit(row: Row) -> Cell:
    return Cell(f"{row['bottleneck']}: {row['evidence']}")


def kernel_table(found: pd.DataFrame, *, full_names: bool = False) -> Table:
    """Return the kernels by share of time."""
    columns = (
        Column("launch", lambda row: Cell(_numbers(row["numbers"]))),
        Column("kernel", lambda row: Cell(_name(row, full_names=full_names)), right=False),
        figure("grid_size", "grid"),
        figure("block_size", "block"),
        figure("count", "launches"),
        Column("median duration", _time),
        figure("share_pct", "time %", 1),
        figure("sm_pct", "SM %"),
        figure("memory_pct", "memory %"),
        Column("bottleneck", _limit, right=False),
    )
    return table(found.head(MOST_KERNELS), columns)


def import_parts(manifest: Manifest, metrics: pd.DataFrame) -> list[Part]:
    """Return the kernels of an imported run by share of time, the metrics where there is one alone, and its notes."""
    found = kernels(launches(metrics))
    title = f"{manifest.operator}, on {manifest.machine.gpu}"
    parts: list[Part] = [Titled(title, kernel_table(found))]
    parts += [rest_line(found)] if rest_line(found) else []
    if len(found) == 1:
        parts.append(titled("metrics", metrics[metrics["missing"] == ""], title))
    return [*parts, *manifest.notes]


def rest_line(found: pd.DataFrame) -> str:
    """Return what the list leaves out, "" when it is whole."""
    rest = found.iloc[MOST_KERNELS:]
    if rest.empty:
        return ""
    return f"And {len(rest)} more, {rest['share_pct'].sum():.1f} % of the time: `--kernel REGEX` picks among them."


def summary_line(name: str, metrics: Metrics, chosen: pd.DataFrame) -> str:
    """Return how much a file holds, and where it is from."""
    count, names = len(chosen), chosen["kernel"].nunique()
    total = chosen["ncu_time_ns"].sum() / 1e3
    gpu = metrics.device.gpu or "an unnamed GPU"
    ncu = f", ncu {metrics.device.ncu}" if metrics.device.ncu else ""
    launches = f"{count} launch{'es' if count != 1 else ''} of {names} kernel{'s' if names != 1 else ''}"
    spent = f", {duration(total)} under ncu" if total else ""
    return f"{name}: {launches}{spent}, on {gpu}{ncu}"


def detail_parts(
    first: Any, frame: pd.DataFrame, chosen: pd.DataFrame, file: Path, metrics: Metrics, *, full_names: bool
) -> list[Part]:
    """Return the metrics of one kernel with a value, the medians of its launches; what cannot be; what is not there."""
    own = chosen[chosen["number"].isin(first["numbers"])]
    rows = frame.merge(own[["version", "case", "dtype", "kernel", "launch"]], how="inner")
    certain = [not doubt(m, v, u) for m, v, u in zip(rows["metric"], rows["value"], rows["unit"], strict=True)]
    known = rows[certain]
    known = known[known["missing"] == ""]
    shown = known.groupby("metric", sort=False).agg(
        {"value": "median", "unit": "first", "ncu_name": "first", "missing": "first"}
    )
    about = " ".join(filter(None, (first["version"], first["case"], first["dtype"]))) or "not made by rooflift"
    count = len(own)
    which = f"launch {own['launch'].iloc[0]}" if count == 1 else f"medians of {count} launches"
    name = first["kernel"] if full_names else short_name(first["kernel"])
    title = f"{name}, {which} ({about}), on {metrics.device.gpu or 'an unnamed GPU'}"
    parts: list[Part] = []
    rest_pct = 100 - first["share_pct"]
    if 0 < rest_pct < SMALL_PCT:
        parts.append(f"All other kernels take {rest_pct:.1f} % of the time.")
    if not shown.empty:
        ordered = shown.reset_index()
        place = {metric: at for at, metric in enumerate(BY_NAME)}
        ordered = ordered.sort_values(
            "metric", key=lambda names: names.map(lambda n: place.get(n, len(place))), kind="stable"
        )
        parts.append(Titled(title, _metrics_table(ordered)))
    else:
        parts.append(title)
    parts += _told(own)
    told = {metric for reasons in own["missing"] for metric, why in reasons.items() if _is_told(why)}
    lacking = [BY_NAME[metric].label for metric in BY_NAME if metric not in shown.index and metric not in told]
    if lacking:
        parts.append(
            f"{len(lacking)} of rooflift's {len(BY_NAME)} metrics are not in it: {', '.join(lacking[:6])}, ..."
        )
    if metrics.form == "report":
        parts.append(f"Any metric of the report: `rooflift show {file} --metrics PATTERN`.")
    return parts


def _is_told(why: str) -> bool:
    """Tell whether a metric is in the file with a value that is no number, or that cannot be."""
    return why.startswith(NOT_A_NUMBER) or is_doubt(why)


def _told(own: pd.DataFrame) -> list[str]:
    """Return which values cannot be, and which launches have none."""
    lines: list[str] = []
    doubtful: dict[tuple[str, str], list[str]] = {}
    broken, lacking = [], dict[str, list[int]]()
    for row in own.to_dict("records"):
        reasons = row["missing"]
        for metric, why in reasons.items():
            if is_doubt(why):
                value, _, reason = why.partition(" is ")
                doubtful.setdefault((metric, reason), []).append(value)
        nan = [metric for metric, why in reasons.items() if why.startswith(NOT_A_NUMBER)]
        if nan and all(math.isnan(row[metric]) for metric in BY_NAME):
            broken.append(row["number"])
        elif nan:
            lacking.setdefault(named([BY_NAME[metric].label for metric in nan]), []).append(row["number"])
    for (metric, reason), values in doubtful.items():
        lines.append(f"Doubtful: {BY_NAME[metric].label} ({metric}) {', '.join(values)}: {reason}. Not used.")
    if broken:
        lines.append(f"Launch {', '.join(map(str, broken))}: its values are not numbers, ncu could not collect them.")
    for labels, numbers in lacking.items():
        lines.append(f"Launch {', '.join(map(str, numbers))}: no number, ncu could not collect it: {labels}.")
    return lines


def _metrics_table(rows: pd.DataFrame) -> Table:
    def value(row: Row) -> Cell:
        return Cell(number(row["value"], 2), row["value"])

    def label(row: Row) -> Cell:
        return Cell(BY_NAME[row["metric"]].heading if row["metric"] in BY_NAME else MISSING)

    columns = (
        *(words("metric"), Column("label", label, right=False), Column("value", value), words("unit")),
        Column("ncu name", lambda row: Cell(row["ncu_name"]), right=False),
    )
    return table(rows, columns)


def values_table(frame: pd.DataFrame) -> Table:
    """Return metrics as a report holds them."""

    def value(row: Row) -> Cell:
        if row["missing"]:
            return Cell(row["missing"])
        return Cell(row["value"] if isinstance(row["value"], str) else number(row["value"], 2))

    columns = (
        *(figure("launch", "launch"), Column("kernel", lambda row: Cell(short_name(row["kernel"], 32)), right=False)),
        *(words("name"), Column("value", value), words("unit")),
    )
    return table(frame, columns)

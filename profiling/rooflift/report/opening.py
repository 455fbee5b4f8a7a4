"""The five lines that a report opens with: verdict, change, where, why, and what was checked. Computes no figure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from rooflift.analysis.bottleneck import find_bottleneck
from rooflift.analysis.compare import Comparison
from rooflift.analysis.summary import combine
from rooflift.ncu.metrics import BY_NAME, shown_in
from rooflift.report.cells import duration, number
from rooflift.report.columns import interval
from rooflift.report.data import ReportData
from rooflift.report.text import headline, others_text, sanitizer_text, suite_line, too_small, verdict_words

if TYPE_CHECKING:
    import pandas as pd

MOST_METRICS = 2


class Line(NamedTuple):
    """A line under its label."""

    label: str
    text: str


def opening(data: ReportData) -> list[Line]:
    """Return the lines that decide: of a comparison its verdict first, of a ladder its fastest version.

    The change is that from base to head, of a ladder its last step. A line that has nothing to say is left out.
    """
    found = [
        Line("Verdict", _verdict(data)),
        Line("Change", _change(data)),
        Line("Where", _where(data)),
        Line("Why", _why(data)),
        Line("Checked", _checked(data)),
    ]
    return [line for line in found if line.text]


def _verdict(data: ReportData) -> str:
    if data.is_ladder or data.comparison is None:
        return headline(data)
    return f"**{verdict_words(data.comparison, _row(data.comparison, data))}.**"


def _row(comparison: Comparison, data: ReportData) -> Mapping[str, Any]:
    """Return the comparison on the main case, or on the first where that was not compared."""
    cases = comparison.cases
    own = cases[(cases["case"] == data.case.case) & (cases["dtype"] == data.case.dtype)]
    found: Mapping[str, Any] = (cases if own.empty else own).iloc[0].to_dict()
    return found


def _change(data: ReportData) -> str:
    found = data.comparison
    if found is None:
        return ""
    row = _row(found, data)
    ratio = "" if math.isnan(row["time_x"]) else f"{interval(row)} the time{too_small(row)}: "
    reason = f" ({row['reason']})" if row["reason"] else ""
    text = f"{ratio}{duration(row['base_us'])} → {duration(row['head_us'])}"
    if not data.is_ladder:
        return f"{text}{reason}."
    return f"last step, {found.base.version} to {found.head.version}: {row['verdict']}{reason}, {text}."


def _where(data: ReportData) -> str:
    found = data.comparison
    if data.is_ladder and not data.suite.empty:
        return suite_line(data)
    row = {"case": data.case.case, "dtype": data.case.dtype} if found is None else _row(found, data)
    name = f"{row['case']} {row['dtype']}"
    if found is None or len(found.cases) == 1:
        return f"{name}, the only case and dtype timed."
    return f"{name}. {others_text(found)}"


def _why(data: ReportData) -> str:
    """Return the bottleneck before and after, what the metrics say of the change, and the two that moved most."""
    found = data.comparison
    if found is None:
        return ""
    row = _row(found, data)
    base, head = (_bottleneck(side.metrics, side.version, row) for side in (found.base, found.head))
    if not base and not head:
        return "unknown: no metrics of both were collected."
    change = f"bottleneck {head or 'unknown'}, as before" if base == head else f"bottleneck {base} → {head}"
    own = found.metrics[(found.metrics["case"] == row["case"]) & (found.metrics["dtype"] == row["dtype"])]
    moved = [_moved(one) for one in _most_moved(own)]
    return "; ".join(filter(None, [change, ", ".join(moved), str(row["cause"] or "")])) + "."


def _bottleneck(metrics: pd.DataFrame, version: str, row: Mapping[str, Any]) -> str:
    own = metrics[
        (metrics["version"] == version) & (metrics["case"] == row["case"]) & (metrics["dtype"] == row["dtype"])
    ]
    return "" if own.empty else find_bottleneck(combine(own).iloc[0].to_dict()).resource


def _most_moved(own: pd.DataFrame) -> list[Mapping[str, Any]]:
    """Return the metrics that moved most: shares of a peak by their points, work by its ratio; no launch settings."""
    shown = {metric.name for metric in shown_in("comparison") if metric.unit == "%" or metric.work}
    rows = [row for row in own.to_dict("records") if row["moved"] and row["metric"] in shown]
    return sorted(rows, key=_size, reverse=True)[:MOST_METRICS]


def _size(row: Mapping[str, Any]) -> float:
    if BY_NAME[row["metric"]].unit == "%":
        return abs(float(row["head"]) - float(row["base"])) / 100
    return abs(math.log(row["head"] / row["base"])) if row["base"] > 0 and row["head"] > 0 else 0.0


def _moved(row: Mapping[str, Any]) -> str:
    about = BY_NAME[row["metric"]]
    if about.unit == "%":
        return f"{about.label} {number(row['base'])} → {number(row['head'])} %"
    return f"{about.label} {row['head'] / row['base']:.2f}x" if row["base"] > 0 else about.label


def _checked(data: ReportData) -> str:
    manifest = data.manifest
    worst = max((check.error_over_tolerance for check in manifest.checks), default=math.nan)
    agreed = (
        f"{len(manifest.checks)} comparisons with the reference in float64 agree, the largest error is "
        f"{worst:.2f} of the tolerance"
        if manifest.checks
        else "no comparison with the reference is recorded"
    )
    sanitized = sanitizer_text(manifest.sanitizer).rstrip(".")
    commit = f"commit {manifest.commit[:12]}" if manifest.commit else "commit unknown"
    tree = ", with uncommitted changes" if manifest.dirty else ""
    return f"{'; '.join(filter(None, [agreed, sanitized]))}. {data.provenance} {commit.capitalize()}{tree}."

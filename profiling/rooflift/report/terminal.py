"""What a terminal shows of runs and comparisons: titled tables and lines, in order. `cli.console` draws them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from rooflift.analysis.groups import compiled_groups
from rooflift.report import columns, tables
from rooflift.report.cells import Table
from rooflift.report.opening import opening
from rooflift.report.text import method_text, predictions_text, suite_line, verdict_line
from rooflift.report.warnings import warnings

if TYPE_CHECKING:
    import pandas as pd

    from rooflift.analysis.compare import Comparison
    from rooflift.report.data import ReportData


class Titled(NamedTuple):
    """A table under its title."""

    title: str
    table: Table


Part = Titled | str


def titled(name: str, frame: pd.DataFrame, title: str) -> Titled:
    """Return a frame as the table of that name in `columns.TABLES`."""
    return Titled(title, columns.table(name, frame))


def unmarked(line: str) -> str:
    """Return a line without the marks of bold."""
    return line.replace("**", "")


def run_parts(data: ReportData, operator: str) -> list[Part]:
    """Return a run's table, bottlenecks, predictions with their verdicts, suite, and where it was measured."""
    manifest = data.manifest
    measured = f"on {manifest.machine.gpu} ({manifest.created[:10]})"
    parts: list[Part] = [titled("summary", data.main, f"{operator}, {data.case.case} {data.case.dtype}, {measured}")]
    parts += [
        f"Bottleneck of {row['version']}: {row['bottleneck']} ({row['evidence']})"
        for row in tables.bottlenecks(data.main)
    ]
    parts += [
        f"  {version}: {prediction}: measured {value}, {verdict}"
        for version, prediction, value, verdict in columns.table("predictions", data.judged).texts
    ]
    if not data.suite.empty:
        title = "Suite: SOL %, with the term that binds where it is not memory"
        parts += [Titled(title, tables.suite_table(data.suite)), unmarked(suite_line(data))]
    return [*parts, data.provenance]


def report_parts(data: ReportData) -> list[Part]:
    """Return what report.md shows unfolded: the five lines, warnings, one table; then how the predictions came out."""
    lines = [f"{line.label}: {unmarked(line.text)}" for line in opening(data)]
    cautions = [f"Warning: {text}" for text in warnings(data.manifest, data.summary, data.comparison)]
    title = f"{data.manifest.operator}, {data.case.case} {data.case.dtype}"
    predictions = [] if data.judged.empty else [f"Predictions: {predictions_text(data.judged)}"]
    return [*lines, *cautions, Titled(title, tables.deciding_table(data)), *predictions]


def compiled_parts(kernels: pd.DataFrame, title: str) -> list[Part]:
    """Return compiled kernels, one row for versions that are the same machine code, and which these are."""
    same, rows = _one_a_group(kernels)
    groups = [f"{_span(group)}: the same machine code on all of these" for group in same if len(group) > 1]
    return [titled("compiled", rows, title), *groups]


def mix_part(kernels: pd.DataFrame) -> Titled:
    """Return the instructions in compiled kernels by group, rows as `compiled_parts`."""
    import pandas as pd

    rows = _one_a_group(kernels)[1].to_dict("records")
    mix = pd.DataFrame([{name: row[name] for name in ("versions", "dtype", "target")} | row["sass"] for row in rows])
    return Titled("Instructions in the binary", tables.mix_table(mix.fillna(0)))


def _one_a_group(kernels: pd.DataFrame) -> tuple[list[list[str]], pd.DataFrame]:
    """Return the groups of the same machine code, and the rows of their first versions with whom they stand for."""
    same = compiled_groups(kernels)
    names = {group[0]: _span(group) for group in same}
    rows = kernels[kernels["version"].isin(names)]
    return same, rows.assign(versions=rows["version"].map(names))


def _span(group: Sequence[str]) -> str:
    """Return "v3_rows", or "v3 to v5" for several versions; of another ladder "large/v3 to large/v5"."""
    parts = [version.rpartition("/") for version in (group[0], group[-1])]
    ends = [f"{ladder}{slash}{name.partition('_')[0]}" for ladder, slash, name in parts]
    return group[0] if len(group) == 1 else " to ".join(ends)


def comparison_parts(found: Comparison, case: str, dtype: str) -> list[Part]:
    """Return the cases with their verdicts, the metrics that moved on one of them, and the verdict in words."""
    parts: list[Part] = [titled("comparison", found.cases, f"{found.head.name} against {found.base.name}")]
    moved = tables.metric_changes(found, case, dtype, moved=True)
    if moved.rows:
        parts.append(Titled(f"Metrics that moved, {case} {dtype}", moved))
    return [*parts, unmarked(verdict_line(found, case, dtype)), method_text(found)]

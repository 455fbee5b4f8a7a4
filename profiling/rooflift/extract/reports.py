"""From .ncu-rep files to the tidy frame, through NVIDIA's ncu_report. Reads reports, judges nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rooflift.collect.plan import RANGE, SEPARATOR
from rooflift.errors import EnvironmentFault, ReportFault
from rooflift.extract.registry import DEVICE_NAME, METRICS, Metric
from rooflift.records import MetricRow
from rooflift.runs import to_frame

if TYPE_CHECKING:
    import pandas as pd


def read_reports(paths: Sequence[Path], folder: Path) -> pd.DataFrame:
    """Read reports into one tidy frame, columns as MetricRow; `source` is relative to `folder` where it lies inside.

    Raises:
        ReportFault: a file is missing, empty, no report, or holds no kernel launch.
        EnvironmentFault: ncu_report cannot be imported.
    """
    rows: list[MetricRow] = []
    launches: dict[tuple[str, str, str], int] = {}
    for path in paths:
        source = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
        rows.extend(_report_rows(path, source, launches))
    return to_frame(rows, MetricRow)


def report_gpu(path: Path) -> str:
    """Return the name of the GPU that a report was made on, "" when the report does not say."""
    for action in _actions(path):
        metric = action.metric_by_name(DEVICE_NAME)
        return str(metric.value()) if metric is not None and metric.has_value() else ""
    return ""


def _report_rows(path: Path, source: str, launches: dict[tuple[str, str, str], int]) -> Iterator[MetricRow]:
    for action in _actions(path):
        measured = _measured(action)
        launch = launches[measured] = launches.get(measured, -1) + 1
        names = set(action.metric_names())
        for metric in METRICS:
            value, unit, ncu_name, missing = _value(action, names, metric)
            yield MetricRow(
                *measured,
                kernel=action.name(),
                launch=launch,
                metric=metric.name,
                value=value,
                unit=unit,
                ncu_name=ncu_name,
                source=source,
                missing=missing,
            )


def _actions(path: Path) -> Iterator[Any]:
    try:
        import ncu_report
    except ImportError as error:
        raise EnvironmentFault(f"ncu_report cannot be imported: {error}", "Run `pip install ncu-report`.") from None

    if not path.is_file():
        raise ReportFault(f"{path}: no such file", "Name a .ncu-rep file or a run folder.")
    context = ncu_report.load_report(str(path))
    found = False
    for range_index in range(context.num_ranges()):
        ncu_range = context.range_by_idx(range_index)
        for action_index in range(ncu_range.num_actions()):
            found = True
            yield ncu_range.action_by_idx(action_index)
    if not found:
        what = "an empty file" if path.stat().st_size == 0 else "no Nsight Compute report with a kernel launch in it"
        raise ReportFault(f"{path}: {what}", "Profile again; a report is made by `rooflift profile` or `ncu -o`.")


def _measured(action: Any) -> tuple[str, str, str]:
    """Return version, case and dtype from the NVTX range, three empty strings in a foreign report."""
    state = action.nvtx_state()
    for domain in state.domains() if state is not None else ():
        ranges = state.domain_by_id(domain).push_pop_ranges()
        for outer, inner in pairwise(ranges):
            parts = inner.split(SEPARATOR)
            if outer == RANGE and len(parts) == 3:
                return parts[0], parts[1], parts[2]
    return "", "", ""


def _value(action: Any, names: set[str], metric: Metric) -> tuple[float | None, str, str, str]:
    """Return value, unit, the name that supplied it, and why there is none.

    `IMetric.value()` gives 0.0 for a metric without a value, so `has_value()` is asked first.
    """
    missing = "not collected in this report"
    for ncu_name in metric.ncu:
        if ncu_name not in names:
            continue
        found = action.metric_by_name(ncu_name)
        if not found.has_value():
            missing = "collected, but this GPU gives no value"
            continue
        value = found.value()
        if isinstance(value, int | float) and value == value:  # NaN differs from itself
            return float(value), found.unit() or metric.unit, ncu_name, ""
        missing = f"not a number: {value}"
    return None, metric.unit, metric.ncu[0], missing

"""The tidy frame of metrics over the time of a launch, from the reports that hold PM sampling. Judges nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rooflift.errors import ReportFault
from rooflift.ncu.metrics import TIME_SECTION
from rooflift.ncu.pm_sampling import Sampled
from rooflift.ncu.report import read_sampled

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("version", "case", "dtype", "kernel", "launch", "metric", "unit", "from_start", "time_us", "value")
REMEDY = (
    f"Profile with `rooflift profile --metrics timeline`, or pass to ncu `--section {TIME_SECTION}`; ncu samples from"
    " Turing on, and a kernel of some microseconds may be over before the first sample."
)


def read_timeline(paths: Sequence[Path]) -> pd.DataFrame:
    """Return one row a sample of all launches, columns as COLUMNS.

    `time_us` is since the launch began, as `from_start` says; otherwise since the first sample of the pass, and passes
    are not aligned with each other. `value` is NaN where ncu wrote none.

    Raises:
        ReportFault: as `read_reports`; or no launch has a metric over time, with what to pass to ncu.
    """
    found = [one for path in paths for one in read_sampled(path)]
    if not any(value is not None for one in found for series in one.series for value in series.values):
        names = ", ".join(path.name for path in paths) or "the run has no report"
        raise ReportFault(f"{names}: no metrics over the time of a launch", REMEDY)
    return frame(found)


def frame(launches: Sequence[Sampled]) -> pd.DataFrame:
    """Return the samples of launches, columns as COLUMNS; the launches of a version, case and dtype are numbered."""
    import pandas as pd

    counted: dict[tuple[str, str, str], int] = {}
    parts = []
    for one in launches:
        number = counted[one.measured] = counted.get(one.measured, -1) + 1
        for series in one.series:
            times_us = [time / 1e3 for time in series.times_ns]
            fixed = (*one.measured, one.kernel, number, series.metric, series.unit, series.from_start)
            part = pd.DataFrame({"time_us": times_us, "value": pd.Series(series.values, dtype=float)})
            parts.append(part.assign(**dict(zip(COLUMNS, fixed, strict=False))))
    whole = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS))
    return whole[list(COLUMNS)]

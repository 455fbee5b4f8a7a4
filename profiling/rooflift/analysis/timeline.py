"""Metrics over the time of a launch: which tell most, and how the launch begins and ends. Works on frames."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rooflift.ncu.metrics import SAMPLED_METRICS

if TYPE_CHECKING:
    import pandas as pd

MOST = 6  # series that a figure has room for
BUSY = 0.5  # of the largest value: the launch is in full swing


def of_launch(timeline: pd.DataFrame, version: str, case: str, dtype: str) -> pd.DataFrame:
    """Return the samples of a version's longest launch on a case and dtype."""
    key = (timeline["version"] == version) & (timeline["case"] == case) & (timeline["dtype"] == dtype)
    return longest(timeline[key])


def longest(samples: pd.DataFrame) -> pd.DataFrame:
    """Return those of the launch that took longest."""
    if samples.empty:
        return samples
    ends = samples.groupby(["kernel", "launch"], sort=False)["time_us"].max()
    kernel, launch = ends.idxmax()
    return samples[(samples["kernel"] == kernel) & (samples["launch"] == launch)].reset_index(drop=True)


def telling(samples: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the series of one launch that tell most, by what they are called; others behind them, by their names.

    A series without a number above 0 is left out.
    """
    own = {str(name): part for name, part in samples.groupby("metric", sort=True) if part["value"].max() > 0}
    found: dict[str, pd.DataFrame] = {}
    for called, pattern in SAMPLED_METRICS.items():
        name = next((name for name in own if re.search(pattern, name)), None)
        if name is not None:
            found[called] = own.pop(name)
    return dict(list((found | own).items())[:MOST])


def ramp_and_tail(series: pd.DataFrame) -> tuple[float, float]:
    """Return the shares of a series' time before it first and after it last reaches half of its largest value.

    NaN for a series without a value above 0.
    """
    known = series.dropna(subset="value").sort_values("time_us")
    most = known["value"].max() if len(known) else 0.0
    if not most > 0:
        return float("nan"), float("nan")
    busy = known.loc[known["value"] >= BUSY * most, "time_us"]
    begin, end = known["time_us"].min(), known["time_us"].max()
    span = max(end - begin, 1e-9)
    return float((busy.min() - begin) / span), float((end - busy.max()) / span)

"""The predictions of the versions' headers, each judged on the case that it is about. No files, no GPU."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rooflift.analysis.summary import version_number
from rooflift.project.header import Prediction, parse_prediction
from rooflift.schema import Manifest

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ["version", "prediction", "metric", "value", "verdict"]


def judge(manifest: Manifest, summary: pd.DataFrame) -> pd.DataFrame:
    """Return the predictions with their verdicts: each on its case, one that names none on the ladder's.

    A prediction without a dtype is about the first in which the run has the case. `METRIC_x` is the metric relative to
    that of the version numbered one less, as `time_x` is the time.

    Columns: version, prediction, metric, value (NaN when missing), verdict (hit, miss, or not judged: why).
    """
    import pandas as pd

    rows = []
    for version in manifest.versions:
        for text in version.expect:
            try:
                prediction = parse_prediction(text)
            except ValueError:  # the manifest was written by something else
                rows.append((version.version, text, "", math.nan, "not judged: no prediction that can be read"))
                continue
            value, verdict = _verdict(manifest, summary, version.version, prediction)
            rows.append((version.version, text, prediction.metric, value, verdict))
    return pd.DataFrame(rows, columns=COLUMNS)


def _verdict(manifest: Manifest, summary: pd.DataFrame, version: str, prediction: Prediction) -> tuple[float, str]:
    name, dtype = prediction.case or manifest.main, prediction.dtype
    case = next((c for c in manifest.cases if c.case == name and dtype in ("", c.dtype)), None)
    if case is None:
        return math.nan, f"not judged: this run has no {' '.join(filter(None, (name, dtype)))}"
    rows = summary[(summary["case"] == case.case) & (summary["dtype"] == case.dtype)].set_index("version")
    figures = rows.select_dtypes("number")
    absolute = prediction.metric.removesuffix("_x")
    if prediction.metric in figures:
        value = figures.at[version, prediction.metric]
    elif absolute in figures:
        before = figures[absolute].get(_before(version, list(figures.index)), 0)
        value = figures.at[version, absolute] / before if before else math.nan
    else:
        return math.nan, f"not judged: no figure is called {prediction.metric}"
    if math.isnan(value):
        return value, "not judged: the figure is missing in this run"
    return value, "hit" if prediction.holds(value) else "miss"


def _before(version: str, versions: list[str]) -> str:
    """The version numbered one less; empty where the run has none."""
    return next((v for v in versions if version_number(v) == version_number(version) - 1), "")

"""What the times of configurations say: the best, what cannot be told from it, which few to keep. Arithmetic alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rooflift.analysis.compare import (
    ALPHA,
    MIN_EFFECT,
    compared_figures,
    estimate_ratios,
    explanation,
    metric_changes,
)
from rooflift.analysis.summary import KEY, combine
from rooflift.ncu.metrics import shown_in
from rooflift.project.space import AS_IT_STANDS

if TYPE_CHECKING:
    import pandas as pd

BEST, NOISE, SLOWER = "best", "within noise", "slower"
KEPT_WITHIN = 0.02  # a list is pruned to configurations of which each case has one that is this close to its best
MOST_CHANGES = 8


def judge(samples: Mapping[str, Sequence[float]], alpha: float = ALPHA) -> pd.DataFrame:
    """Return configurations that were timed in the same rounds, the fastest first, each against that.

    Columns: configuration, best_us (the median), best_x (the time over the best one's, Hodges-Lehmann on logarithms),
    low, high (its interval), verdict: best, within noise, slower. Slower is what the interval says to be, by the
    minimum effect of comparisons at least.
    """
    import numpy as np
    import pandas as pd

    rounds = min(map(len, samples.values()))
    times = {name: np.asarray(own[:rounds], dtype=float) for name, own in samples.items()}
    ordered = sorted(times, key=lambda name: float(np.median(times[name])))
    matrix = np.stack([times[name] for name in ordered])
    base = np.broadcast_to(matrix[0], matrix.shape)
    ratio = estimate_ratios(base, matrix, paired=True, alpha=alpha)
    slower = (ratio.low > 1) & (ratio.time_x >= 1 + MIN_EFFECT)
    return pd.DataFrame(
        {
            "configuration": ordered,
            "best_us": np.median(matrix, axis=1),
            "best_x": ratio.time_x,
            "low": ratio.low,
            "high": ratio.high,
            "verdict": [BEST, *(SLOWER if one else NOISE for one in slower[1:])],
        }
    )


def pruned(table: pd.DataFrame, within: float = KEPT_WITHIN) -> list[str]:
    """Return the fewest configurations, greedily, of which each case and dtype has one close to its best.

    `table` has case, dtype, configuration and time_x; those without a time are passed over.
    """
    timed = table[table["time_x"].notna() & (table["configuration"] != AS_IT_STANDS)]
    best = timed.groupby(["case", "dtype"])["time_x"].transform("min")
    close = timed[timed["time_x"] <= best * (1 + within)].assign(over=lambda frame: frame["time_x"] / best)
    kept, left = list[str](), set(zip(close["case"], close["dtype"], strict=True))
    while left:
        open_ = close[[key in left for key in zip(close["case"], close["dtype"], strict=True)]]
        by = open_.groupby("configuration", sort=False)["over"].agg(["count", "mean"])
        chosen = by.sort_values(["count", "mean"], ascending=[False, True]).index[0]
        kept.append(str(chosen))
        own = open_[open_["configuration"] == chosen]
        left -= set(zip(own["case"], own["dtype"], strict=True))
    return kept


def current(table: pd.DataFrame) -> str:
    """Return the configuration of one case and dtype that is what the version launches as it stands, "" for none.

    It has the same machine code, grid, warps and shared memory.
    """
    code = table.set_index("configuration")["sha256"]
    own = code.get(AS_IT_STANDS, "")
    same = [str(name) for name, value in code.items() if value == own and name != AS_IT_STANDS]
    return same[0] if own and same else ""


def why(metrics: pd.DataFrame, case: str, dtype: str, best: str, other: str, time_x: float) -> tuple[str, pd.DataFrame]:
    """Return what explains the time of `best` over that of `other`, in words, and the metrics that moved.

    `metrics` has rows as metrics.csv, the configurations in the place of versions; the frame has metric, base (of
    `other`), head (of `best`), change and moved, the largest change first. "" and no rows where one was not profiled.
    """
    import pandas as pd

    columns = ["metric", "base", "head", "change", "moved"]
    found = combine(metrics).set_index(KEY)
    keys = [(name, case, dtype) for name in (other, best)]
    if any(key not in found.index for key in keys):
        return "", pd.DataFrame(columns=columns)
    base, head = (compared_figures(found.loc[key].to_dict()) for key in keys)
    changes = pd.DataFrame(metric_changes(base, head), columns=columns)
    said = explanation(time_x, changes.set_index("metric")) if time_x != 1 else ""
    told = {metric.name for metric in shown_in("comparison")} | {"dram_bytes"}
    moved = changes[changes["moved"].astype(bool) & changes["metric"].isin(told)]
    size = moved["head"].div(moved["base"]).map(lambda ratio: abs(math.log(ratio)) if ratio > 0 else math.inf)
    order = size.sort_values(ascending=False, kind="stable").index
    return said, moved.loc[order].head(MOST_CHANGES).reset_index(drop=True)

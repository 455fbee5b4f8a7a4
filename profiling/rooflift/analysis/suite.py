"""The suite: every case and dtype of a run, the last version beside the best baseline, both in SOL %. No files."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rooflift.analysis.sol import PROVIDERS, speed_of_light
from rooflift.schema import DISPATCH, Manifest, Roofs

if TYPE_CHECKING:
    import pandas as pd


def kind(manifest: Manifest, provider: str) -> str:
    """Return what a provider of timings.csv is: a version (or the dispatch), a baseline, or what moves the bytes."""
    if provider in PROVIDERS:
        return "memory"
    return "version" if provider in (DISPATCH, *(version.version for version in manifest.versions)) else "baseline"


def has_suite(manifest: Manifest) -> bool:
    """Tell whether a run measured more than one case."""
    return len({case.case for case in manifest.cases}) > 1


def shares(manifest: Manifest, timings: pd.DataFrame, measured: Roofs | None = None) -> pd.DataFrame:
    """Return SOL % of each version and baseline: one row a provider, case and dtype.

    Columns: provider, case, dtype, median_us, is_version, sol_us, sol_pct, sol_binds ("memory" or a unit).
    """
    import pandas as pd

    key = ["case", "dtype"]
    gpu = manifest.machine.gpu
    lights = {(case.case, case.dtype): speed_of_light(case, timings, measured, gpu) for case in manifest.cases}
    sol = pd.DataFrame(
        [(*of, light.time_us, light.binds) for of, light in lights.items()], columns=[*key, "sol_us", "sol_binds"]
    )
    others = timings.loc[~timings["provider"].isin(PROVIDERS), ["provider", *key, "median_us"]]
    is_version = others["provider"].map(lambda provider: kind(manifest, provider) == "version").astype(bool)
    others = others.assign(is_version=is_version)
    found = others.merge(sol, on=key, how="left")
    found.insert(found.columns.get_loc("sol_us") + 1, "sol_pct", 100 * found["sol_us"] / found["median_us"])
    return found


def suite(manifest: Manifest, timings: pd.DataFrame, measured: Roofs | None = None) -> pd.DataFrame:
    """Return one row a case and dtype in the run's order: what users get, and the best baseline.

    That is the operator's dispatch where it was timed, else the run's last version.

    Columns: case, dtype, compulsory_bytes, is_large (they do not fit into the GPU's L2, so none can stay there from one
    call to the next; true where its size is not known), version, time_us, sol_us, sol_pct, sol_binds, baseline,
    baseline_us, baseline_pct, lead (baseline_us / time_us: above 1 the version is the faster one). NaN and "" stand for
    what was not timed.
    """
    import pandas as pd

    every = shares(manifest, timings, measured)
    version = DISPATCH if DISPATCH in set(timings["provider"]) else manifest.versions[-1].version
    l2_bytes = manifest.machine.l2_bytes or 0
    own = every[every["provider"] == version].set_index(["case", "dtype"])
    baselines = every[~every["is_version"]].sort_values("median_us", kind="stable")
    fastest = baselines.drop_duplicates(["case", "dtype"]).set_index(["case", "dtype"])
    frame = pd.DataFrame(
        [
            (case.case, case.dtype, case.compulsory_bytes, case.bytes_known > l2_bytes, version)
            for case in manifest.cases
        ],
        columns=["case", "dtype", "compulsory_bytes", "is_large", "version"],
    )
    figures = own[["median_us", "sol_us", "sol_pct", "sol_binds"]].rename(columns={"median_us": "time_us"})
    beside = fastest[["provider", "median_us", "sol_pct"]].set_axis(["baseline", "baseline_us", "baseline_pct"], axis=1)
    frame = frame.join(figures, on=["case", "dtype"]).join(beside, on=["case", "dtype"])
    return frame.assign(baseline=frame["baseline"].fillna(""), lead=frame["baseline_us"] / frame["time_us"])


@dataclass(frozen=True, slots=True)
class Standing:
    """How the last version stands over some rows of a suite."""

    count: int
    geomean_pct: float  # SOL %; NaN when a row was not timed
    lowest: pd.Series  # the row with the smallest SOL %
    behind: pd.DataFrame  # the rows in which a baseline is faster, the farthest behind first

    @property
    def ahead(self) -> int:
        """The number of rows in which no baseline is faster."""
        return self.count - len(self.behind)


def standing(rows: pd.DataFrame, *, strictly: bool) -> Standing | None:
    """Return how the last version stands over rows of a suite, None without rows.

    `strictly`: a baseline that needs the same time counts as faster. A row without a baseline's time counts as behind.
    """
    if rows.empty:
        return None
    logs = rows["sol_pct"].astype(float).map(math.log)
    ahead = rows["lead"] > 1 if strictly else rows["lead"] >= 1
    return Standing(
        count=len(rows),
        geomean_pct=math.exp(logs.mean(skipna=False)),
        lowest=rows.sort_values("sol_pct", na_position="first", kind="stable").iloc[0],
        behind=rows[~ahead].sort_values("lead", na_position="first", kind="stable"),
    )

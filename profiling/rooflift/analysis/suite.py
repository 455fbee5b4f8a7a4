"""The suite: every case and dtype of a run, the last version beside the fastest peer and the copy floor. No files."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rooflift.analysis.summary import FLOOR
from rooflift.schema import Manifest

if TYPE_CHECKING:
    import pandas as pd

LARGE_BYTES = 50e6  # compulsory traffic above it cannot stay in the L2 of an H100 (50 MB) from one call to the next


def has_suite(manifest: Manifest) -> bool:
    """Tell whether a run measured more than one case."""
    return len({case.case for case in manifest.cases}) > 1


def shares(manifest: Manifest, timings: pd.DataFrame) -> pd.DataFrame:
    """Return what part of its time each subject would need at the copy floor: one row a subject, case and dtype.

    Columns: subject, case, dtype, median_us, is_version, floor_us, floor_pct (floor / time, NaN without a floor).
    """
    key = ["case", "dtype"]
    floors = timings.loc[timings["subject"] == FLOOR, [*key, "median_us"]].rename(columns={"median_us": "floor_us"})
    others = timings.loc[timings["subject"] != FLOOR, ["subject", *key, "median_us"]]
    others = others.assign(is_version=others["subject"].isin([version.version for version in manifest.versions]))
    found = others.merge(floors, on=key, how="left")
    return found.assign(floor_pct=100 * found["floor_us"] / found["median_us"])


def suite(manifest: Manifest, timings: pd.DataFrame) -> pd.DataFrame:
    """Return one row a case and dtype in the run's order: the run's last version, and the fastest peer.

    Columns: case, dtype, compulsory_bytes, is_large, version, time_us, floor_us, floor_pct, peer, peer_us, peer_pct,
    lead (peer_us / time_us: above 1 the version is the faster one). NaN and "" stand for what was not timed.
    """
    import pandas as pd

    every = shares(manifest, timings)
    version = manifest.versions[-1].version
    own = every[every["subject"] == version].set_index(["case", "dtype"])
    peers = every[~every["is_version"]].sort_values("median_us", kind="stable")
    fastest = peers.drop_duplicates(["case", "dtype"]).set_index(["case", "dtype"])
    frame = pd.DataFrame(
        [
            (case.case, case.dtype, case.compulsory_bytes, case.compulsory_bytes > LARGE_BYTES, version)
            for case in manifest.cases
        ],
        columns=["case", "dtype", "compulsory_bytes", "is_large", "version"],
    )
    figures = own[["median_us", "floor_us", "floor_pct"]].rename(columns={"median_us": "time_us"})
    beside = fastest[["subject", "median_us", "floor_pct"]].set_axis(["peer", "peer_us", "peer_pct"], axis=1)
    frame = frame.join(figures, on=["case", "dtype"]).join(beside, on=["case", "dtype"])
    return frame.assign(peer=frame["peer"].fillna(""), lead=frame["peer_us"] / frame["time_us"])


@dataclass(frozen=True, slots=True)
class Standing:
    """How the last version stands over some rows of a suite."""

    count: int
    geomean_pct: float  # of the copy floor; NaN when a row was not timed
    lowest: pd.Series  # the row with the smallest share of the floor
    behind: pd.DataFrame  # the rows in which a peer is faster, the farthest behind first

    @property
    def ahead(self) -> int:
        """The number of rows in which no peer is faster."""
        return self.count - len(self.behind)


def standing(rows: pd.DataFrame, *, strictly: bool) -> Standing | None:
    """Return how the last version stands over rows of a suite, None without rows.

    `strictly`: a peer that needs the same time counts as faster. A row without a peer's time counts as behind.
    """
    if rows.empty:
        return None
    logs = rows["floor_pct"].astype(float).map(math.log)
    ahead = rows["lead"] > 1 if strictly else rows["lead"] >= 1
    return Standing(
        count=len(rows),
        geomean_pct=math.exp(logs.mean(skipna=False)),
        lowest=rows.sort_values("floor_pct", na_position="first", kind="stable").iloc[0],
        behind=rows[~ahead].sort_values("lead", na_position="first", kind="stable"),
    )

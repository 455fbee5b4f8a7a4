"""Whether a measured candidate is kept: faster than its base, and not faster than the work of the case allows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rooflift.analysis.compare import compare, side
from rooflift.analysis.selection import figures
from rooflift.analysis.sol import suspicion
from rooflift.analysis.summary import main_case
from rooflift.optimize.journal import IMPOSSIBLE_PCT, Criterion

if TYPE_CHECKING:
    import pandas as pd

    from rooflift.runs.run import Run

# ncu flushes the caches before a launch: what is read comes from DRAM, and what L2 still holds at the end is no more
# than its size. A tenth is for what a stated or counted number of bytes may be off by.
LEAST_TRAFFIC = 0.9


class NotKept(Exception):
    """A candidate is not kept: the step that it failed at, and why."""

    def __init__(self, at: Criterion, why: Sequence[str], **found: object) -> None:
        super().__init__(at)
        self.at, self.why, self.found = at, list(why), found


def require_faster(run: Run, base: str, own: str, at: Criterion = "verdict") -> dict[str, object]:
    """Return the figures of a version that a run shows to be faster than its base.

    Raises:
        NotKept: it is not, or it took less time or moved fewer bytes than the work of a case needs.
    """
    rows = compare(side(run, base), side(run, own)).cases
    main = main_case(run.manifest)
    timed = rows[(rows["case"] == main.case) & (rows["dtype"] == main.dtype)].iloc[0]
    found = require_whole(run, own, time_x=float(timed["time_x"]))
    verdicts = list(rows["verdict"])
    if "slower" in verdicts or "faster" not in verdicts:
        why = [
            f"{row.case} {row.dtype}: {row.verdict}, {row.time_x:.3f}x the time of {base}"
            f" ({row.low:.3f} to {row.high:.3f}) {row.reason}".rstrip()
            for row in rows.itertuples()
        ]
        raise NotKept(at, why, **found)
    return found


def require_whole(run: Run, own: str, **more: object) -> dict[str, object]:
    """Return the figures of a version, and `more`, if it can have done all the work of every case.

    Raises:
        NotKept: it took less time or moved fewer bytes than the work of a case needs.
    """
    summary = figures(run)
    summary = summary[summary["version"] == own]
    main = main_case(run.manifest)
    on_main = summary[(summary["case"] == main.case) & (summary["dtype"] == main.dtype)].iloc[0]
    highest = float(summary["sol_pct"].max())
    found: dict[str, object] = {
        "time_us": float(on_main["time_us"]),
        **more,
        "sol_pct": float(on_main["sol_pct"]),
        "flag": suspicion(highest),
    }
    if highest > IMPOSSIBLE_PCT:
        above = f"{highest:.1f} % of SOL: it cannot have done all the work of the case"
        raise NotKept("sol", [above], **found)
    if missing := missing_traffic(summary, run.manifest.machine.l2_bytes):
        raise NotKept("traffic", missing, **found)
    return found


def missing_traffic(summary: pd.DataFrame, l2_bytes: int | None) -> list[str]:
    """Return the cases in which a version moved fewer bytes than every version that does the work.

    >>> import pandas as pd
    >>> row = {"case": "main", "dtype": "float32", "dram_bytes": 40e6, "compulsory_bytes": 200e6}
    >>> missing_traffic(pd.DataFrame([row]), 50_000_000)
    ['main float32: DRAM moved 40 MB of the compulsory 200 MB, and L2 holds 50 MB: some of the work was left out']
    """
    return [
        f"{row.case} {row.dtype}: DRAM moved {row.dram_bytes / 1e6:.0f} MB of the compulsory"
        f" {row.compulsory_bytes / 1e6:.0f} MB, and L2 holds {l2_bytes / 1e6:.0f} MB: some of the work was left out"
        for row in summary.itertuples()
        if l2_bytes is not None and row.dram_bytes + l2_bytes < LEAST_TRAFFIC * row.compulsory_bytes
    ]

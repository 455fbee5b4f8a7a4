"""Whether a stage is worth its iterations: another algorithm by SOL and launches, other stages by the bottleneck."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rooflift.analysis.advice import LEAN
from rooflift.analysis.launches import launches
from rooflift.analysis.selection import advise
from rooflift.analysis.summary import KEY
from rooflift.optimize.journal import FIRST

if TYPE_CHECKING:
    from rooflift.analysis.advice import Diagnosis
    from rooflift.analysis.selection import Selection
    from rooflift.runs.run import Run

FAR_PCT = 50  # of SOL: below it a version takes twice the time of the work itself, and its form is in question
MOST_LAUNCHES = 12  # that are named, those of the most time


def needless(stage: str, run: Run, about: Selection) -> str:
    """Return why a stage is passed over on a version; "" where it may pay, or nobody knows what limits the version."""
    found = advise(run, about)
    if stage == FIRST:
        if algorithm_reasons(found, _shares(run, about)):
            return ""
        traffic = "" if found.excess_traffic is None else f" with {found.excess_traffic:.2f}x the compulsory bytes"
        sol = "" if found.sol_pct is None else f", {found.sol_pct:.0f} % of SOL"
        return f"no other algorithm is worth it: one launch{traffic}{sol}"
    own = next(one for one in found.stages if one.stage == stage)
    return "" if own.addresses or found.bottleneck == "unknown" else own.why


def algorithm_text(run: Run, about: Selection) -> list[str]:
    """Return what speaks for another algorithm of a version: launches, passes over the data, the distance to SOL."""
    return algorithm_reasons(advise(run, about), _shares(run, about)) or ["Nothing that was measured asks for one."]


def algorithm_reasons(found: Diagnosis, shares: Sequence[tuple[str, float]]) -> list[str]:
    """Return the reasons for another algorithm, none where there is none; `shares` are launches and their time in %."""
    reasons = []
    excess = found.excess_traffic
    if len(shares) > 1 and (found.bottleneck == "launch" or excess is None or excess > LEAN):
        named = ", ".join(f"{name} {share:.0f} %" for name, share in shares[:MOST_LAUNCHES])
        left = f" and {len(shares) - MOST_LAUNCHES} more" if len(shares) > MOST_LAUNCHES else ""
        reasons.append(
            f"{len(shares)} launches a call ({named}{left}): what one hands to the next goes through memory; "
            "fuse them, those of the most time first."
        )
    if found.bottleneck == "launch":
        reasons.append(f"Launches take the time: {found.evidence}. Fewer launches help, faster kernels do not.")
    if excess is not None and excess > LEAN:
        reasons.append(
            f"DRAM moves {excess:.2f}x the compulsory bytes: fewer passes over the data, or a layout whose sectors are "
            "used whole."
        )
    if found.sol_pct is not None and found.sol_pct < FAR_PCT:
        reasons.append(
            f"{found.sol_pct:.0f} % of SOL ({found.sol_binds}): the work itself takes {found.sol_us:.1f} us of the "
            f"{found.time_us:.1f} us; count what else this form of it asks for."
        )
    own = next(one for one in found.stages if one.stage == FIRST)
    if own.addresses:
        limit = f"{found.bottleneck} ({found.evidence})"
        reasons.append(f"The bottleneck is {limit}: another form of the arithmetic, or another unit for it.")
    return reasons


def _shares(run: Run, about: Selection) -> list[tuple[str, float]]:
    """Return the launches of one call and their shares of its time in percent, the longest first."""
    rows = run.metrics[(run.metrics[KEY] == [about.version, about.case, about.dtype]).all(axis=1)]
    if rows.empty:
        return []
    times = launches(rows).sort_values("ncu_time_ns", ascending=False)
    total = times["ncu_time_ns"].sum() or 1.0
    return [(row.kernel, 100 * row.ncu_time_ns / total) for row in times.itertuples()]

"""What makes a reader of a run or a comparison careful: machines, dirty trees, throttling, noise, suspect results."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rooflift.analysis.compare import Comparison
from rooflift.analysis.sol import SUSPECT_PCT
from rooflift.report.cells import named
from rooflift.schema import CheckRecord, GpuState, LeftOutVersion, Manifest

if TYPE_CHECKING:
    import pandas as pd

CLOCKS_DIFFER = 0.02
MOST_CHARACTERS = 400  # of why a version is left out; run.json has all of it


def warnings(manifest: Manifest, summary: pd.DataFrame, comparison: Comparison | None) -> list[str]:
    """Return what makes a reader careful: machines, dirty trees, throttling, noise, results above SOL."""
    found = run_warnings([manifest]) if comparison is None else comparison_warnings(comparison)
    above = summary[summary["sol_pct"] > SUSPECT_PCT]
    if not above.empty:
        names = named([f"{row.version} ({row.case} {row.dtype})" for row in above.itertuples()])
        found.append(f"Above 100 % of SOL, which is suspect: {names}.")
    return found


TRUSTED = "ran with --trust: it is C++ or CUDA, and its Python ran where it was timed"


def comparison_warnings(comparison: Comparison) -> list[str]:
    """Return what makes a reader of a comparison careful."""
    base, head = comparison.base.manifest, comparison.head.manifest
    found = [f"Base and head differ: {difference}." for difference in comparison.differences]
    found += [] if base is head else _clocks(base.gpu_states, head.gpu_states)
    return found + _noise(comparison) + run_warnings([head] if base is head else [base, head])


def run_warnings(manifests: Sequence[Manifest]) -> list[str]:
    """Return what makes a reader of runs careful, whatever they are compared with."""
    found = []
    for one in manifests:
        which = f" ({one.name})" if len(manifests) > 1 else ""
        if one.dirty:
            found.append(f"The tree held uncommitted changes{which}: the commit alone does not give these kernels.")
        found += [f"{left_out_text(left_out)}{which}" for left_out in one.left_out]
        found += [f"{version.version} {TRUSTED}{which}." for version in one.versions if version.trusted]
        found += [f"{text}{which}." for text in _throttled(one.gpu_states)]
        found += check_warnings(one.checks)
    return found


def left_out_text(left_out: LeftOutVersion) -> str:
    """Return which version a run left out and why, in one line."""
    return (
        f"{left_out.version} is left out. {textwrap.shorten(left_out.message, MOST_CHARACTERS, placeholder=' [...]')}"
    )


def check_warnings(checks: Sequence[CheckRecord]) -> list[str]:
    """Return what weakens comparisons that agree, and the versions that give other bits on the same inputs."""
    notes: dict[str, list[str]] = {}
    for check in checks:
        if check.note:
            notes.setdefault(check.note, []).append(f"{check.case} {check.dtype}")
    found = [f"{named([*dict.fromkeys(cases)])}: {note}." for note, cases in notes.items()]
    drifting = [check.version for check in checks if check.deterministic is False]
    if drifting:
        found.append(f"Not deterministic, the same inputs give other bits: {named([*dict.fromkeys(drifting)])}.")
    return found


def _throttled(states: Iterable[GpuState]) -> list[str]:
    own = [state for state in states if state.at == "during"]
    reasons: dict[str, int] = {}
    for state in own:
        for reason in state.throttle:
            reasons[reason] = reasons.get(reason, 0) + 1
    return [
        f"The GPU throttled its clocks ({reason}) in {count} of {len(own)} samples" for reason, count in reasons.items()
    ]


def _clocks(base: Iterable[GpuState], head: Iterable[GpuState]) -> list[str]:
    clocks = [[s.sm_mhz for s in states if s.at == "during" and s.sm_mhz is not None] for states in (base, head)]
    if not all(clocks):
        return []
    one, other = (statistics.median(own) for own in clocks)
    if abs(other / one - 1) < CLOCKS_DIFFER:
        return []
    return [f"The SM clock was {one:.0f} MHz for base and {other:.0f} MHz for head."]


def _noise(comparison: Comparison) -> list[str]:
    """Name the cases whose noise, or drift between two runs, is above the rule's minimum effect."""
    rows = comparison.cases.dropna(subset=["min_effect"])
    noisy = rows[rows["min_effect"] > comparison.rule.min_effect].sort_values("min_effect", ascending=False)
    if noisy.empty:
        return []
    names = [f"{row.case} {row.dtype} {100 * row.min_effect:.1f} %" for row in noisy.itertuples()]
    what = "the noise of the measurement" if comparison.paired else "the noise, or what unchanged providers differ by,"
    return [f"Noise above {100 * comparison.rule.min_effect:g} %: {what} is {named(names)}."]

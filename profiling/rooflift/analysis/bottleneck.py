"""What bounds a version: the busiest resource by its counters, or latency when none is busy. No files, no GPU."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

BUSY_PCT = 60  # below this share of its peak nothing is the limit; Nsight Compute's speed-of-light rule agrees
PIPE_EXPLAINS_ISSUE = 10  # points: a pipe this near to the issue slots is why they are full

RESOURCES = {
    "dram_pct": "DRAM",
    "l2_pct": "L2",
    "l1_pct": "L1",
    "alu_pct": "integer",
    "fma_pct": "FMA pipe",
    "xu_pct": "special functions",
    "lsu_pct": "load/store",
    "tensor_pct": "tensor cores",
    "issue_active_pct": "issue slots",
}
PIPES = ("alu_pct", "fma_pct", "xu_pct", "lsu_pct", "tensor_pct")
SOME_UNIT = "SM"  # sm_pct without the pipes: some unit of the SM, and which one was not collected
NO_STALL = ("stall_selected", "stall_not_selected")  # these warps were able to issue


class Bound(NamedTuple):
    """The limit and the counters that show it."""

    resource: str
    evidence: str


def bound(counters: Mapping[str, float]) -> Bound:
    """Return what bounds a version, by the registry's short names; NaN is a counter that is missing."""
    shares = {name: float(counters.get(name, math.nan)) for name in RESOURCES}
    known = {name: share for name, share in shares.items() if not math.isnan(share)}
    if not any(pipe in known for pipe in PIPES):
        return _by_speed_of_light(counters)
    if "dram_pct" not in known:
        return Bound("unknown", "the counters of memory and pipes were not collected")
    busiest_pipe = max((known[pipe] for pipe in PIPES if pipe in known), default=0.0)
    if busiest_pipe >= known.get("issue_active_pct", 0.0) - PIPE_EXPLAINS_ISSUE:
        known.pop("issue_active_pct", None)
    name = max(known, key=lambda n: known[n])
    if known[name] >= BUSY_PCT:
        return Bound(RESOURCES[name], f"{name} {known[name]:.0f}")
    waves = counters.get("waves", math.nan)
    if waves < 1:
        return Bound("too few programs", f"waves {waves:.2f}: the grid does not fill the GPU once")
    stalls = {n: v for n, v in counters.items() if n.startswith("stall_") and n not in NO_STALL and not math.isnan(v)}
    if not stalls:
        return Bound("latency", f"no resource above {BUSY_PCT} %; the busiest is {name} {known[name]:.0f}")
    worst = max(stalls, key=lambda n: stalls[n])
    return Bound("latency", f"{worst} {stalls[worst]:.1f}; the busiest resource is {name} {known[name]:.0f}")


def _by_speed_of_light(counters: Mapping[str, float]) -> Bound:
    """Return the limit by sm_pct and dram_pct alone: the busiest unit of an SM against DRAM."""
    sm_pct, dram_pct = (counters.get(name, math.nan) for name in ("sm_pct", "dram_pct"))
    if math.isnan(sm_pct) or math.isnan(dram_pct):
        return Bound("unknown", "the counters of memory and pipes were not collected")
    if max(sm_pct, dram_pct) < BUSY_PCT:
        return Bound("latency", f"sm_pct {sm_pct:.0f} and dram_pct {dram_pct:.0f} are both below {BUSY_PCT}")
    if dram_pct >= sm_pct:
        return Bound(RESOURCES["dram_pct"], f"dram_pct {dram_pct:.0f}; no unit of the SM is above sm_pct {sm_pct:.0f}")
    return Bound(SOME_UNIT, f"sm_pct {sm_pct:.0f}: a unit of the SM, which one was not collected")

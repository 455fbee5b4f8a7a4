"""The bottleneck of a version: its busiest resource by the metrics, or latency when none is busy. No files, no GPU."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import NamedTuple

import msgspec

from rooflift.ncu.metrics import PIPES, RESOURCES, STALLS

BUSY_PCT = 60  # below this share of its peak nothing is the bottleneck; Nsight Compute's speed-of-light rule agrees
PIPE_EXPLAINS_ISSUE = 10  # points: a pipe this near to the issue slots is why they are full
SOME_UNIT = "SM"  # sm_pct without the pipes: some unit of the SM, and which one was not collected
NO_STALL = ("stall_selected", "stall_not_selected")  # these warps were able to issue


class Bottleneck(NamedTuple):
    """What limits a version, the metrics that show it, and for latency the stall with the most warps ("" without)."""

    resource: str
    evidence: str
    stall: str = ""


def find_bottleneck(metrics: Mapping[str, float]) -> Bottleneck:
    """Return the bottleneck of a version, by the registry's short names; NaN is a metric that is missing.

    Example:
        >>> find_bottleneck({"dram_pct": 92, "alu_pct": 40}).resource
        'DRAM'
    """
    shares = {name: float(metrics.get(name, math.nan)) for name in RESOURCES}
    known = {name: share for name, share in shares.items() if not math.isnan(share)}
    if not any(pipe in known for pipe in PIPES):
        return _by_speed_of_light(metrics)
    if "dram_pct" not in known:
        return Bottleneck("unknown", "the metrics of memory and pipes were not collected")
    busiest_pipe = max((known[pipe] for pipe in PIPES if pipe in known), default=0.0)
    if busiest_pipe >= known.get("issue_active_pct", 0.0) - PIPE_EXPLAINS_ISSUE:
        known.pop("issue_active_pct", None)
    name = max(known, key=lambda n: known[n])
    if known[name] >= BUSY_PCT:
        return Bottleneck(RESOURCES[name], f"{name} {known[name]:.0f}")
    waves = metrics.get("waves", math.nan)
    if waves < 1:
        return Bottleneck("too few programs", f"waves {waves:.2f}: the grid does not fill the GPU once")
    stalls = {n: v for n in STALLS if n not in NO_STALL and not math.isnan(v := metrics.get(n, math.nan))}
    if not stalls:
        return Bottleneck("latency", f"no resource above {BUSY_PCT} %; the busiest is {name} {known[name]:.0f}")
    worst = max(stalls, key=lambda n: stalls[n])
    evidence = f"{worst} {stalls[worst]:.1f}; the busiest resource is {name} {known[name]:.0f}"
    return Bottleneck("latency", evidence, worst)


@cache
def remedies() -> dict[str, str]:
    """Return what to do about each bottleneck, from bottlenecks.toml."""
    text = resources.files("rooflift.analysis").joinpath("bottlenecks.toml").read_bytes()
    return msgspec.toml.decode(text, type=dict[str, str])


def _by_speed_of_light(metrics: Mapping[str, float]) -> Bottleneck:
    """Return the bottleneck by sm_pct and dram_pct alone: the busiest unit of an SM against DRAM."""
    sm_pct, dram_pct = (metrics.get(name, math.nan) for name in ("sm_pct", "dram_pct"))
    if math.isnan(sm_pct) or math.isnan(dram_pct):
        return Bottleneck("unknown", "the metrics of memory and pipes were not collected")
    if max(sm_pct, dram_pct) < BUSY_PCT:
        return Bottleneck("latency", f"sm_pct {sm_pct:.0f} and dram_pct {dram_pct:.0f} are both below {BUSY_PCT}")
    if dram_pct >= sm_pct:
        evidence = f"dram_pct {dram_pct:.0f}; no unit of the SM is above sm_pct {sm_pct:.0f}"
        return Bottleneck(RESOURCES["dram_pct"], evidence)
    return Bottleneck(SOME_UNIT, f"sm_pct {sm_pct:.0f}: a unit of the SM, which one was not collected")

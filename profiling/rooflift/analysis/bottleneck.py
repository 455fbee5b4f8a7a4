"""The bottleneck of a version: its busiest resource by the metrics, or latency when none is busy. No files, no GPU.

Shares of a peak are compared over elapsed cycles alone. A report with ncu's Speed Of Light section holds them for
every unit, as the breakdown of its two throughputs; the busiest unit there is the bottleneck, as ncu says, too. In a
report of metrics alone the pipes are known over active cycles: such a share counts as no more than the throughput of
which the unit is a part.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import NamedTuple

import msgspec

from rooflift.ncu.cells import NOT_A_NUMBER
from rooflift.ncu.doubt import doubt, is_doubt, reason
from rooflift.ncu.metrics import PIPES, SHARES, SOL_UNITS, STALLS

BUSY_PCT = 60  # below this share of its peak nothing is the bottleneck; Nsight Compute's speed-of-light rule agrees
SAME = 0.01  # points: two shares this near are the same, as of the LSU pipe and of what it asks of L1
FILLS = 10.0  # points: a pipe this near to the issue slots is why they are full
EXPLAINED = 2.0  # points: a throughput this near to a known unit of it is that unit's
SOME_UNIT = "SM"  # the throughput of the SMs, where no unit of theirs that was collected explains it
SOME_MEMORY = "memory"  # that of the memory system
NO_STALL = ("stall_selected", "stall_not_selected")  # these warps were able to issue
NOT_COUNTED = "no metrics were collected"
SIDES = {"memory": ("dram_pct", "memory_pct"), "compute": ("sm_pct", *PIPES)}  # one alone says nothing of the other
MEMORY_SOL = ("dram_sol_pct", "l2_sol_pct", "l1_sol_pct")
MEMORY_UNITS = ("dram_pct", "l2_pct", "l1_pct", "l1_active_pct")


class Bottleneck(NamedTuple):
    """What limits a version, and the metrics that show it.

    `stall` is that with the most warps where latency limits, `fills` the pipe whose instructions fill the issue slots
    where these do; "" without.
    """

    resource: str
    evidence: str
    stall: str = ""
    fills: str = ""


def elapsed_shares(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return how busy each unit was, % of its peak over elapsed cycles, by the short names of the registry.

    Values that cannot be are left out.

    Example:
        >>> elapsed_shares({"sm_pct": 9.0, "alu_pct": 90.0, "dram_pct": 12.0})
        {'dram_pct': 12.0, 'alu_pct': 9.0}
    """
    known = {name: value for name in SOL_UNITS if (value := _plausible(metrics, name)) is not None}
    sm_pct, memory_pct = _plausible(metrics, "sm_pct"), _plausible(metrics, "memory_pct")
    if known.keys() <= set(MEMORY_SOL):  # no breakdown: DRAM, L2 and L1 have some of these metrics in other sections
        known = _without_breakdown(metrics, sm_pct, memory_pct) | known
    memory = (*MEMORY_UNITS, *MEMORY_SOL)
    for whole_name, whole, parts in (
        ("sm_pct", sm_pct, [name for name in known if name not in memory]),
        ("memory_pct", memory_pct, memory),
    ):
        most = max((known[name] for name in parts if name in known), default=0.0)
        if whole is not None and whole > most + EXPLAINED:
            known[whole_name] = whole
    return known


def _without_breakdown(
    metrics: Mapping[str, float], sm_pct: float | None, memory_pct: float | None
) -> dict[str, float]:
    """Return the shares of a report of metrics alone: pipes over active cycles, and no more than the whole."""
    found = {name: value for name in (*SHARES, *MEMORY_UNITS) if (value := _plausible(metrics, name)) is not None}
    for name in found:
        whole = memory_pct if name in MEMORY_UNITS else sm_pct
        if whole is not None:
            found[name] = min(found[name], whole)
    if "l1_pct" in found or (memory_pct is None and sm_pct is None):
        found.pop("l1_active_pct", None)
    return found


def resource_of(metric: str) -> str:
    """Return the resource whose share of its peak a metric is: "ALU pipe" of alu_pct."""
    others = {"l1_active_pct": "L1", "sm_pct": SOME_UNIT, "memory_pct": SOME_MEMORY}
    return SHARES.get(metric) or SOL_UNITS.get(metric) or others[metric]


def find_bottleneck(metrics: Mapping[str, float], missing: Mapping[str, str] | None = None) -> Bottleneck:
    """Return the bottleneck of a version, by the registry's short names; NaN is a metric that is missing.

    `missing` are the reasons why: a report whose values are no numbers says so.

    Example:
        >>> find_bottleneck({"dram_pct": 92, "alu_pct": 40}).resource
        'DRAM'
    """
    known = elapsed_shares(metrics)
    name = busiest(known)
    if not name or not _both_sides(metrics, known):
        return Bottleneck("unknown", _why_unknown(metrics, known, missing or {}))
    if known[name] >= BUSY_PCT:
        return _busy(name, known, metrics)
    waves = metrics.get("waves", math.nan)
    if waves < 1:
        return Bottleneck("too few programs", f"waves {waves:.2f}: the grid does not fill the GPU once")
    stalls = {n: v for n in STALLS if n not in NO_STALL and not math.isnan(v := metrics.get(n, math.nan))}
    if not stalls:
        return Bottleneck("latency", f"no resource above {BUSY_PCT} %; the busiest is {name} {known[name]:.0f}")
    worst = max(stalls, key=lambda n: stalls[n])
    evidence = f"{worst} {stalls[worst]:.1f}; the busiest resource is {name} {known[name]:.0f}"
    return Bottleneck("latency", evidence, worst)


def busiest(shares: Mapping[str, float]) -> str:
    """Return the unit with the largest share, of equal ones the first in the registry; "" of none."""
    most = max(shares.values(), default=0.0)
    return next((name for name in shares if shares[name] >= most - SAME), "")


def _busy(name: str, known: Mapping[str, float], metrics: Mapping[str, float]) -> Bottleneck:
    """Return the unit that decides; beside the issue slots also the pipe that fills most of them."""
    resource, evidence = resource_of(name), f"{name} {metrics[name]:.0f}"
    if metrics[name] >= known[name] + 1:  # a share of active cycles, held by the whole of elapsed ones
        whole = "memory_pct" if name in MEMORY_UNITS else "sm_pct"
        evidence = f"{evidence} of active cycles, {whole} {known[name]:.0f}"
    pipes = {n: v for n, v in known.items() if resource_of(n).endswith(" pipe")}
    pipe = busiest(pipes) if resource == "Issue Slots" else ""
    if not pipe or pipes[pipe] < known[name] - FILLS:
        return Bottleneck(resource, evidence)
    return Bottleneck(resource, f"{evidence}, {pipe} {pipes[pipe]:.0f}", fills=resource_of(pipe))


def _plausible(metrics: Mapping[str, float], name: str) -> float | None:
    value = float(metrics.get(name, math.nan))
    return None if math.isnan(value) or doubt(name, value) else value


def _both_sides(metrics: Mapping[str, float], known: Mapping[str, float]) -> bool:
    """Tell whether compute and memory were collected: one alone says nothing of the other."""
    return any(name in SOL_UNITS for name in known) or all(
        any(_plausible(metrics, name) is not None for name in side) for side in SIDES.values()
    )


def _why_unknown(metrics: Mapping[str, float], known: Mapping[str, float], missing: Mapping[str, str]) -> str:
    needed = ("sm_pct", "memory_pct", "dram_pct")
    if any(missing.get(name, "").startswith(NOT_A_NUMBER) for name in needed):
        return "the values are not numbers: ncu could not collect them"
    for name in needed:
        why = reason(name, float(metrics.get(name, math.nan)), missing=missing.get(name, ""))
        if is_doubt(why):
            return f"{name} {why}"
    name = busiest(known)
    lacking = [side for side, names in SIDES.items() if all(_plausible(metrics, one) is None for one in names)]
    return f"{NOT_COUNTED} of {' and '.join(lacking)}{f'; {name} {known[name]:.0f} is there' if name else ''}"


@cache
def remedies() -> dict[str, str]:
    """Return what to do about each bottleneck, from bottlenecks.toml."""
    text = resources.files("rooflift.analysis").joinpath("bottlenecks.toml").read_bytes()
    return msgspec.toml.decode(text, type=dict[str, str])

"""What to try next: the distance to the speed of light, the bottleneck, the stage that addresses it. No files.

A gain is a bound, not a forecast: time cannot fall below SOL time, nor below what DRAM needs at its peak for the bytes
that remain; a stage that leaves the work alone cannot bring it below what the busiest resource needs at its
peak.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rooflift.analysis.bottleneck import (
    NOT_COUNTED,
    SOME_MEMORY,
    SOME_UNIT,
    Bottleneck,
    busiest,
    elapsed_shares,
    find_bottleneck,
    remedies,
    resource_of,
)
from rooflift.analysis.sol import MEMORY, SpeedOfLight, suspicion
from rooflift.analysis.summary import TENSOR_IN_USE_PCT
from rooflift.dtypes import SPECIAL
from rooflift.ncu.doubt import doubt
from rooflift.ncu.metrics import BY_NAME, RESOURCES, SHARES, SOL_UNITS
from rooflift.project.stages import stages, stages_for

STOP_PCT = 95  # of SOL: what is left is less than a run differs from the next in clocks and placement
LEAN = 1.05  # excess traffic up to it is none: less than a stage could win back
LAUNCH_SHARE = 0.5  # a kernel that fills less of the measured time leaves most of it to launches
TENSOR_PIPE = RESOURCES["tensor_pct"]
MOST_GAIN = 20  # a larger bound says nothing: DRAM is all but idle, and what else the time goes into is not known
FEW_WARPS_PCT = 40  # below it long latencies can hardly be hidden by other warps


FEWER_BYTES = "Only fewer bytes help now: fuse the operator with the one before or behind it, or store a narrower type."
FEWER_FLOP = "Only fewer FLOP help now: an algorithm with fewer products, or a narrower type for them."
FEWER_SPECIAL = "Only fewer special functions help now: polynomials on the FMA pipe, or an algorithm that needs fewer."


@dataclass(frozen=True, slots=True)
class Share:
    """A resource and the share of its peak; None with the reason when it was not measured."""

    resource: str
    metric: str
    ncu_name: str
    pct: float | None
    missing: str


@dataclass(frozen=True, slots=True)
class StageAdvice:
    """Whether a stage addresses the bottleneck, and why or why not."""

    stage: str
    addresses: bool
    why: str
    gain_at_most: float | None  # of a stage that addresses it: time now / least time then


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What limits one version on one case and dtype, and what could make it faster; None is what nobody measured."""

    time_us: float | None
    sol_us: float | None
    sol_source: str
    sol_binds: str  # "memory" or a unit, "" where neither is known
    sol_pct: float | None
    achieved_per_s: float | None  # bytes/s or FLOP/s of what binds
    excess_traffic: float | None
    bottleneck: str
    evidence: str
    shares: tuple[Share, ...]
    stop: bool
    stage: str | None  # the one to try next
    how: str
    gain_at_most: float | None  # time now / least time then; at least 1
    gain_reason: str
    next_bottleneck: str  # what would be busiest then, if the stage left it alone
    stages: tuple[StageAdvice, ...]
    warnings: tuple[str, ...]


def diagnose(
    figures: Mapping[str, float],
    sol: SpeedOfLight,
    tried: Sequence[str] = (),
    missing: Mapping[str, str] | None = None,
    names: Mapping[str, str] | None = None,
) -> Diagnosis:
    """Return the diagnosis of one version.

    `figures` are the registry's metrics by short name with time_us, excess_traffic; NaN is missing. `tried` are the
    stages of this version and those before it, `missing` the reasons why metrics have no value, `names` the ncu names
    that gave the others.
    """
    time_us, excess = _figure(figures, "time_us"), _figure(figures, "excess_traffic")
    limit = _bottleneck(figures, missing or {})
    sol_pct = sol.pct(time_us)
    topics = _topics(figures, limit, excess, sol)
    ordered = list(dict.fromkeys(stage for topic in topics for stage in stages_for(topic)))
    bounds = _bounds(figures, limit, sol_pct, excess)
    gain, gain_reason = _least(bounds)
    at_peak = math.isnan(sol_pct) and limit.resource == "DRAM" and gain <= 100 / STOP_PCT
    stop = sol_pct >= STOP_PCT or at_peak
    tuned, tuned_reason = _least(bounds | _peak(figures))
    useful = [] if stop else ordered
    if gain > MOST_GAIN:
        gain, gain_reason = math.nan, f"nothing that was collected bounds it below {MOST_GAIN}x"
    next_stage = next((s for s in useful if s not in tried), useful[-1] if useful else None)
    advice = tuple(
        _advice(name, limit, tuned if about.same_work else gain, stop=stop, addresses=name in useful)
        for name, about in stages().items()
    )
    if next_stage and stages()[next_stage].same_work:
        gain, gain_reason = tuned, tuned_reason
    return Diagnosis(
        time_us=_known(time_us),
        sol_us=_known(sol.time_us),
        sol_source=sol.source,
        sol_binds=sol.binds,
        sol_pct=_known(sol_pct),
        achieved_per_s=_known(sol.achieved_per_s(time_us)),
        excess_traffic=_known(excess),
        bottleneck=limit.resource,
        evidence=limit.evidence,
        shares=_shares(figures, missing or {}, names or {}),
        stop=stop,
        stage=next_stage,
        how=_how(sol, topics, limit, stop=stop),
        gain_at_most=_known(gain),
        gain_reason=gain_reason,
        next_bottleneck=_next_bottleneck(figures, limit),
        stages=advice,
        warnings=tuple(_warnings(sol_pct, excess)),
    )


def _how(sol: SpeedOfLight, topics: Sequence[str], limit: Bottleneck, *, stop: bool) -> str:
    if stop:
        return {"": FEWER_BYTES, MEMORY: FEWER_BYTES, SPECIAL: FEWER_SPECIAL}.get(sol.binds, FEWER_FLOP)
    if limit.resource == "unknown" and not limit.evidence.startswith(NOT_COUNTED):
        return "what ncu says below names the cause; collect the report again"
    return remedies()[topics[0] if topics[0] in remedies() else limit.resource]


def _bottleneck(figures: Mapping[str, float], missing: Mapping[str, str]) -> Bottleneck:
    time_us, kernel_us = _figure(figures, "time_us"), _figure(figures, "ncu_time_ns") / 1e3
    if kernel_us < LAUNCH_SHARE * time_us:
        return Bottleneck("launch", f"the kernels take {kernel_us:.1f} us of {time_us:.1f} us")
    return find_bottleneck(figures, missing)


def _topics(figures: Mapping[str, float], limit: Bottleneck, excess: float, sol: SpeedOfLight) -> list[str]:
    """Return what stages.toml knows the bottleneck by: its special cases and stalls, the most pressing first.

    Where the tensor cores or the special functions bind, a version is slow for what keeps that unit from its work.
    """
    topics = _resource_topics(figures, limit, excess)
    if sol.binds == SPECIAL:
        return ["special functions", *topics]
    if not sol.binds.endswith("tensor") or limit.resource == "launch":
        return topics
    if limit.resource == TENSOR_PIPE:
        return ["tensor cores busy"]
    if _figure(figures, "tensor_pct") < TENSOR_IN_USE_PCT:
        return ["tensor cores idle", *topics]
    return ["tensor cores wait", *topics] if limit.resource == "latency" else [*topics, "tensor cores wait"]


def _resource_topics(figures: Mapping[str, float], limit: Bottleneck, excess: float) -> list[str]:
    if limit.resource == "DRAM" and excess <= LEAN:
        return ["compulsory traffic"]
    if limit.resource == "latency":
        few = ["few warps"] if _figure(figures, "warps_active_pct") < FEW_WARPS_PCT else []
        return [*few, limit.stall, limit.resource]
    return [limit.fills, limit.resource] if limit.fills else [limit.resource]


def _bounds(figures: Mapping[str, float], limit: Bottleneck, sol_pct: float, excess: float) -> dict[str, float]:
    """Return by its reason what the speedup of any stage cannot exceed."""
    found = {f"the speed of light, of which {sol_pct:.0f} % is reached": 100 / sol_pct}
    if limit.resource == "launch":
        kernels_us = figures["ncu_time_ns"] / 1e3
        return found | {f"the kernels' own {kernels_us:.1f} us": figures["time_us"] / kernels_us}
    dram_pct, lean = _figure(figures, "dram_pct"), max(excess, 1.0)
    if dram_pct > 0:
        bytes_ = "the bytes it moves now" if math.isnan(lean) else "the compulsory bytes"
        reason = f"DRAM at its peak with {bytes_}: dram_pct {dram_pct:.0f} now"
        found[reason] = 100 / dram_pct * (1.0 if math.isnan(lean) else lean)
    return found


def _peak(figures: Mapping[str, float]) -> dict[str, float]:
    """Return by its reason what a stage gains at most that leaves the work alone: the busiest resource at its peak."""
    known = _shares_of_peaks(figures)
    if not known:
        return {}
    name = max(known, key=lambda n: known[n])
    return {f"the same work with {name} at its peak, {known[name]:.0f} now": 100 / known[name]}


def _shares_of_peaks(figures: Mapping[str, float]) -> dict[str, float]:
    """Return what was busy at all, and the throughput of the SMs, which is that of their busiest unit."""
    shares = elapsed_shares(figures)
    sm_pct = _figure(figures, "sm_pct")
    if not any(name in SOL_UNITS for name in shares) and not doubt("sm_pct", sm_pct):
        shares["sm_pct"] = sm_pct
    return {name: share for name, share in shares.items() if share > 0}


def _least(bounds: Mapping[str, float]) -> tuple[float, str]:
    known = {reason: max(gain, 1.0) for reason, gain in bounds.items() if not math.isnan(gain)}
    if not known:
        return math.nan, "neither the speed of light nor the metrics that would bound it were measured"
    reason = min(known, key=lambda r: known[r])
    return known[reason], reason


def _next_bottleneck(figures: Mapping[str, float], limit: Bottleneck) -> str:
    known = {n: share for n, share in _shares_of_peaks(figures).items() if resource_of(n) != limit.resource}
    if limit.resource.endswith(" pipe"):  # a pipe's instructions fill issue slots, too
        known = {name: share for name, share in known.items() if resource_of(name) != "Issue Slots"}
    if any(resource_of(name).endswith((" pipe", "Issue Slots")) for name in known) or limit.resource == SOME_UNIT:
        known.pop("sm_pct", None)
    name = busiest(known)
    if not name:
        return "no other resource was counted"
    resource = {SOME_UNIT: "some SM unit", SOME_MEMORY: "some unit of memory"}.get(resource_of(name), resource_of(name))
    return f"{resource} ({name} {known[name]:.0f})"


def _advice(stage: str, limit: Bottleneck, gain: float, *, stop: bool, addresses: bool) -> StageAdvice:
    at_most = "" if math.isnan(gain) else f", at most {gain:.2f}x"
    if stop:
        return StageAdvice(stage, False, f"cannot pay: the version is done{at_most}", None)
    if addresses:
        return StageAdvice(stage, True, f"addresses the bottleneck, {limit.resource}{at_most}", _known(gain))
    if limit.resource == "unknown":
        return StageAdvice(stage, False, "the bottleneck is unknown", None)
    why = f"does not address the bottleneck, {limit.resource} ({limit.evidence})"
    return StageAdvice(stage, False, why, None)


def _shares(figures: Mapping[str, float], missing: Mapping[str, str], names: Mapping[str, str]) -> tuple[Share, ...]:
    """Return the throughputs and every unit: those of ncu's breakdown where there is one, else the pipes."""
    breakdown = [name for name in SOL_UNITS if not math.isnan(_figure(figures, name))]
    found = []
    for name in ("sm_pct", "memory_pct", *(breakdown or SHARES), "warps_active_pct"):
        pct = _known(_figure(figures, name))
        reason = "" if pct is not None else missing.get(name) or "not collected"
        found.append(Share(BY_NAME[name].label, name, names.get(name) or BY_NAME[name].ncu[0], pct, reason))
    return tuple(found)


def _warnings(sol_pct: float, excess: float) -> list[str]:
    found = [suspicion(sol_pct)] if suspicion(sol_pct) else []
    if excess < 1 / LEAN:
        found.append(f"DRAM moved {excess:.2f} of the compulsory bytes: caches held the rest, or work was left out.")
    return found


def _figure(figures: Mapping[str, float], name: str) -> float:
    return float(figures.get(name, math.nan))


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)

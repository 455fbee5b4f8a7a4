"""A diagnosis in words: how far from SOL, the bottleneck, which stage comes next. Judges nothing."""

from __future__ import annotations

import msgspec

from rooflift.analysis.advice import Diagnosis
from rooflift.analysis.sol import rate_text
from rooflift.ncu.names import short_name
from rooflift.ncu.report import RuleResult
from rooflift.runs.run import Run

MOST_RULES = 12  # of a report of many kernels; the largest estimates go first


class Advice(msgspec.Struct, frozen=True):
    """The diagnosis in words and figures."""

    distance: str
    excess_traffic: str
    bottleneck: str
    evidence: str
    verdict: str
    how: str
    gain: str
    next_bottleneck: str
    stages: dict[str, str]
    warnings: list[str]
    ncu_rules: list[str]


def advice_text(found: Diagnosis, said: list[str]) -> Advice:
    """Return a diagnosis for reading."""
    parts = [
        "SOL % is unknown" if found.sol_pct is None else f"{found.sol_pct:.1f} % of SOL ({_binding(found)})",
        "no time was measured" if found.time_us is None else f"time {found.time_us:.1f} us",
        *([] if found.sol_us is None else [f"SOL time {found.sol_us:.1f} us"]),
        found.sol_source,
    ]
    gain = "unknown" if found.gain_at_most is None else f"at most {found.gain_at_most:.2f}x"
    return Advice(
        distance="; ".join(parts),
        excess_traffic="unknown"
        if found.excess_traffic is None
        else f"{found.excess_traffic:.3f}x the compulsory bytes",
        bottleneck=found.bottleneck,
        evidence=found.evidence,
        verdict=verdict_text(found),
        how=found.how,
        gain=f"{gain} ({found.gain_reason})",
        next_bottleneck=found.next_bottleneck,
        stages={s.stage: s.why for s in found.stages},
        warnings=list(found.warnings),
        ncu_rules=said,
    )


def _binding(found: Diagnosis) -> str:
    """Return the term that binds, with the rate that the version reaches of it."""
    reached = "" if found.achieved_per_s is None else rate_text(found.achieved_per_s, found.sol_binds)
    return f"{found.sol_binds}: {reached}" if reached else found.sol_binds


def verdict_text(found: Diagnosis) -> str:
    """Return what to do now: stop, or which stage to go on with."""
    if found.stop:
        return "stop: the speed of light is reached"
    return f"go on with the {found.stage} stage" if found.stage else "no stage addresses this bottleneck"


def ncu_rules(found: list[RuleResult], run: Run) -> list[str]:
    """Return what ncu's own rules say, the largest estimate first; or why there is nothing."""
    if not run.reports:
        return ["none: the run holds no report"]
    if not found:
        return ["none: the report was made with metrics alone, where no rule runs; that is not the absence of problems"]
    several = len({rule.kernel for rule in found}) > 1

    def about(rule: RuleResult) -> str:
        return f"{short_name(rule.kernel, 40)}: " if several else ""

    return [
        f"{about(rule)}{rule.title} ({rule.rule}, {rule.kind}"
        + (f", estimated speedup {rule.speedup_pct:.1f} %, {rule.scope}" if rule.speedup_pct is not None else "")
        + f"): {rule.message.splitlines()[0]}"
        for rule in sorted(found, key=lambda rule: -(rule.speedup_pct or 0))
        if rule.message.strip() and not rule.message.startswith("<built-in")
    ][:MOST_RULES]

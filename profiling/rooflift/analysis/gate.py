"""A version held against rules: passed, broken, or not judged with the reason. A missing value never passes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rooflift.analysis.compare import Comparison
from rooflift.analysis.thresholds import GateRules

if TYPE_CHECKING:
    import pandas as pd

BROKEN, NOT_JUDGED = 1, 2  # exit codes


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule on one case and dtype, or on one kernel."""

    rule: str
    where: str
    value: str
    status: Literal["passed", "broken", "not judged"]
    reason: str = ""


def judge_gate(
    rules: GateRules,
    version: str,
    summary: pd.DataFrame,
    compiled: pd.DataFrame | None,
    comparison: Comparison | None,
) -> list[Finding]:
    """Judge one version of a run by its summary, its compiled kernels (None: unknown) and its comparison with base."""
    if not rules.given:
        return [Finding("none", "", "", "not judged", "no rule is given: a flag, or [tool.rooflift.gate]")]
    findings: list[Finding] = []
    own = summary[summary["version"] == version]
    if rules.max_slowdown is not None:
        findings += _slowdowns(rules, rules.max_slowdown, comparison)
    if rules.min_sol is not None:
        findings += _roofs(rules, rules.min_sol, own)
    if rules.max_registers is not None:
        findings += _registers(rules.max_registers, own, _of(compiled, version))
    if rules.max_spills is not None:
        findings += _spills(rules.max_spills, _of(compiled, version))
    return findings


def exit_code(findings: list[Finding]) -> int:
    """Return 0 when all passed, 1 when a rule is broken, 2 when none is and one could not be judged."""
    states = {finding.status for finding in findings}
    return BROKEN if "broken" in states else NOT_JUDGED if "not judged" in states or not states else 0


def _of(compiled: pd.DataFrame | None, version: str) -> pd.DataFrame | None:
    own = None if compiled is None else compiled[compiled["version"] == version]
    return None if own is None or own.empty else own


def _asked(rules: GateRules, frame: pd.DataFrame, rule: str) -> Iterator[Finding]:
    """Name the cases that the rules speak of and the run does not have."""
    for case in rules.cases:
        if case not in set(frame["case"]):
            yield Finding(rule, case, "", "not judged", "the run has no such case")


def _slowdowns(rules: GateRules, most: float, comparison: Comparison | None) -> Iterator[Finding]:
    rule = f"max-slowdown {100 * most:g} %"
    if comparison is None:
        yield Finding(rule, "", "", "not judged", "there is no base: name one with --base")
        return
    yield from _asked(rules, comparison.cases, rule)
    for row in comparison.cases.to_dict("records"):
        if rules.cases and row["case"] not in rules.cases:
            continue
        where = f"{row['case']} {row['dtype']}"
        if row["verdict"] == "not comparable":
            yield Finding(rule, where, "", "not judged", f"not comparable with {comparison.base.name}: {row['reason']}")
            continue
        value = f"{row['time_x']:.4f}x ({row['low']:.4f} to {row['high']:.4f})"
        if row["verdict"] == "slower" and row["time_x"] > 1 + most:
            yield Finding(rule, where, value, "broken")
        elif row["high"] <= 1 + most:
            yield Finding(rule, where, value, "passed")
        else:
            reason = f"the interval reaches beyond {1 + most:.4g}x: measure with a smaller --precision"
            if row["min_effect"] > most:
                reason = f"the noise of {100 * row['min_effect']:.1f} % is above the rule"
            yield Finding(rule, where, value, "not judged", reason)


def _roofs(rules: GateRules, least: float, own: pd.DataFrame) -> Iterator[Finding]:
    rule = f"min-sol {100 * least:g} %"
    yield from _asked(rules, own, rule)
    if own.empty:
        yield Finding(rule, "", "", "not judged", "the run does not have the version")
    for row in own.to_dict("records"):
        if rules.cases and row["case"] not in rules.cases:
            continue
        where, share = f"{row['case']} {row['dtype']}", float(row["sol_pct"])
        if math.isnan(share):
            yield Finding(rule, where, "", "not judged", "the version was not timed, or a term of its SOL is not known")
        else:
            yield Finding(
                rule, where, f"{share:.1f} % ({row['sol_binds']})", "passed" if share >= 100 * least else "broken"
            )


def _registers(most: int, own: pd.DataFrame, compiled: pd.DataFrame | None) -> Iterator[Finding]:
    rule = f"max-registers {most}"
    counted = own.dropna(subset=["registers"])
    found = [(f"{row['case']} {row['dtype']}", int(row["registers"])) for row in counted.to_dict("records")]
    if not found and compiled is not None:
        found = [(_kernel(row), int(row["registers"])) for row in compiled.to_dict("records")]
    if not found:
        yield Finding(rule, "", "", "not judged", "neither metrics nor the compiler give the registers")
    for where, value in found:
        yield Finding(rule, where, str(value), "passed" if value <= most else "broken")


def _spills(most: int, compiled: pd.DataFrame | None) -> Iterator[Finding]:
    rule = f"max-spills {most}"
    if compiled is None:
        yield Finding(
            rule, "", "", "not judged", "the kernels of the run were not compiled, and differ from those here"
        )
        return
    for row in compiled.to_dict("records"):
        value = int(row["spill_instructions"])
        yield Finding(rule, _kernel(row), str(value), "passed" if value <= most else "broken")


def _kernel(row: dict[str, object]) -> str:
    return f"{row['kernel']} {row['case']} {row['dtype']} {row['target']}"

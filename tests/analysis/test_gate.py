"""A gate passes what is shown to keep the rules, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rooflift.analysis.compare import Comparison, Side, compare
from rooflift.analysis.gate import Finding, exit_code, judge_gate
from rooflift.analysis.thresholds import GateRules
from rooflift.runs.run import to_frame
from rooflift.schema import CompiledRow, Manifest, MetricRow

Against = Callable[..., Comparison]


@pytest.fixture
def against(manifest_of: Callable[..., Manifest]) -> Against:
    """Return a function: v1_b against v0_a, slower by a factor, with so much noise."""

    def make(factor: float, spread: float = 0.001, **fields: Any) -> Comparison:
        draw = np.random.default_rng(0)
        frames = [
            pd.DataFrame(
                {"provider": name, "repeat": 0, "case": "main", "dtype": "float32", "round": range(50), "position": 0}
                | {"time_us": times * draw.lognormal(0, spread, 50)}
            )
            for name, times in (("v0_a", 100.0), ("v1_b", 100.0 * factor))
        ]
        manifest = manifest_of({"v0_a": [], "v1_b": []})
        sides = [Side(manifest, name, pd.concat(frames), to_frame([], MetricRow)) for name in ("v0_a", "v1_b")]
        found = compare(*sides)
        return replace(found, cases=found.cases.assign(**fields))

    return make


def summary(sol_pct: float = 90.0, registers: float = 40.0) -> pd.DataFrame:
    row = {
        "version": "v1_b",
        "case": "main",
        "dtype": "float32",
        "sol_pct": sol_pct,
        "sol_binds": "memory",
        "registers": registers,
    }
    return pd.DataFrame([row])


def compiled(registers: int = 40, spills: int = 0) -> pd.DataFrame:
    row = CompiledRow("v1_b", "main", "float32", "sm_90", "twice", registers, 0, spills, 1024, 75.0, "registers")
    return to_frame([row], CompiledRow)


def states(findings: list[Finding]) -> list[str]:
    return [finding.status for finding in findings]


def test_no_rule_is_no_pass() -> None:
    findings = judge_gate(GateRules(cases=("main",)), "v1_b", summary(), compiled(), None)
    assert states(findings) == ["not judged"]
    assert "no rule" in findings[0].reason
    assert exit_code(findings) == exit_code([]) == 2


@pytest.mark.parametrize(("factor", "state", "code"), [(1.0, "passed", 0), (1.05, "broken", 1), (0.5, "passed", 0)])
def test_slowdown_is_judged_by_the_verdict(against: Against, factor: float, state: str, code: int) -> None:
    findings = judge_gate(GateRules(max_slowdown=0.02), "v1_b", summary(), None, against(factor))
    assert (states(findings), exit_code(findings)) == ([state], code)
    assert findings[0].where == "main float32"


def test_slowdown_that_noise_may_hide_is_not_judged(against: Against) -> None:
    (finding,) = judge_gate(GateRules(max_slowdown=0.02), "v1_b", summary(), None, against(1.0, spread=0.2))
    assert (finding.status, "--precision" in finding.reason) == ("not judged", True)
    (finding,) = judge_gate(
        GateRules(max_slowdown=0.02), "v1_b", summary(), None, against(1.0, spread=0.2, min_effect=0.05)
    )
    assert "noise of 5.0 %" in finding.reason


def test_base_that_is_missing_or_cannot_be_compared_is_no_pass(against: Against) -> None:
    rules = GateRules(max_slowdown=0.02)
    (finding,) = judge_gate(rules, "v1_b", summary(), None, None)
    assert (finding.status, "no base" in finding.reason) == ("not judged", True)
    other = against(1.0, verdict="not comparable", reason="GPU A and B")
    (finding,) = judge_gate(rules, "v1_b", summary(), None, other)
    assert finding.status == "not judged"
    assert "GPU A and B" in finding.reason


@pytest.mark.parametrize(
    ("roof", "state", "code"), [(85.0, "passed", 0), (84.9, "broken", 1), (math.nan, "not judged", 2)]
)
def test_roof_is_judged_where_it_is_known(roof: float, state: str, code: int) -> None:
    findings = judge_gate(GateRules(min_sol=0.85), "v1_b", summary(sol_pct=roof), None, None)
    assert (states(findings), exit_code(findings)) == ([state], code)
    assert ("(memory)" in findings[0].value) is not math.isnan(roof)


def test_registers_come_from_the_counters_or_the_compiler() -> None:
    rules = GateRules(max_registers=64)
    assert states(judge_gate(rules, "v1_b", summary(registers=65), None, None)) == ["broken"]
    uncounted = summary(registers=math.nan)
    assert states(judge_gate(rules, "v1_b", uncounted, compiled(registers=64), None)) == ["passed"]
    assert states(judge_gate(rules, "v1_b", uncounted, None, None)) == ["not judged"]


def test_spills_come_from_the_compiler_alone() -> None:
    rules = GateRules(max_spills=0)
    assert states(judge_gate(rules, "v1_b", summary(), compiled(), None)) == ["passed"]
    assert states(judge_gate(rules, "v1_b", summary(), compiled(spills=2), None)) == ["broken"]
    assert states(judge_gate(rules, "v1_b", summary(), None, None)) == ["not judged"]
    assert states(judge_gate(rules, "v2_c", summary(), compiled(), None)) == ["not judged"]


def test_case_that_the_run_lacks_is_no_pass(against: Against) -> None:
    rules = GateRules(max_slowdown=0.02, min_sol=0.5, cases=("large",))
    findings = judge_gate(rules, "v1_b", summary(), None, against(1.0))
    assert [(f.where, f.status) for f in findings] == [("large", "not judged")] * 2


def test_broken_rule_goes_before_one_that_was_not_judged() -> None:
    rules = GateRules(min_sol=0.95, max_spills=0)
    assert exit_code(judge_gate(rules, "v1_b", summary(), None, None)) == 1

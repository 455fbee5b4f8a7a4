"""`rooflift gate`, as typed, on recorded runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Rooflift = Callable[..., Any]


def test_gate_without_rules_is_no_pass(rooflift: Rooflift, h100_run: Path) -> None:
    said = rooflift("gate", h100_run)
    assert said.code == 2
    assert "no rule is given" in said.out


@pytest.mark.parametrize(
    ("rules", "code", "told"),
    [
        (["--max-slowdown", "2%"], 0, "passes the gate: 1 passed"),
        (["--min-sol", "70%", "--max-registers", "40"], 0, "passes the gate: 2 passed"),
        (["--min-sol", "80%", "--max-registers", "40"], 1, "fails the gate: 1 passed, 1 broken"),
        (["--min-sol", "70%", "-c", "absent"], 2, "cannot be judged"),
    ],
)
def test_gate_holds_a_version_against_the_rules(
    rooflift: Rooflift, h100_run: Path, rules: list[str], code: int, told: str
) -> None:
    said = rooflift("gate", h100_run, *rules)
    assert (said.code, told in said.out) == (code, True), said.out + said.err


def test_gate_against_another_run(rooflift: Rooflift, h100_run: Path, altered: Callable[..., Path]) -> None:
    rule = ["--max-slowdown", "2%", "--base", h100_run, "--json"]
    slower = rooflift("gate", altered("slower", 1.05), *rule)
    assert (slower.code, json.loads(slower.out)["findings"][0]["status"]) == (1, "broken")
    same = rooflift("gate", altered("same", 1.0), *rule)
    assert (same.code, json.loads(same.out)["exit_code"]) == (0, 0)
    other = rooflift("gate", altered("other", gpu="NVIDIA H200"), *rule)
    assert (other.code, "GPU" in json.loads(other.out)["findings"][0]["reason"]) == (2, True)


def test_rules_stand_in_pyproject_and_flags_go_before_them(rooflift: Rooflift, h100_run: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "kernels").mkdir(parents=True)
    (project / "pyproject.toml").write_text('[tool.rooflift.gate]\nmin-sol = "90%"\n')
    assert rooflift("gate", h100_run, folder=project).code == 1
    assert rooflift("gate", h100_run, "--min-sol", "60%", folder=project).code == 0


def test_spills_of_a_run_whose_kernels_have_changed_since_are_not_judged(
    rooflift: Rooflift, altered: Callable[..., Path]
) -> None:
    changed = altered(sha256={})
    said = rooflift("gate", changed, "--max-spills", "0")
    assert said.code == 2
    assert "were not compiled" in said.out

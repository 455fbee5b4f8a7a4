"""Advice and a prompt before the first run: what the compiler and the case say, and no figure that nobody measured."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from rooflift.project.operator import Operator

Rooflift = Callable[..., Any]


@pytest.fixture
def operator(make_operator: Callable[..., Operator]) -> Operator:
    """An operator that was never measured."""
    return make_operator()


def test_advice_before_the_first_run_says_what_the_compiler_made_and_no_share_of_sol(
    operator: Operator, rooflift: Rooflift
) -> None:
    said = rooflift("advise", operator.name, folder=operator.folder)
    assert said.code == 0, said.err
    assert "nothing is measured yet" in said.out
    assert "128 bytes of inputs alone" in said.out  # 4 x 8 float32
    assert re.search(r"twice compiled for sm_90: grid 1, 4 warps a block, \d+ registers", said.out)
    assert re.findall(r"[\d.]+ %", said.out) == ["100 %"]  # theoretical occupancy
    told = json.loads(rooflift("advise", operator.name, "--json", folder=operator.folder).out)
    assert (told["run"], told["time_us"], told["sol_pct"]) == (None, None, None)
    assert told["compiled"][0]["kernel"] == "twice"


def test_prompt_before_the_first_run_has_code_rules_and_resources(operator: Operator, rooflift: Rooflift) -> None:
    said = rooflift("prompt", operator.name, "v0", "--stage", "memory", "--gpu", "h100", folder=operator.folder)
    assert said.code == 0, said.err
    for words in ("class ModelNew", "nothing is measured yet", "128 bytes of inputs alone", "compiled for sm_90"):
        assert words in said.out
    assert "% of SOL" not in said.out

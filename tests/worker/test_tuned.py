"""The child that tries configurations: in Triton's interpreter it loads, forces and checks them as on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rooflift.measure.children import Measurement, in_turn, run_worker, staged
from rooflift.process import run_to_end
from rooflift.project.operator import Operator
from rooflift.project.space import AS_IT_STANDS, label
from rooflift.worker.protocol import Plan, Unfit

HOST = "SIZE = 64\n"
ON_HOST = """block = SIZE
        twice[(triton.cdiv(x.numel(), block),)](x, y, x.numel(), BLOCK=block)"""


@pytest.fixture
def checked(
    make_operator: Callable[..., Operator], version_text: Callable[..., str]
) -> Callable[..., dict[str, Unfit]]:
    """Return a function that checks configurations of the operator `twice` on 15 elements: what is unfit, by name."""

    def check(*configurations: dict[str, Any], **parts: str) -> dict[str, Unfit]:
        operator = make_operator(version_text(**parts))
        named = {label(one): one for one in ({}, *configurations)}
        work = [case.with_dtype("float32") for case in operator.select_cases(["small"], "test")]
        plan = Plan(work=work, versions=dict.fromkeys(named, "v0_probe.py"), configurations=named)
        seen, environment = Measurement(), {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
        with staged(operator, operator.versions, plan) as stage:
            job = partial(run_worker, stage, "tune", environment, seen, lambda _: None)
            run_to_end(in_turn([[job]], 60))
        found = {one.version: one for one in seen.unfit}
        assert AS_IT_STANDS not in found
        return found

    return check


def test_a_constexpr_that_a_fixed_grid_does_not_follow_is_a_wrong_result_and_hinders_no_other(
    checked: Callable[..., dict[str, Unfit]],
) -> None:
    found = checked({"BLOCK": 8}, {"BLOCK": 16}, {"BLOCK": 12}, {"once.BLOCK": 8})  # 15 elements, one program
    assert {name: one.stage for name, one in found.items()} == {"BLOCK=8": "result", "BLOCK=12": "run"}
    assert "7 of 15 elements are wrong" in found["BLOCK=8"].reason
    assert "power of 2" in found["BLOCK=12"].reason


def test_a_variable_of_the_host_takes_grid_and_block_with_it(checked: Callable[..., dict[str, Unfit]]) -> None:
    assert checked({"SIZE": 8}, {"block": 4}, {"SIZE": 1}, top=HOST, launch=ON_HOST) == {}


def test_a_value_given_by_position_is_replaced_and_the_grid_of_an_autotuner_follows(
    checked: Callable[..., dict[str, Unfit]], tmp_path: Path
) -> None:
    assert checked({"BLOCK": 16}, launch="twice[(1,)](x, y, x.numel(), 64)") == {}

"""benchmarks/profile_overhead.py compares the command with the slower of its children, without the first round."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rooflift.compile.module import load_module

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "profile_overhead.py"


def in_turn(*seconds: float) -> Callable[[], float]:
    left = iter(seconds)
    return lambda: next(left)


@pytest.mark.parametrize(("ncu", "timing"), [(10.0, 4.0), (4.0, 10.0)])
def test_ratio_is_over_the_slower_child_and_leaves_the_first_round_out(ncu: float, timing: float) -> None:
    compare = load_module(BENCHMARK).compare
    whole = in_turn(500.0, 11.0, 99.0, 10.0)
    ratio = compare(in_turn(90.0, *[ncu] * 3), in_turn(90.0, *[timing] * 3), whole, 3)
    assert ratio == pytest.approx(1.1)

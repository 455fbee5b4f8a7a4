"""Verdicts on configurations from their times and metrics."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from rooflift.analysis.tuned import current, judge, pruned
from rooflift.project.space import AS_IT_STANDS


def noisy(median_us: float, seed: int) -> list[float]:
    draw = np.random.default_rng(seed)
    return list(median_us * np.exp(draw.normal(0, 0.003, 100)))


def test_noise_is_no_verdict_and_a_real_difference_is_one() -> None:
    samples = {"A": noisy(100.0, 1), "B": noisy(100.1, 2), "C": noisy(103.0, 3), "D": noisy(100.6, 4)}
    found = judge(samples).set_index("configuration")
    assert found.loc["C", "verdict"] == "slower"
    assert sorted(found.loc[["A", "B"], "verdict"]) == ["best", "within noise"]
    assert found.loc["D", "verdict"] == "within noise"  # below the minimum effect, however narrow its interval
    assert found.loc["C", "best_x"] == pytest.approx(1.03, abs=0.003)
    assert (found["low"] <= found["best_x"]).all()
    assert (found["best_x"] <= found["high"]).all()


def test_the_list_to_keep_is_the_shortest_that_serves_every_case() -> None:
    times = {  # over the version as it stands, by configuration, on three cases
        "A": (0.50, 0.90, 0.90),
        "B": (0.505, 0.80, 0.99),
        "C": (0.70, 0.99, 0.60),
        "D": (math.nan, 0.795, 0.99),
    }
    rows = [
        {"case": case, "dtype": "float16", "configuration": name, "time_x": time}
        for name, own in times.items()
        for case, time in zip(("one", "two", "three"), own, strict=True)
    ]
    rows.append({"case": "one", "dtype": "float16", "configuration": AS_IT_STANDS, "time_x": 0.1})
    assert pruned(pd.DataFrame(rows)) == ["B", "C"]


@pytest.mark.parametrize(("code", "named"), [("f00d", "B"), ("", ""), ("none of them", "")])
def test_the_current_choice_is_the_configuration_of_the_same_machine_code(code: str, named: str) -> None:
    table = pd.DataFrame({"configuration": ["A", "B", AS_IT_STANDS], "sha256": ["beef", "f00d", code]})
    assert current(table) == named

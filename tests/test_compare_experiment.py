"""The experiments behind the verdicts: their logic with a timer whose truth is known, and the recorded ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rooflift.compile.module import load_module
from rooflift.project.cases import Case
from rooflift.schema import Sampling
from rooflift.worker.timing import Timed

CHECKOUT = Path(__file__).parents[1]
RECORDED = sorted((CHECKOUT / "reports" / "experiments").glob("compare*.csv"))


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_module(CHECKOUT / "benchmarks" / "compare_experiment.py")


def simulated(calls: Mapping[str, Callable[[], Any]], sampling: Sampling, about: str) -> Timed:
    """A timer that takes what a call returns for its time, with 0.2 % of noise."""
    draw = np.random.default_rng(sampling.seed)
    times = {name: list(call() * draw.lognormal(0, 0.002, sampling.samples)) for name, call in calls.items()}
    return Timed(times, {name: [0] * sampling.samples for name in calls})


def test_experiments_tell_the_same_from_two_per_cent_more(script: ModuleType) -> None:
    case = Case("main", {}, [[1]], ("float32",))
    every = [
        script.Experiment("same", case, lambda: 100.0, lambda: 100.0, 1.0),
        script.Experiment("more", case, lambda: 100.0, lambda: 102.0, 1.02),
    ]
    found = script.run(iter(every), simulated, comparisons=20)
    assert found.groupby("experiment")["verdict"].unique().to_dict() == {"same": ["within noise"], "more": ["slower"]}
    assert found.groupby("experiment")["number"].nunique().to_dict() == {"same": 20, "more": 20}
    assert found["time_x"].nunique() == 40  # every comparison has samples of its own
    assert ((found["low"] < found["work_x"]) & (found["work_x"] < found["high"])).mean() > 0.9


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_recorded_experiments_reach_what_the_verdicts_promise(path: Path) -> None:
    found = pd.read_csv(path)
    for name, rows in found.groupby("experiment"):
        assert len(rows) >= 100, name
        changed = rows["work_x"].iloc[0] > 1
        within = (rows["verdict"] == "within noise").sum()
        assert (rows["verdict"] == "slower").sum() >= 0.95 * len(rows) if changed else len(rows) - within <= 2, name


@pytest.mark.gpu
def test_experiments_run_on_the_gpu(script: ModuleType) -> None:
    import torch

    with torch.no_grad():
        found = script.run(script.experiments("v1"), script.time_providers, comparisons=1)
    assert list(found["experiment"]) == ["same version", "same version, small case", "one image more of fifty"]
    assert (found["rounds"] >= 25).all()

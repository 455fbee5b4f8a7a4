"""fast_p of KernelBench."""

from __future__ import annotations

import pytest

import rooflift as rl
from rooflift.analysis.fast_p import fast_p


def test_fast_p_counts_what_was_never_measured_and_wants_more_than_p() -> None:
    found = fast_p({"a": 2.0, "b": 1.0, "c": None, "d": 0.7}, [0.0, 0.5, 1.0, 2.0])
    assert found == {0.0: 0.75, 0.5: 0.75, 1.0: 0.25, 2.0: 0.0}


def test_fast_p_of_the_project_is_that_of_its_newest_runs() -> None:
    found = rl.fast_p(gpu="H100")
    run = rl.latest("depthwise_conv2d", gpu="H100")
    times = run.timings.query("case == 'main' and dtype == 'float32'").set_index("provider")["median_us"]
    best = times[[name for name in times.index if name[0] == "v" and name[1].isdigit() and name != "v0_baseline"]].min()
    assert found.speedups["depthwise_conv2d"] == pytest.approx(times["torch_eager"] / best)
    measured = {one.manifest.operator for one in rl.runs() if "H100" in one.manifest.machine.gpu}
    assert all(speedup is None for name, speedup in found.speedups.items() if name not in measured)
    assert rl.fast_p(gpu="no such").shares[0.0] == 0

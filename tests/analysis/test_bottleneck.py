"""What bounds a version, by its counters, and which counter is shown as the evidence."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rooflift.analysis.bottleneck import BUSY_PCT, SOME_UNIT, Bottleneck, find_bottleneck
from rooflift.analysis.summary import combine
from rooflift.ncu.metrics import BY_NAME, RESOURCES
from rooflift.runs.run import read_run

QUIET = dict.fromkeys(RESOURCES, 10.0) | {"waves": 8.0}


def test_every_counter_is_one_of_the_registry() -> None:
    assert set(RESOURCES) <= set(BY_NAME)


@pytest.mark.parametrize(
    ("version", "limit"),
    [
        ("v0_baseline", Bottleneck("ALU pipe", "alu_pct 80")),
        ("v1_grid", Bottleneck("Issue Slots", "issue_active_pct 87")),
    ],
)
def test_bounds_of_the_h100_run(h100_run: Path, version: str, limit: Bottleneck) -> None:
    counters = combine(read_run(h100_run).metrics).set_index("version").loc[version]
    assert find_bottleneck(counters.drop(["case", "dtype"]).to_dict()) == limit


@pytest.mark.parametrize("counter", list(RESOURCES))
def test_busiest_resource_is_the_limit(counter: str) -> None:
    limit = find_bottleneck(QUIET | {counter: 91.4})
    assert limit == Bottleneck(RESOURCES[counter], f"{counter} 91")


def test_busiest_of_two_is_the_limit() -> None:
    assert find_bottleneck(QUIET | {"dram_pct": 92, "l2_pct": 75}).resource == "DRAM"


def test_pipe_near_the_issue_slots_explains_them() -> None:
    assert find_bottleneck(QUIET | {"issue_active_pct": 85, "fma_pct": 75}).resource == "FMA pipe"
    assert find_bottleneck(QUIET | {"issue_active_pct": 85, "fma_pct": 74}).resource == "Issue Slots"


def test_memory_near_the_issue_slots_does_not_explain_them() -> None:
    assert find_bottleneck(QUIET | {"issue_active_pct": 85, "dram_pct": 80}).resource == "Issue Slots"


def test_60_percent_is_busy_and_less_is_latency() -> None:
    assert find_bottleneck(QUIET | {"dram_pct": BUSY_PCT}).resource == "DRAM"
    assert find_bottleneck(QUIET | {"dram_pct": BUSY_PCT - 0.1}).resource == "latency"


def test_latency_shows_the_worst_stall_and_the_busiest_resource() -> None:
    stalls = {"stall_long_scoreboard": 12.34, "stall_wait": 2.0, "stall_barrier": math.nan}
    limit = find_bottleneck(QUIET | {"dram_pct": 41.0} | stalls)
    assert limit == Bottleneck(
        "latency", "stall_long_scoreboard 12.3; the busiest resource is dram_pct 41", "stall_long_scoreboard"
    )


@pytest.mark.parametrize("ready", ["stall_selected", "stall_not_selected"])
def test_warp_that_could_issue_is_no_stall(ready: str) -> None:
    assert find_bottleneck(QUIET | {ready: 9.0, "stall_wait": 1.0}).evidence.startswith("stall_wait 1.0")


def test_latency_without_stall_counters_names_the_busiest_resource() -> None:
    assert find_bottleneck(QUIET | {"l2_pct": 35.0}) == Bottleneck(
        "latency", "no resource above 60 %; the busiest is l2_pct 35"
    )


def test_grid_that_does_not_fill_the_gpu_is_too_few_programs() -> None:
    limit = find_bottleneck(QUIET | {"waves": 0.25, "stall_long_scoreboard": 20.0})
    assert limit == Bottleneck("too few programs", "waves 0.25: the grid does not fill the GPU once")
    assert find_bottleneck(QUIET | {"waves": 1.0}).resource == "latency"
    assert find_bottleneck(QUIET | {"waves": math.nan}).resource == "latency"


def test_small_grid_that_keeps_a_resource_busy_is_bound_by_it() -> None:
    assert find_bottleneck(QUIET | {"waves": 0.25, "tensor_pct": 70}).resource == "Tensor pipe"


@pytest.mark.parametrize(
    "counters",
    [
        pytest.param({}, id="nothing"),
        pytest.param(dict.fromkeys(BY_NAME, math.nan), id="all missing"),
        pytest.param({"dram_pct": 93.0, "l2_hit_pct": 50.0}, id="no compute"),
        pytest.param({"sm_pct": 93.0, "l2_hit_pct": 50.0}, id="compute alone"),
        pytest.param(QUIET | {"dram_pct": math.nan, "alu_pct": 90.0}, id="no memory"),
    ],
)
def test_without_the_counters_nothing_is_claimed(counters: dict[str, float]) -> None:
    assert find_bottleneck(counters) == Bottleneck("unknown", "the metrics of memory and pipes were not collected")


def test_one_missing_pipe_does_not_hide_the_others() -> None:
    assert find_bottleneck(QUIET | {"tensor_pct": math.nan, "alu_pct": 77.0}) == Bottleneck("ALU pipe", "alu_pct 77")


@given(st.fixed_dictionaries({name: st.floats(0, 100) for name in RESOURCES}))
def test_limit_is_never_less_busy_than_another_resource(shares: dict[str, float]) -> None:
    limit = find_bottleneck(shares)
    others = {name: share for name, share in shares.items() if name != "issue_active_pct"}
    if limit.resource == "latency":
        assert max(others.values()) < BUSY_PCT
    else:
        (counter,) = (name for name, resource in RESOURCES.items() if resource == limit.resource)
        assert shares[counter] >= max(*others.values(), BUSY_PCT)


@pytest.mark.parametrize(
    ("sm_pct", "dram_pct", "resource"),
    [(59.89, 92.71, "DRAM"), (87.0, 31.2, SOME_UNIT), (59, 59.9, "latency"), (60, 60, "DRAM")],
)
def test_the_two_throughputs_of_the_smallest_set_tell_memory_from_compute(
    sm_pct: float, dram_pct: float, resource: str
) -> None:
    limit = find_bottleneck({"sm_pct": sm_pct, "dram_pct": dram_pct})
    assert limit.resource == resource
    assert f"sm_pct {sm_pct:.0f}" in limit.evidence

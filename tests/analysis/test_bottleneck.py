"""What bounds a version, by its counters, and which counter is shown as the evidence."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rooflift.analysis.bottleneck import BUSY_PCT, SAME, SOME_UNIT, Bottleneck, find_bottleneck
from rooflift.analysis.summary import combine
from rooflift.ncu.metrics import BY_NAME, SHARES, SOL_UNITS
from rooflift.runs.run import read_run

QUIET = dict.fromkeys(SHARES, 10.0) | {"waves": 8.0}


def test_every_counter_is_one_of_the_registry() -> None:
    assert set(SHARES) <= set(BY_NAME)


@pytest.mark.parametrize(
    ("version", "limit"),
    [
        ("v0_baseline", Bottleneck("Issue Slots", "issue_sol_pct 82, alu_sol_pct 80", fills="ALU pipe")),
        ("v1_grid", Bottleneck("Issue Slots", "issue_sol_pct 86")),
    ],
)
def test_bounds_of_the_h100_run(h100_run: Path, version: str, limit: Bottleneck) -> None:
    counters = combine(read_run(h100_run).metrics).set_index("version").loc[version]
    assert find_bottleneck(counters.drop(["case", "dtype"]).to_dict()) == limit


@pytest.mark.parametrize("counter", list(SHARES))
def test_busiest_resource_is_the_limit(counter: str) -> None:
    limit = find_bottleneck(QUIET | {counter: 91.4})
    assert limit == Bottleneck(SHARES[counter], f"{counter} 91")


def test_busiest_of_two_is_the_limit() -> None:
    assert find_bottleneck(QUIET | {"dram_pct": 92, "l2_pct": 75}).resource == "DRAM"


def test_pipe_near_the_issue_slots_is_what_fills_them() -> None:
    """The bottleneck is the busiest unit, as in ncu; what to change is the pipe's instructions."""
    near = find_bottleneck(QUIET | {"issue_active_pct": 85, "fma_pct": 75})
    assert near == Bottleneck("Issue Slots", "issue_active_pct 85, fma_pct 75", fills="FMA pipe")
    assert find_bottleneck(QUIET | {"issue_active_pct": 85, "fma_pct": 74}).fills == ""
    assert find_bottleneck(QUIET | {"issue_active_pct": 85, "dram_pct": 80}).fills == ""


SOL = {"dram_sol_pct": 30.0, "l1_sol_pct": 40.0, "alu_sol_pct": 50.0, "fp64_sol_pct": 20.0, "issue_sol_pct": 45.0}


@pytest.mark.parametrize("unit", list(SOL_UNITS))
def test_busiest_unit_of_ncus_breakdown_is_the_bottleneck(unit: str) -> None:
    assert find_bottleneck(SOL | {unit: 86.0}).resource == SOL_UNITS[unit]


def test_where_there_is_a_breakdown_shares_of_active_cycles_do_not_decide() -> None:
    """lts__throughput is not the L2 of the breakdown, and a pipe of few busy SMs is idle over all cycles."""
    found = find_bottleneck(SOL | {"l2_pct": 99.0, "alu_pct": 99.0, "dram_sol_pct": 76.0, "waves": 4})
    assert found == Bottleneck("DRAM", "dram_sol_pct 76")


def test_pipe_of_few_busy_sms_counts_as_no_more_than_the_throughput_of_all() -> None:
    found = find_bottleneck({"sm_pct": 9.0, "alu_pct": 95.0, "dram_pct": 3.0, "waves": 0.2})
    assert found.resource == "too few programs"


def test_l1_is_known_by_the_memory_throughput_that_nothing_else_explains() -> None:
    shares = {"sm_pct": 11.8, "memory_pct": 97.5, "l1_active_pct": 99.05, "l2_pct": 1.7, "dram_pct": 2.2}
    assert find_bottleneck(shares) == Bottleneck("L1", "l1_active_pct 99 of active cycles, memory_pct 98")
    del shares["l1_active_pct"]
    assert find_bottleneck(shares) == Bottleneck("memory", "memory_pct 98")


@pytest.mark.parametrize("wrong", [{"sm_pct": 250.0}, {"dram_pct": -3.0}, {"alu_pct": 130.0}])
def test_value_that_cannot_be_does_not_decide(wrong: dict[str, float]) -> None:
    shares = {"sm_pct": 70.0, "dram_pct": 75.0, "alu_pct": 65.0, "memory_pct": 75.0}
    assert find_bottleneck(shares | wrong).resource in ("DRAM", "memory")


def test_values_that_are_no_numbers_or_cannot_be_are_told_from_those_that_are_not_there() -> None:
    missing = dict.fromkeys(BY_NAME, "not a number: nan")
    assert find_bottleneck({}, missing).evidence == "the values are not numbers: ncu could not collect them"
    assert find_bottleneck({"sm_pct": 250.0}).evidence.startswith("sm_pct 250 is more than there can be")


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
    ("counters", "lacking"),
    [
        pytest.param({}, "memory and compute", id="nothing"),
        pytest.param(dict.fromkeys(BY_NAME, math.nan), "memory and compute", id="all missing"),
        pytest.param({"dram_pct": 93.0, "l2_hit_pct": 50.0}, "compute; dram_pct 93 is there", id="no compute"),
        pytest.param({"sm_pct": 93.0, "l2_hit_pct": 50.0}, "memory; sm_pct 93 is there", id="compute alone"),
        pytest.param(QUIET | {"dram_pct": math.nan, "alu_pct": 90.0}, "memory; alu_pct 90 is there", id="no memory"),
    ],
)
def test_without_the_counters_nothing_is_claimed(counters: dict[str, float], lacking: str) -> None:
    assert find_bottleneck(counters) == Bottleneck("unknown", f"no metrics were collected of {lacking}")


def test_one_missing_pipe_does_not_hide_the_others() -> None:
    assert find_bottleneck(QUIET | {"tensor_pct": math.nan, "alu_pct": 77.0}) == Bottleneck("ALU pipe", "alu_pct 77")


@given(st.fixed_dictionaries({name: st.floats(0, 100) for name in SHARES}))
def test_limit_is_never_less_busy_than_another_resource(shares: dict[str, float]) -> None:
    limit = find_bottleneck(shares)
    others = {name: share for name, share in shares.items() if name != "issue_active_pct"}
    if limit.resource == "latency":
        assert max(others.values()) < BUSY_PCT
    else:
        (counter,) = (name for name, resource in SHARES.items() if resource == limit.resource)
        assert shares[counter] >= max(*others.values(), BUSY_PCT) - SAME


@pytest.mark.parametrize(
    ("sm_pct", "dram_pct", "resource"),
    [(59.89, 92.71, "DRAM"), (87.0, 31.2, SOME_UNIT), (59, 59.9, "latency"), (60, 60, "DRAM")],
)
def test_the_two_throughputs_of_the_smallest_set_tell_memory_from_compute(
    sm_pct: float, dram_pct: float, resource: str
) -> None:
    limit = find_bottleneck({"sm_pct": sm_pct, "dram_pct": dram_pct})
    assert limit.resource == resource
    assert "_pct" in limit.evidence

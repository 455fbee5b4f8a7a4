"""What to try next: the limits of real runs, the stop rule, bounds that later versions kept, stages that cannot pay."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rooflift.analysis.advice import STOP_PCT, Diagnosis, diagnose
from rooflift.analysis.bottleneck import SOME_MEMORY, SOME_UNIT, remedies
from rooflift.analysis.selection import advise, select
from rooflift.analysis.sol import SpeedOfLight, Term
from rooflift.errors import CatalogError
from rooflift.ncu.metrics import SHARES, SOL_UNITS, STALLS
from rooflift.project.stages import stages
from rooflift.runs.run import read_run

SEED = {"sm_pct": 59.89, "dram_pct": 92.71, "warps_active_pct": 91.18, "l2_hit_pct": 75.26, "grid_size": 1040400}
NO_SOL = SpeedOfLight(Term(math.nan, 1e6, "nothing was timed"))
QUIET = dict.fromkeys(SHARES, 10.0) | {"waves": 8.0, "time_us": 100.0, "excess_traffic": 1.0, "ncu_time_ns": 99e3}


def copied(time_us: float) -> SpeedOfLight:
    return SpeedOfLight(Term(time_us, 1e6, "a copy", "copy"))


def test_every_bottleneck_has_a_remedy() -> None:
    others = {"tensor cores idle", "tensor cores wait", "tensor cores busy", "special functions"}
    others |= {
        SOME_UNIT,
        SOME_MEMORY,
        "too few programs",
        "latency",
        "few warps",
        "compulsory traffic",
        "launch",
        "unknown",
    }
    assert set(remedies()) == {*SHARES.values(), *SOL_UNITS.values()} | others


def test_stages_address_bottlenecks_and_stalls_that_exist() -> None:
    for name, stage in stages().items():
        assert {*stage.addresses, *stage.helps_with} <= {*remedies(), *STALLS}, name
        assert not {*stage.addresses} & {*stage.helps_with}, name


def test_on_the_rtx_4090_of_the_seed_the_grid_stage_cannot_pay() -> None:
    found = diagnose(SEED, NO_SOL)
    assert found.bottleneck == "DRAM"
    advice = {stage.stage: stage for stage in found.stages}
    assert not advice["grid"].addresses
    assert "does not address the bottleneck, DRAM" in advice["grid"].why
    assert found.stage == "memory"
    assert found.gain_at_most == pytest.approx(100 / 92.71)
    assert "the bytes it moves now" in found.gain_reason  # the excess is unknown


def test_on_the_h100_integer_work_limits_v0_and_the_grid_addresses_it(h100_run: Path) -> None:
    run = read_run(h100_run)
    found = advise(run, select(run, "v0"))
    assert (found.bottleneck, found.evidence, found.stage) == (
        *("Issue Slots", "issue_sol_pct 82, alu_sol_pct 80"),
        "grid",
    )
    assert found.sol_pct == pytest.approx(35.5, abs=0.1)
    assert found.excess_traffic == pytest.approx(0.994, abs=0.001)
    assert not found.stop


def test_the_gain_that_v1_brought_was_within_the_bound_for_v0(h100_run: Path) -> None:
    run = read_run(h100_run)
    before, after = (advise(run, select(run, name)) for name in ("v0", "v1"))
    assert before.time_us is not None
    assert after.time_us is not None
    assert before.gain_at_most is not None
    assert 1.5 < before.time_us / after.time_us < before.gain_at_most
    assert after.stage == "tiling"


def test_a_stage_that_was_tried_gives_way_to_the_next() -> None:
    figures = QUIET | {"alu_pct": 85.0}
    assert diagnose(figures, copied(40)).stage == "grid"
    assert diagnose(figures, copied(40), ["baseline", "grid"]).stage == "tiling"
    assert diagnose(figures, copied(40), ["grid", "tiling"]).stage == "tiling"


@pytest.mark.parametrize(("sol_us", "stops"), [(STOP_PCT - 0.1, False), (STOP_PCT, True), (104, True)])
def test_at_95_percent_of_sol_it_says_stop_and_what_could_still_help(sol_us: float, stops: bool) -> None:
    found = diagnose(QUIET | {"dram_pct": 90.0}, copied(sol_us))
    assert found.stop is stops
    assert any(stage.addresses for stage in found.stages) is not stops
    assert ("fuse" in found.how) is stops
    assert ("Suspect" in " ".join(found.warnings)) is (sol_us > 100)


def test_where_flop_bind_fewer_flop_help_and_fewer_bytes_do_not() -> None:
    sol = SpeedOfLight(Term(22.0, 1e6, "a copy"), {"BF16 tensor": Term(98.0, 1e9, "the BF16 tensor rate")})
    found = diagnose(QUIET | {"tensor_pct": 92.0}, sol)
    assert (found.stop, found.sol_binds, found.sol_source) == (True, "BF16 tensor", "the BF16 tensor rate")
    assert found.sol_pct == pytest.approx(98)
    assert found.achieved_per_s == pytest.approx(1e9 / 100e-6)
    assert "FLOP" in found.how
    assert "bytes" not in found.how


PRODUCTS = SpeedOfLight(Term(38.0, 1e8, "a copy"), {"BF16 tensor": Term(80.0, 7e10, "the BF16 tensor rate")})


@pytest.mark.parametrize(
    ("metrics", "bottleneck", "stage", "how"),
    [
        ({"tensor_pct": 92.0}, "Tensor pipe", "tensor", "larger matrix instructions"),
        ({"tensor_pct": 44.0, "stall_barrier": 5.0}, "latency", "pipelining", "copy operands ahead"),
        ({"tensor_pct": 0.0, "fma_pct": 90.0}, "FMA pipe", "tensor", "tl.dot"),
        ({"tensor_pct": 30.0, "dram_pct": 80.0, "excess_traffic": 4.0}, "DRAM", "memory", "move fewer bytes"),
        ({"tensor_pct": 30.0, "waves": 0.5}, "too few programs", "grid", "more programs"),
    ],
    ids=["busy", "waiting", "idle", "DRAM", "few programs"],
)
def test_where_the_tensor_cores_bind_a_stage_brings_them_to_work(
    metrics: dict[str, float], bottleneck: str, stage: str, how: str
) -> None:
    found = diagnose(QUIET | metrics, PRODUCTS)
    assert (found.bottleneck, found.stage, found.stop) == (bottleneck, stage, False)
    assert how in found.how
    assert {"DRAM": "rasterization", "too few programs": "persistence"}.get(bottleneck, stage) in [
        advice.stage for advice in found.stages if advice.addresses
    ]
    assert found.gain_at_most is not None
    assert found.gain_at_most <= 1.25 + 1e-9  # 80 us of 100: by the term that binds, not 100 / 38 by the copy


def test_products_that_no_term_needs_are_to_be_fewer() -> None:
    """Memory binds, and the tensor cores multiply with zeros."""
    found = diagnose(QUIET | {"tensor_pct": 92.0}, copied(80))
    assert (found.stage, "fewer" in found.how) == ("algorithm", True)


def test_special_functions_have_a_stage_and_a_stop_of_their_own() -> None:
    def of(share: float) -> Diagnosis:
        sol = SpeedOfLight(Term(22.0, 1e6, "a copy"), {"special functions": Term(share, 1e9, "their rate")})
        return diagnose(QUIET | {"xu_pct": 75.0}, sol)

    assert (of(75).stage, of(75).stop) == ("special", False)
    assert "exp2" in of(75).how
    assert (of(96).stage, of(96).stop) == (None, True)
    assert "special functions" in of(96).how


def test_where_a_term_is_missing_no_percentage_is_given_and_nothing_stops() -> None:
    sol = SpeedOfLight(Term(95.0, 1e8, "a copy"), absent="no term of BF16 tensor", unknown=True)
    found = diagnose(QUIET | {"tensor_pct": 70.0}, sol)
    assert (found.sol_pct, found.sol_us, found.sol_binds, found.stop) == (None, None, "", False)
    assert found.sol_source == "no term of BF16 tensor"
    assert "speed of light" not in found.gain_reason


def test_without_sol_only_dram_near_its_peak_with_lean_traffic_stops() -> None:
    assert diagnose({"sm_pct": 40, "dram_pct": 96}, NO_SOL).stop
    assert not diagnose({"sm_pct": 40, "dram_pct": 96, "excess_traffic": 1.5}, NO_SOL).stop
    assert not diagnose({"sm_pct": 97, "dram_pct": 96}, NO_SOL).stop


def test_excess_traffic_can_be_won_back_and_lean_traffic_cannot() -> None:
    fat = diagnose(QUIET | {"dram_pct": 90.0, "excess_traffic": 1.5, "time_us": math.nan}, NO_SOL)
    lean = diagnose(QUIET | {"dram_pct": 90.0, "excess_traffic": 1.0, "time_us": math.nan}, NO_SOL)
    assert fat.gain_at_most == pytest.approx(1.5 * 100 / 90)
    assert lean.gain_at_most == pytest.approx(100 / 90)
    assert "compulsory" in lean.how
    assert [s.stage for s in lean.stages if s.addresses] == ["memory"]


def test_tuning_gains_at_most_what_the_busiest_resource_has_left() -> None:
    figures = QUIET | {"dram_pct": 50.0, "stall_barrier": 9.0}
    found = diagnose(figures, copied(20))
    assert (found.bottleneck, found.stage) == ("latency", "tuning")
    assert found.gain_at_most == pytest.approx(2)
    assert "dram_pct" in found.gain_reason


@pytest.mark.parametrize(
    ("stall", "warps", "stage"),
    [("long_scoreboard", 80, "memory"), ("long_scoreboard", 20, "tuning"), ("short_scoreboard", 80, "tiling")],
)
def test_latency_is_addressed_by_what_the_warps_wait_for(stall: str, warps: float, stage: str) -> None:
    figures = QUIET | {f"stall_{stall}": 9.0, "warps_active_pct": warps}
    assert diagnose(figures, copied(20)).stage == stage


def test_a_kernel_that_is_mostly_launch_is_told_so_and_no_stage_pays() -> None:
    found = diagnose(QUIET | {"dram_pct": 90.0, "ncu_time_ns": 20e3}, copied(5))
    assert found.bottleneck == "launch"
    assert found.stage is None
    assert found.gain_at_most == pytest.approx(5)
    assert "CUDA graph" in found.how


def test_without_counters_nothing_is_claimed() -> None:
    found = diagnose({}, NO_SOL, missing={"dram_pct": "refused"})
    assert (found.bottleneck, found.stage, found.gain_at_most, found.stop) == ("unknown", None, None, False)
    reasons = {share.metric: share.missing for share in found.shares}
    assert (reasons["dram_pct"], reasons["sm_pct"]) == ("refused", "not collected")
    assert all(share.pct is None for share in found.shares)


def test_unknown_version_case_and_dtype_are_named(h100_run: Path) -> None:
    run = read_run(h100_run)
    assert select(run).version == "v1_grid"
    assert select(run, "1") == select(run, "v1") == select(run, "v1_grid")
    for wanted in (("v7", None, None), (None, "padded", None), (None, "main", "float16")):
        with pytest.raises(CatalogError, match=r"v7|padded|float16"):
            select(run, *wanted)


def test_the_command_prints_the_verdict_and_ncus_rules(rooflift: Callable[..., Any], h100_run: Path) -> None:
    said = rooflift("advise", h100_run, "v0")
    assert said.code == 0
    assert "35.5 % of SOL (memory: 1062 GB/s)" in said.out
    assert "Issue Slots: issue_sol_pct 82, alu_sol_pct 80" in said.out
    assert "go on with the grid stage" in said.out
    assert "estimated speedup 28.8 %, global" in said.out


def test_the_command_answers_in_json(rooflift: Callable[..., Any], h100_run: Path) -> None:
    told = json.loads(rooflift("advise", h100_run, "v1", "--json").out)
    assert (told["version"], told["bottleneck"], told["stage"]) == ("v1_grid", "Issue Slots", "tiling")
    assert {"TheoreticalOccupancy"} <= {rule["rule"] for rule in told["ncu_rules"]}
    assert told["ncu_rules_missing"] == ""


def test_the_command_names_an_unknown_version(rooflift: Callable[..., Any], h100_run: Path) -> None:
    said = rooflift("advise", h100_run, "v9")
    assert said.code == 2
    assert "no version 'v9'" in said.err

"""Verdicts: what the samples show is found, what they do not show is never claimed, and reasons are named."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import stats

from rooflift.analysis.compare import (
    Comparison,
    RatioEstimates,
    Rule,
    Side,
    as_json,
    compare,
    estimate_ratios,
    holm,
    machine_differences,
    noise_of,
    side,
    smallest_p,
    verdicts,
)
from rooflift.errors import RunFault
from rooflift.runs.find import find_runs
from rooflift.runs.run import read_run, to_frame
from rooflift.schema import Manifest, MetricRow, NoiseRecord
from rooflift.worker.timing import half_width

Times = NDArray[np.float64]
CHECKOUT = Path(__file__).parents[2]


def recorded_noise() -> list[Times]:
    """Every recorded round of each pair of providers, as what it is of the subject's median: (rounds, 2)."""
    found = []
    for folder in [*find_runs(CHECKOUT / "reports"), CHECKOUT / "tests" / "fixtures" / "h100_run"]:
        for _, own in read_run(folder).samples.groupby(["case", "dtype"]):
            wide = own.pivot_table(index="round", columns="provider", values="time_us").dropna()
            relative = (wide / wide.median()).to_numpy()
            found += [relative[:, [one, other]] for one in range(relative.shape[1]) for other in range(one)]
    return found


def rounds_for(own: Times, precision: float | None) -> int:
    """The rounds that such a pair of providers is timed for: everyday ones, or as many as the precision asks for."""
    if precision is None:
        return 50
    widths = [half_width(times) for times in own.T]
    return min(max(50, math.ceil(len(own) * (max(widths) / precision) ** 2)), 1500)


@pytest.fixture(scope="module")
def judged() -> Callable[..., list[str]]:
    """Return a function: the verdicts of so many trials, each a comparison of its own of rounds that are drawn from
    the recorded ones of one pair of providers; head slowed down by a factor."""
    noise = recorded_noise()
    draw = np.random.default_rng(20261122)

    def judge(trials: int, factor: float, precision: float | None, *, paired: bool) -> list[str]:
        found: list[str] = []
        for place, own in enumerate(noise):
            count = len(range(place, trials, len(noise)))
            both = own[draw.integers(len(own), size=(count, rounds_for(own, precision)))]
            # whose each of a round's two is, is drawn: with one median, but not one distribution, the two would differ
            swapped = draw.random(both.shape[:2]) < 0.5
            both[swapped] = both[swapped][:, ::-1]
            every = estimate_ratios(both[:, :, 0], factor * both[:, :, 1], paired=paired, alpha=0.01)
            for n in range(count):
                alone = RatioEstimates(*(values[n : n + 1] for values in every))
                found += verdicts(alone, np.array([0.01]), Rule())[1]
        assert len(found) == trials
        return found

    return judge


@pytest.mark.slow
@pytest.mark.parametrize("paired", [True, False])
def test_no_change_gives_at_most_one_false_verdict_in_a_hundred(judged: Callable[..., list[str]], paired: bool) -> None:
    found = judged(10_000, 1.0, None, paired=paired)
    assert sum(verdict != "within noise" for verdict in found) <= 100


@pytest.mark.slow
@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize(("factor", "verdict"), [(1.02, "slower"), (1 / 1.02, "faster")])
def test_change_of_two_per_cent_is_found(
    judged: Callable[..., list[str]], paired: bool, factor: float, verdict: str
) -> None:
    assert judged(2000, factor, 0.005, paired=paired).count(verdict) >= 1900


def test_p_is_that_of_the_rank_tests() -> None:
    draw = np.random.default_rng(1)
    one, other = draw.lognormal(0, 0.1, (2, 20, 30))
    other *= np.linspace(0.9, 1.1, 20)[:, None]
    paired = estimate_ratios(one, other, paired=True, alpha=0.01).p
    expected = stats.wilcoxon(np.log(other) - np.log(one), axis=1, method="asymptotic", correction=False).pvalue
    assert paired == pytest.approx(expected, rel=1e-9)
    unpaired = estimate_ratios(one, other, paired=False, alpha=0.01).p
    expected = stats.mannwhitneyu(other, one, axis=1, method="asymptotic", use_continuity=False).pvalue
    assert unpaired == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("paired", [True, False])
def test_interval_and_test_agree_and_the_interval_holds_the_truth(paired: bool) -> None:
    draw = np.random.default_rng(2)
    one = draw.lognormal(3, 0.05, (3000, 30))
    other = 1.02 * draw.lognormal(3, 0.05, (3000, 30))
    found = estimate_ratios(one, other, paired=paired, alpha=0.05)
    assert np.array_equal(found.p < 0.05, (found.low > 1) | (found.high < 1))
    assert 0.94 < ((found.low <= 1.02) & (found.high >= 1.02)).mean() < 0.965
    assert float(np.median(found.time_x)) == pytest.approx(1.02, rel=1e-3)


def test_rows_of_many_blocks_are_those_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(3)
    one, other = draw.lognormal(0, 0.1, (2, 7, 20))
    whole = estimate_ratios(one, other, paired=True, alpha=0.01)
    monkeypatch.setattr("rooflift.analysis.compare.BLOCK", 500)  # two rows at a time
    for before, after in zip(whole, estimate_ratios(one, other, paired=True, alpha=0.01), strict=True):
        assert np.array_equal(before, after)


def test_correction_is_holms() -> None:
    assert holm(np.array([0.03, 0.001, 0.04, 0.5])) == pytest.approx([0.09, 0.004, 0.09, 0.5])
    assert holm(np.array([])).size == 0


def test_one_real_change_among_many_cases_is_found_and_no_other_one_claimed() -> None:
    draw = np.random.default_rng(4)
    one, other = draw.lognormal(0, 0.002, (2, 400, 50))
    other[17] *= 1.03
    _, found = verdicts(estimate_ratios(one, other, paired=True, alpha=0.01), np.full(400, 0.01), Rule())
    assert [n for n, verdict in enumerate(found) if verdict != "within noise"] == [17]
    _, bare = verdicts(estimate_ratios(one, other, paired=True, alpha=0.01), np.zeros(400), Rule())
    assert bare.count("slower") + bare.count("faster") <= 2  # the correction alone


def test_smallest_p_is_reached_by_samples_that_do_not_overlap() -> None:
    one, other = np.full((1, 12), 1.0), np.full((1, 12), 2.0)
    for paired in (True, False):
        assert estimate_ratios(one, other, paired=paired, alpha=0.01).p[0] == pytest.approx(
            smallest_p(12, 12, paired=paired)
        )
    assert smallest_p(0, 5, paired=False) == 1


# --- runs


Make = Callable[..., Side]


@pytest.fixture
def make(h100_run: Path, manifest_of: Callable[..., Manifest]) -> Make:
    """Return a function: a run with v0_a and v1_b, their times by case and dtype, and the copy floor."""

    def run(
        ratio: Mapping[tuple[str, str], float] | None = None,
        rounds: int = 50,
        seed: int = 0,
        spread: float = 0.002,
        metrics: Sequence[MetricRow] = (),
        floor: float = 1.0,
        **fields: Any,
    ) -> Side:
        ratio = ratio or {("main", "float32"): 1.0}
        draw = np.random.default_rng(seed)
        frames = []
        for case, dtype in ratio:
            for place, (provider, factor) in enumerate(
                (("v0_a", 1.0), ("v1_b", ratio[case, dtype]), ("copy", 0.5 * floor))
            ):
                about = {
                    "provider": provider,
                    "repeat": 0,
                    "case": case,
                    "dtype": dtype,
                    "round": range(rounds),
                    "position": place,
                }
                frames.append(pd.DataFrame(about | {"time_us": 100 * factor * draw.lognormal(0, spread, rounds)}))
        manifest = manifest_of({"v0_a": [], "v1_b": []}, [(*key, None) for key in ratio])
        manifest = msgspec.structs.replace(manifest, **fields)
        samples = pd.concat(frames, ignore_index=True)
        return Side(manifest, "v1_b", samples, to_frame(list(metrics), MetricRow))

    return run


def before(one: Side) -> Side:
    return Side(one.manifest, "v0_a", one.samples, one.metrics)


def only(comparison: Comparison) -> dict[str, Any]:
    (row,) = comparison.cases.to_dict("records")
    return {str(key): value for key, value in row.items()}


def test_versions_of_one_run_are_compared_round_by_round(make: Make) -> None:
    head = make({("main", "float32"): 1.03})
    found = compare(before(head), head)
    row = only(found)
    assert (row["verdict"], row["reason"], row["paired"], found.paired) == ("slower", "", True, True)
    assert row["low"] < 1.03 < row["high"]
    assert row["time_x"] == pytest.approx(1.03, rel=2e-3)
    assert (row["n_base"], row["n_head"]) == (50, 50)
    assert row["head_us"] / row["base_us"] == pytest.approx(1.03, rel=2e-3)


def test_common_drift_of_rounds_hides_no_change_and_makes_none(make: Make) -> None:
    for ratio, verdict in ((1.02, "slower"), (1.0, "within noise")):
        head = make({("main", "float32"): ratio})
        own = head.samples
        own["time_us"] *= 1 + 0.2 * np.sin(own["round"] / 8)  # the clock of the GPU goes up and down by a fifth
        assert only(compare(before(head), head))["verdict"] == verdict


def test_runs_of_two_processes_are_compared_without_pairs(make: Make) -> None:
    found = compare(make(seed=1), make({("main", "float32"): 0.97}, seed=2))
    assert (only(found)["verdict"], found.paired) == ("faster", False)


def test_what_unchanged_subjects_differ_by_between_runs_is_no_change(make: Make) -> None:
    found = compare(make(seed=1), make({("main", "float32"): 1.03}, seed=2, floor=1.04))
    row = only(found)
    assert row["verdict"] == "within noise"
    assert row["min_effect"] == pytest.approx(0.04, abs=2e-3)
    assert row["p"] < 1e-6  # the samples do differ


def test_measured_noise_raises_the_least_effect(make: Make) -> None:
    noise = [NoiseRecord("v1_b", "main", "float32", 1.01, 0.98, 1.05)]
    head = make({("main", "float32"): 1.03}, noise=noise)
    row = only(compare(before(head), head))
    assert (row["verdict"], row["min_effect"]) == ("within noise", pytest.approx(0.05))
    head = make({("main", "float32"): 1.08}, noise=noise)
    assert only(compare(before(head), head))["verdict"] == "slower"


def test_change_below_the_least_effect_is_none(make: Make) -> None:
    head = make({("main", "float32"): 1.006})
    assert only(compare(before(head), head))["verdict"] == "within noise"
    assert only(compare(before(head), head, Rule(min_effect=0.003)))["verdict"] == "slower"


def test_few_samples_give_no_verdict_and_say_so(make: Make) -> None:
    head = make({("main", "float32"): 1.5}, rounds=5)
    row = only(compare(before(head), head))
    assert (row["verdict"], row["reason"]) == ("not comparable", "too few samples (5 and 5) for a verdict")


def machine(one: Side, **fields: str) -> Side:
    manifest = msgspec.structs.replace(one.manifest, machine=msgspec.structs.replace(one.manifest.machine, **fields))
    return Side(manifest, one.version, one.samples, one.metrics)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"gpu": "NVIDIA H200"}, "GPU NVIDIA H100 80GB HBM3 and NVIDIA H200"),
        ({"driver": "590.1"}, "driver 580 and 590"),
        ({"torch": "2.12.0"}, "torch 2.11.0+cu130 and 2.12.0"),
        ({"triton": "3.7.0"}, "triton 3.6.0 and 3.7.0"),
    ],
)
def test_other_machine_is_named_and_force_shows_the_ratio_without_a_verdict(
    make: Make, fields: dict[str, str], reason: str
) -> None:
    base, head = make(seed=1), machine(make({("main", "float32"): 1.5}, seed=2), **fields)
    found = compare(base, head)
    row = only(found)
    assert (found.differences, row["verdict"], row["reason"]) == ([reason], "not comparable", reason)
    assert math.isnan(row["time_x"])
    assert found.mean is None
    forced = compare(base, head, force=True)
    assert only(forced)["verdict"] == "not comparable"
    assert only(forced)["time_x"] == pytest.approx(1.5, rel=1e-2)
    assert forced.mean is not None


def test_minor_release_of_the_driver_does_not_matter(make: Make) -> None:
    head = make()
    assert machine_differences(head.manifest, machine(head, driver="580.99.1").manifest) == []


def test_other_clocks_and_another_reference_are_named(make: Make) -> None:
    hashes = {"kernels/depthwise_conv2d/reference.py": "f" * 64}
    found = machine_differences(make().manifest, make(clock_control="base", sha256=hashes).manifest)
    assert found[0] == "clock policy none and base"
    assert found[1].startswith("reference.py ")
    assert found[1].endswith(" and ffffffffffff")


def test_cases_that_one_side_lacks_or_defines_otherwise_are_named(make: Make) -> None:
    base = make({("main", "float32"): 1.0, ("old", "float16"): 1.0, ("same", "float32"): 1.0})
    head = make({("main", "float32"): 1.0, ("new", "float16"): 1.0, ("same", "float32"): 1.0}, seed=1)
    cases = [msgspec.structs.replace(c, inputs=[[9]]) if c.case == "main" else c for c in head.manifest.cases]
    head = Side(msgspec.structs.replace(head.manifest, cases=cases), "v1_b", head.samples, head.metrics)
    reasons = compare(base, head).cases.set_index("case")["reason"].to_dict()
    assert reasons == {
        "main": "inputs [[250]] and [[9]]",
        "old": "only in base",
        "new": "only in head",
        "same": "",
    }


def test_version_that_was_not_timed_is_named(make: Make) -> None:
    head = make()
    untimed = Side(head.manifest, "v2_c", head.samples, head.metrics)
    assert only(compare(head, untimed))["reason"] == "head was not timed"


def test_families_are_not_mixed(make: Make) -> None:
    with pytest.raises(RunFault, match=r"of depthwise_conv2d and .* of rms_norm"):
        compare(make(), make(operator="rms_norm"))


def test_mean_is_geometric_and_its_interval_that_of_the_measurement(make: Make) -> None:
    keys = [(f"case_{n}", "float32") for n in range(8)]
    head = make({key: 0.5 if n % 2 else 2.0 for n, key in enumerate(keys)})
    mean = compare(before(head), head).mean
    assert mean is not None
    assert mean.cases == 8
    assert mean.time_x == pytest.approx(1.0, abs=2e-3)  # the arithmetic mean of the ratios is 1.25
    assert mean.low < 1 < mean.high
    assert mean.high - mean.low < 5e-3


def test_one_change_among_five_hundred_cases_is_found(make: Make) -> None:
    head = make({(f"case_{n}", "float32"): 1.05 if n == 99 else 1.0 for n in range(500)})
    found = compare(before(head), head)
    assert found.cases.loc[found.cases["verdict"] != "within noise", "case"].tolist() == ["case_99"]


def test_noise_is_what_a_version_that_was_timed_twice_differs_by(make: Make) -> None:
    head = make()
    twin = head.samples[head.samples["provider"] == "v1_b"]
    twin = twin.assign(repeat=1, time_us=1.004 * twin["time_us"])
    (record,) = noise_of(pd.concat([head.samples, twin], ignore_index=True))
    assert (record.version, record.case, record.dtype) == ("v1_b", "main", "float32")
    assert [record.time_x, record.low, record.high] == pytest.approx([1.004] * 3)
    assert noise_of(head.samples) == []


# --- counters


def counted(
    v0: Mapping[str, float], v1: Mapping[str, float], metrics_of: Callable[..., pd.DataFrame], make: Make, ratio: float
) -> Comparison:
    head = make({("main", "float32"): ratio})
    metrics = metrics_of({("v0_a", "main", "float32"): [v0], ("v1_b", "main", "float32"): [v1]})
    return compare(*(Side(head.manifest, name, head.samples, metrics) for name in ("v0_a", "v1_b")))


def test_bytes_that_changed_as_the_time_did_explain_it(metrics_of: Callable[..., pd.DataFrame], make: Make) -> None:
    v0 = {"dram_read_bytes": 100.0, "dram_write_bytes": 100.0, "inst_executed": 50.0, "sm_pct": 40.0}
    found = counted(v0, v0 | {"dram_read_bytes": 40.0}, metrics_of, make, 0.72)
    assert only(found)["cause"] == "explained by DRAM bytes 0.70x"
    moved = found.metrics.set_index("metric")
    assert moved.loc["dram_read_bytes", ["change", "moved"]].tolist() == [0.4, True]
    assert moved.loc["inst_executed", ["change", "moved"]].tolist() == [1.0, False]
    assert moved.loc["sm_pct", ["change", "moved"]].tolist() == [0.0, False]


def test_stall_that_grew_with_the_time_is_named_where_no_work_did(
    metrics_of: Callable[..., pd.DataFrame], make: Make
) -> None:
    v0 = {"dram_read_bytes": 100.0, "dram_write_bytes": 100.0, "stall_barrier": 1.0, "stall_wait": 3.0}
    found = counted(v0, v0 | {"stall_barrier": 4.0, "stall_wait": 2.0}, metrics_of, make, 1.3)
    said = "neither bytes nor instructions explain it; stall_barrier 1.0 to 4.0 warps an instruction"
    assert only(found)["cause"] == said


def test_change_without_a_counter_that_explains_it_says_so(metrics_of: Callable[..., pd.DataFrame], make: Make) -> None:
    v0 = {"dram_read_bytes": 100.0, "dram_write_bytes": 100.0}
    assert only(counted(v0, v0, metrics_of, make, 1.3))["cause"] == "no counter explains it"
    assert only(counted({}, {}, metrics_of, make, 1.3))["cause"] == "not profiled"
    assert only(counted(v0, v0, metrics_of, make, 1.0))["cause"] == ""


def test_recorded_run_gives_its_verdict_and_json(h100_run: Path) -> None:
    run = read_run(h100_run)
    found = compare(side(run, "v0_baseline"), side(run, "v1_grid"))
    row = only(found)
    assert row["verdict"] == "faster"
    assert row["time_x"] == pytest.approx(0.502, abs=1e-3)
    assert "instructions" in row["cause"]
    told = as_json(found)
    assert msgspec.json.decode(msgspec.json.encode(told))["cases"][0]["verdict"] == "faster"
    assert [found.base.name, found.head.name] == [told["base"], told["head"]]

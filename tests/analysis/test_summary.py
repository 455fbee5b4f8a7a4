"""The summary: launches combined, places under the roof, predictions judged; what is missing stays missing."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rooflift.analysis.predictions import judge
from rooflift.analysis.summary import combine, counted_flop, main_case, roofs, summarize, version_number
from rooflift.ncu.metrics import BY_NAME
from rooflift.project.gpus import specs
from rooflift.runs.run import read_run, to_frame
from rooflift.schema import Manifest, MetricRow, TimingRow

FrameOf = Callable[[Any], pd.DataFrame]
ManifestOf = Callable[..., Manifest]

V0 = ("v0_a", "main", "float32")
V1 = ("v1_b", "main", "float32")
COPY = ("copy", "main", "float32")
NO_METRICS = to_frame([], MetricRow)
NO_TIMINGS = to_frame([], TimingRow)


def only(frame: pd.DataFrame) -> pd.Series[Any]:
    assert len(frame) == 1
    return frame.iloc[0]


# --- the launches of a version become one row


def test_launches_are_added_averaged_by_time_or_the_largest_counts(metrics_of: FrameOf) -> None:
    row = only(
        combine(
            metrics_of(
                {
                    V0: [
                        {"ncu_time_ns": 30.0, "dram_read_bytes": 100.0, "sm_pct": 80.0, "registers": 40.0},
                        {"ncu_time_ns": 10.0, "dram_read_bytes": 7.0, "sm_pct": 40.0, "registers": 96.0},
                    ]
                }
            )
        )
    )
    assert (row["version"], row["case"], row["dtype"]) == V0
    assert row["ncu_time_ns"] == 40
    assert row["dram_read_bytes"] == 107
    assert row["sm_pct"] == (30 * 80 + 10 * 40) / 40
    assert row["registers"] == 96


@pytest.mark.parametrize("metric", ["dram_read_bytes", "sm_pct", "registers"])
def test_one_launch_without_a_value_leaves_none(metrics_of: FrameOf, metric: str) -> None:
    whole = {"ncu_time_ns": 10.0, "dram_read_bytes": 5.0, "sm_pct": 50.0, "registers": 32.0}
    row = only(combine(metrics_of({V0: [whole, whole | {metric: None}]})))
    assert math.isnan(row[metric])
    assert not row[list(whole.keys() - {metric})].isna().any()


def test_launch_without_any_value_leaves_none(metrics_of: FrameOf) -> None:
    row = only(combine(metrics_of({V0: [{"dram_read_bytes": 5.0}, {"dram_read_bytes": None}]})))
    assert math.isnan(row["dram_read_bytes"])


def test_without_their_times_launches_weigh_the_same(metrics_of: FrameOf) -> None:
    first = {"ncu_time_ns": 30.0, "sm_pct": 80.0}
    row = only(combine(metrics_of({V0: [first, {"ncu_time_ns": None, "sm_pct": 40.0}]})))
    assert row["sm_pct"] == 60
    assert math.isnan(row["ncu_time_ns"])


def test_version_with_one_launch_is_whole_beside_one_with_two(metrics_of: FrameOf) -> None:
    launch = {"ncu_time_ns": 10.0, "dram_read_bytes": 5.0}
    rows = combine(metrics_of({V0: [launch], V1: [launch, launch]})).set_index("version")
    assert list(rows["dram_read_bytes"]) == [5, 10]


def test_cases_and_dtypes_are_kept_apart(metrics_of: FrameOf) -> None:
    keys = [V0, V1, ("v0_a", "main", "float16"), ("v1_b", "small", "float32")]
    measured = {key: [{"dram_read_bytes": float(index)}] for index, key in enumerate(keys)}
    rows = combine(metrics_of(measured)).set_index(["version", "case", "dtype"])
    assert rows["dram_read_bytes"].to_dict() == {key: float(index) for index, key in enumerate(keys)}


def test_metrics_that_the_registry_does_not_know_are_left_out(metrics_of: FrameOf) -> None:
    row = only(combine(metrics_of({V0: [{"sm_pct": 1.0, "of_an_older_rooflift": 2.0}]})))
    assert set(row.index) == {"version", "case", "dtype", *BY_NAME}


@pytest.mark.parametrize("measured", [{}, {V0: [{"sm_pct": None}]}])
def test_nothing_measured_gives_columns_and_no_value(metrics_of: FrameOf, measured: Any) -> None:
    frame = combine(metrics_of(measured))
    assert list(frame.columns) == ["version", "case", "dtype", *BY_NAME]
    assert frame[list(BY_NAME)].isna().all(axis=None)


@settings(deadline=None, max_examples=8)
@given(launches=st.integers(1, 6), value=st.floats(0, 100), time_ns=st.floats(1, 1e9))
def test_equal_launches_add_up_or_stay_what_each_is(
    metrics_of: FrameOf, launches: int, value: float, time_ns: float
) -> None:
    launch = dict.fromkeys(BY_NAME, value) | {"ncu_time_ns": time_ns}
    row = only(combine(metrics_of({V0: [launch] * launches})))
    for name, metric in BY_NAME.items():
        times = launches if metric.combine == "sum" else 1
        assert row[name] == pytest.approx(times * launch[name], rel=1e-9), name


@settings(deadline=None, max_examples=8)
@given(st.lists(st.tuples(st.floats(1, 1e6), st.floats(0, 100)), min_size=1, max_size=5))
def test_mean_lies_between_the_launches(metrics_of: FrameOf, launches: list[tuple[float, float]]) -> None:
    row = only(combine(metrics_of({V0: [{"ncu_time_ns": time, "sm_pct": share} for time, share in launches]})))
    shares = [share for _, share in launches]
    assert min(shares) - 1e-9 <= row["sm_pct"] <= max(shares) + 1e-9


# --- figures


def test_figures_of_a_version(manifest_of: ManifestOf, metrics_of: FrameOf, timings_of: FrameOf) -> None:
    metrics = metrics_of({V0: [{"dram_read_bytes": 900.0, "dram_write_bytes": 350.0, "sm_pct": 70.0}]})
    row = only(summarize(manifest_of({"v0_a": []}), metrics, timings_of({V0: 8.0, COPY: 2.0})))
    assert (row["time_us"], row["q20_us"], row["q80_us"]) == (8.0, 0.9 * 8.0, 1.1 * 8.0)
    assert (row["sol_us"], row["sol_pct"]) == (2.0, 25.0)
    assert (row["compulsory_bytes"], row["dram_bytes"], row["excess_traffic"]) == (1000, 1250, 1.25)
    assert (row["flop"], row["intensity"], row["intensity_bytes"]) == (500, 0.4, "DRAM")
    assert row["flops_per_s"] == 500 / 8e-6
    assert row["sm_pct"] == 70


def test_own_columns_are_no_names_of_the_registry(
    manifest_of: ManifestOf, metrics_of: FrameOf, timings_of: FrameOf
) -> None:
    """Else the counter would stand where the figure should."""
    columns = list(summarize(manifest_of({"v0_a": []}), metrics_of({V0: [{"sm_pct": 1.0}]}), NO_TIMINGS).columns)
    assert len(columns) == len(set(columns))
    assert columns[-len(BY_NAME) :] == list(BY_NAME)


def test_intensity_without_dram_counters_is_over_the_compulsory_bytes(
    manifest_of: ManifestOf, metrics_of: FrameOf, timings_of: FrameOf
) -> None:
    metrics = metrics_of({V0: [{"dram_read_bytes": 900.0, "dram_write_bytes": None}]})
    row = only(summarize(manifest_of({"v0_a": []}), metrics, timings_of({V0: 8.0})))
    assert (row["intensity"], row["intensity_bytes"]) == (0.5, "compulsory")
    assert math.isnan(row["dram_bytes"])
    assert math.isnan(row["excess_traffic"])


def test_flop_come_from_the_counters_when_torch_does_not_know_the_operator(
    manifest_of: ManifestOf, metrics_of: FrameOf
) -> None:
    counted = {"inst_fadd": 1.0, "inst_fmul": 10.0, "inst_ffma": 100.0, "inst_dadd": 0.0, "inst_dmul": 0.0}
    metrics = metrics_of({V0: [counted | {"inst_dfma": 1000.0}], V1: [counted]})
    frame = summarize(manifest_of({"v0_a": [], "v1_b": []}, [("main", "float32", None)]), metrics, NO_TIMINGS)
    assert frame["flop"].iloc[0] == 1 + 10 + 2 * 100 + 2 * 1000
    assert math.isnan(frame["flop"].iloc[1])  # one counter is missing: no partial sum


def test_torchs_flop_go_before_the_counters(manifest_of: ManifestOf, metrics_of: FrameOf) -> None:
    counted = dict.fromkeys(("inst_fadd", "inst_fmul", "inst_ffma", "inst_dadd", "inst_dmul", "inst_dfma"), 9.0)
    assert counted_flop(counted) == 54 + 18
    assert only(summarize(manifest_of({"v0_a": []}), metrics_of({V0: [counted]}), NO_TIMINGS))["flop"] == 500


def test_speedup_is_over_the_first_version_and_time_x_over_the_one_before(
    manifest_of: ManifestOf, timings_of: FrameOf, metrics_of: FrameOf
) -> None:
    manifest = manifest_of({"v0_a": [], "v1_b": [], "v2_c": []})
    times = timings_of({V0: 12.0, V1: 6.0, ("v2_c", "main", "float32"): 3.0})
    frame = summarize(manifest, metrics_of({V0: [{"sm_pct": 1.0}]}), times)
    assert list(frame["speedup"]) == [1, 2, 4]
    assert math.isnan(frame["time_x"].iloc[0])
    assert list(frame["time_x"].iloc[1:]) == [0.5, 0.5]


def test_time_x_is_only_over_the_version_numbered_one_less(
    manifest_of: ManifestOf, timings_of: FrameOf, metrics_of: FrameOf
) -> None:
    """A run of v0, v2 and v3 says nothing about v1, which v2's header speaks of."""
    names = ["v0_a", "v2_c", "v3_d"]
    times = timings_of({(name, "main", "float32"): 8.0 / 2**index for index, name in enumerate(names)})
    frame = summarize(manifest_of(dict.fromkeys(names, ())), metrics_of({V0: [{"sm_pct": 1.0}]}), times)
    assert list(frame["time_x"].isna()) == [True, True, False]
    assert list(frame["speedup"]) == [1, 2, 4]


def test_every_case_and_dtype_has_its_own_first_version_and_sol(
    manifest_of: ManifestOf, timings_of: FrameOf, metrics_of: FrameOf
) -> None:
    cases = [("main", "float32"), ("main", "float16"), ("small", "float32")]
    versions = ["v0_a", "v1_b"]
    times = {
        (name, *case): 10.0 * (1 + index) / (1 + number)
        for index, case in enumerate(cases)
        for number, name in enumerate(["copy", *versions])
    }
    manifest = manifest_of(dict.fromkeys(versions, ()), [(*case, 500) for case in cases])
    frame = summarize(manifest, metrics_of({V0: [{"sm_pct": 7.0}]}), timings_of(times))
    assert list(frame[["version", "case", "dtype"]].itertuples(index=False, name=None)) == [
        (version, *case) for case in cases for version in versions
    ]
    assert list(frame["speedup"]) == [1, 1.5] * 3
    assert list(frame["time_x"].fillna(0)) == [0, pytest.approx(2 / 3)] * 3
    assert list(frame["sol_pct"]) == pytest.approx([200, 300] * 3)
    assert list(frame["sol_us"]) == [10, 10, 20, 20, 30, 30]
    assert list(frame["sm_pct"].isna()) == [False] + [True] * 5


def test_run_without_counters_has_times_and_claims_nothing_else(manifest_of: ManifestOf, timings_of: FrameOf) -> None:
    frame = summarize(manifest_of({"v0_a": [], "v1_b": []}), NO_METRICS, timings_of({V0: 8.0, V1: 4.0, COPY: 2.0}))
    assert list(frame["sol_pct"]) == [25, 50]
    assert list(frame["intensity_bytes"]) == ["compulsory", "compulsory"]
    assert set(frame["bottleneck"]) == {"unknown"}
    assert frame[[*BY_NAME, "dram_bytes", "excess_traffic"]].isna().all(axis=None)


def test_version_that_was_not_timed_has_counters_alone(
    manifest_of: ManifestOf, metrics_of: FrameOf, timings_of: FrameOf
) -> None:
    metrics = metrics_of({V0: [{"sm_pct": 7.0}], V1: [{"sm_pct": 8.0}]})
    frame = summarize(manifest_of({"v0_a": [], "v1_b": []}), metrics, timings_of({V0: 8.0}))
    missing = frame.iloc[1][["time_us", "speedup", "time_x", "sol_us", "sol_pct", "flops_per_s"]]
    assert missing.isna().all()
    assert frame["sm_pct"].iloc[1] == 8


def test_summary_of_the_h100_run(h100_run: Path) -> None:
    run = read_run(h100_run)
    frame = summarize(run.manifest, run.metrics, run.timings).set_index("version")
    assert frame["time_us"].to_dict() == {"v0_baseline": 2015.152, "v1_grid": 1011.424}
    assert frame.loc["v1_grid", "time_x"] == pytest.approx(1011.424 / 2015.152)
    assert frame.loc["v1_grid", "sol_pct"] == pytest.approx(100 * 715.92 / 1011.424)
    assert frame.loc["v0_baseline", "dram_bytes"] == 1073881856 + 1052901120
    assert frame.loc["v0_baseline", "excess_traffic"] == pytest.approx(2126782976 / 2139113728)
    assert frame.loc["v0_baseline", "intensity"] == pytest.approx(4794163200 / 2126782976)
    assert frame.loc["v1_grid", "bottleneck"] == "Issue Slots"


@pytest.mark.parametrize(
    ("name", "number"), [("v0_baseline", 0), ("v12_tma_store", 12), ("torch_eager", None), ("", None), ("v1", None)]
)
def test_number_of_a_version_is_in_its_name(name: str, number: int | None) -> None:
    found = version_number(name)
    assert math.isnan(found) if number is None else found == number


# --- roofs


def test_roofs_are_the_measured_copy_and_the_datasheet_each_with_its_source(h100_run: Path) -> None:
    run = read_run(h100_run)
    found = roofs(run.manifest, summarize(run.manifest, run.metrics, run.timings))
    spec = specs()["h100_sxm"]
    assert [(roof.name, roof.kind, roof.measured, roof.source) for roof in found] == [
        ("DRAM copy", "bandwidth", True, "measured in this run"),
        ("DRAM", "bandwidth", False, "datasheet"),
        ("FP32", "compute", False, "datasheet"),
    ]
    assert found[0].per_s == pytest.approx(2139113728 / 715.92e-6)
    assert [roof.per_s for roof in found[1:]] == [spec.dram_bytes_per_s, spec.fp32_flops_per_s]


def test_unknown_gpu_has_the_measured_roof_alone(
    manifest_of: ManifestOf, metrics_of: FrameOf, timings_of: FrameOf
) -> None:
    manifest = manifest_of({"v0_a": []}, gpu="NVIDIA TITAN V")
    summary = summarize(manifest, metrics_of({V0: [{"sm_pct": 1.0}]}), timings_of({V0: 8.0, COPY: 2.0}))
    assert [(roof.name, roof.per_s) for roof in roofs(manifest, summary)] == [("DRAM copy", 1000 / 2e-6)]


def test_run_that_timed_no_memory_term_has_no_measured_roof(manifest_of: ManifestOf, metrics_of: FrameOf) -> None:
    manifest = manifest_of({"v0_a": []})
    summary = summarize(manifest, metrics_of({V0: [{"sm_pct": 1.0}]}), NO_TIMINGS)
    assert [roof.measured for roof in roofs(manifest, summary)] == [False, False]


# --- predictions


def test_predictions_of_the_h100_run(h100_run: Path) -> None:
    run = read_run(h100_run)
    judged = judge(run.manifest, summarize(run.manifest, run.metrics, run.timings))
    assert list(judged.columns) == ["version", "prediction", "metric", "value", "verdict"]
    assert list(judged[["prediction", "verdict"]].itertuples(index=False, name=None)) == [
        ("sm_pct > 80", "hit"),
        ("dram_pct < 40", "hit"),
        ("alu_pct > 70", "hit"),
        ("excess_traffic < 1.05", "hit"),
        ("time_x 0.40..0.55", "hit"),
        ("sm_pct < 60", "miss"),
        ("dram_pct > 60", "hit"),
        ("alu_pct < 50", "miss"),
        ("excess_traffic < 1.05", "hit"),
    ]
    assert judged["value"].iloc[5] == pytest.approx(86.31942425962781)


@pytest.mark.parametrize(
    ("prediction", "verdict"),
    [
        ("sm_pct >= 70", "hit"),
        ("sm_pct > 70", "miss"),
        ("dram_pct > 60", "not judged: the figure is missing in this run"),
        ("time_x 0.4..0.5", "not judged: the figure is missing in this run"),
        ("speed > 2", "not judged: no figure is called speed"),
    ],
)
def test_prediction_is_a_hit_a_miss_or_says_why_it_is_not_judged(
    manifest_of: ManifestOf, metrics_of: FrameOf, timings_of: FrameOf, prediction: str, verdict: str
) -> None:
    manifest = manifest_of({"v0_a": [prediction]})
    summary = summarize(manifest, metrics_of({V0: [{"sm_pct": 70.0}]}), timings_of({V0: 8.0}))
    row = only(judge(manifest, summary))
    assert row["verdict"] == verdict
    assert math.isnan(row["value"]) == verdict.startswith("not judged")


@pytest.mark.parametrize("column", ["bottleneck", "evidence", "intensity_bytes", "version"])
def test_prediction_about_a_text_is_not_judged(
    manifest_of: ManifestOf, metrics_of: FrameOf, timings_of: FrameOf, column: str
) -> None:
    manifest = manifest_of({"v0_a": [f"{column} < 3"]})
    summary = summarize(manifest, metrics_of({V0: [{"sm_pct": 70.0}]}), timings_of({V0: 8.0}))
    assert only(judge(manifest, summary))["verdict"].startswith("not judged")


def test_predictions_are_about_the_main_case_in_its_first_dtype(
    manifest_of: ManifestOf, metrics_of: FrameOf, timings_of: FrameOf
) -> None:
    cases = [("small", "float32", 500), ("main", "float16", 500), ("main", "float32", 500)]
    manifest = manifest_of({"v0_a": ["time_us 4..4"]}, cases)
    times = timings_of({("v0_a", name, dtype): 2.0 ** (index + 1) for index, (name, dtype, _) in enumerate(cases)})
    row = only(judge(manifest, summarize(manifest, metrics_of({V0: [{"sm_pct": 1.0}]}), times)))
    assert (row["value"], row["verdict"]) == (4.0, "hit")
    assert main_case(msgspec.structs.replace(manifest, cases=manifest.cases[:1])).case == "small"


def test_prediction_that_names_its_case_is_judged_there(
    manifest_of: ManifestOf, metrics_of: FrameOf, timings_of: FrameOf
) -> None:
    cases = [("main", "float32", 500), ("k7_56", "float16", 500), ("k7_56", "bfloat16", 500)]
    expect = ["k7_56/bfloat16: time_us 8..8", "k7_56: time_us 4..4", "time_us 2..2", "k7_56/float32: time_us 4..4"]
    times = timings_of({("v0_a", name, dtype): 2.0 ** (index + 1) for index, (name, dtype, _) in enumerate(cases)})
    manifest = manifest_of({"v0_a": expect}, cases)
    judged = judge(manifest, summarize(manifest, metrics_of({V0: [{"sm_pct": 1.0}]}), times))
    assert list(judged["verdict"]) == ["hit", "hit", "hit", "not judged: this run has no k7_56 float32"]
    ladder = msgspec.structs.replace(manifest, main="k7_56")
    assert main_case(ladder) == manifest.cases[1]
    assert list(judge(ladder, summarize(ladder, metrics_of({V0: [{"sm_pct": 1.0}]}), times))["value"][:3]) == [8, 4, 4]


def test_prediction_of_a_metric_relative_to_the_version_before(
    manifest_of: ManifestOf, metrics_of: FrameOf, timings_of: FrameOf
) -> None:
    manifest = manifest_of({"v0_a": ["registers_x < 2"], "v1_b": ["registers_x 0.4..0.6"], "v3_d": ["registers_x < 2"]})
    keys = {version: (version, *V0[1:]) for version in ("v0_a", "v1_b", "v3_d")}
    metrics = metrics_of({key: [{"registers": n}] for key, n in zip(keys.values(), (64.0, 32.0, 16.0), strict=True)})
    judged = judge(manifest, summarize(manifest, metrics, timings_of(dict.fromkeys(keys.values(), 8.0))))
    missing = "not judged: the figure is missing in this run"
    assert list(judged["verdict"]) == [missing, "hit", missing]
    assert judged["value"][1] == 0.5


def test_predictions_are_not_judged_on_another_case(
    manifest_of: ManifestOf, metrics_of: FrameOf, timings_of: FrameOf
) -> None:
    manifest = manifest_of({"v0_a": ["time_us 4..4"]}, [("small", "float32", 500)])
    times = timings_of({("v0_a", "small", "float32"): 4.0})
    row = only(judge(manifest, summarize(manifest, metrics_of({V0: [{"sm_pct": 1.0}]}), times)))
    assert row["verdict"] == "not judged: this run has no main"


def test_version_that_expects_nothing_has_no_verdict(manifest_of: ManifestOf, metrics_of: FrameOf) -> None:
    manifest = manifest_of({"v0_a": []})
    judged = judge(manifest, summarize(manifest, metrics_of({V0: [{"sm_pct": 1.0}]}), NO_TIMINGS))
    assert judged.empty
    assert "verdict" in judged

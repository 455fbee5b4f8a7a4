"""Comparisons as people read them: the first line, the tables, the warnings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pytest

from rooflift.analysis.compare import Comparison, Side, compare, side
from rooflift.report import columns
from rooflift.report.cells import MISSING
from rooflift.report.data import ReportData, report_data
from rooflift.report.markdown import write_report
from rooflift.report.tables import gpu_table, metric_changes, versions_table
from rooflift.report.text import method_text, verdict_line
from rooflift.report.warnings import check_warnings, warnings
from rooflift.runs.run import Run, read_run
from rooflift.schema import CheckRecord, GpuState, NoiseRecord

LONGEST_COMMENT = 65_536


@pytest.fixture
def found(h100: Run) -> Comparison:
    return compare(side(h100, "v0_baseline"), side(h100, "v1_grid"))


def with_cases(found: Comparison, *rows: dict[str, Any]) -> Comparison:
    """The comparison with rows like its own, some cells other."""
    (row,) = found.cases.to_dict("records")
    return replace(found, cases=pd.DataFrame([row | own for own in rows]))


def test_line_tells_main_case_others_and_mean(found: Comparison) -> None:
    many = with_cases(
        found,
        {},
        {"case": "a", "verdict": "slower", "time_x": 1.08},
        {"case": "b", "verdict": "slower", "time_x": 1.2},
        {"case": "c", "verdict": "within noise"},
        {"case": "d", "verdict": "not comparable"},
    )
    line = verdict_line(many, "main", "float32")
    assert line.startswith("**v1_grid is faster than v0_baseline** on main float32: time ratio 0.50")
    assert (
        "Of 5 cases and dtypes: faster in 1, slower in 2, within noise in 1, not comparable in 1 "
        "(slowest against base: b float32 1.200x, a float32 1.080x)."
    ) in line
    assert "Geometric mean of the time ratios over 1: 0.50" in line


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        ("slower", "**v1_grid is slower than v0_baseline**"),
        ("within noise", "**v1_grid and v0_baseline are within noise**"),
        ("not comparable", "**v1_grid and v0_baseline are not comparable**: the reason."),
    ],
)
def test_each_verdict_has_its_words(found: Comparison, verdict: str, said: str) -> None:
    other = with_cases(found, {"verdict": verdict, "reason": "the reason" if verdict == "not comparable" else ""})
    assert verdict_line(other, "main", "float32").startswith(said)


def test_a_change_that_is_too_small_says_so(found: Comparison) -> None:
    small = {"verdict": "within noise", "time_x": 0.993, "low": 0.992, "high": 0.994, "min_effect": 0.01, "cause": ""}
    line = verdict_line(with_cases(found, small, small | {"case": "a"}), "main", "float32")
    assert "0.9930x (0.9920 to 0.9940), and below 1 % a change is none. The same in all 2 cases and dtypes." in line
    assert "is none" not in verdict_line(with_cases(found, small | {"high": 1.001}), "main", "float32")


def test_the_same_version_of_two_runs_is_named_with_its_run(h100: Run) -> None:
    other = msgspec.structs.replace(h100.manifest, name="other")
    found = compare(side(h100, "v1_grid"), Side(other, "v1_grid", h100.samples, h100.metrics))
    assert verdict_line(found, "main", "float32").startswith("**other:v1_grid and h100_run:v1_grid are within noise**")


def test_tables_show_ratio_with_interval_and_arrows(found: Comparison) -> None:
    (row,) = columns.table("comparison", found.cases).texts
    assert row[:4] == ["main", "float32", "2.015 ms", "1.011 ms"]
    assert row[4].startswith("0.50")
    assert row[5] == "faster"
    changes = {cells[0]: cells for cells in metric_changes(found, "main", "float32").texts}
    assert changes["DRAM Throughput %"][3].startswith("↑ +")
    assert changes["Grid Size"] == ["Grid Size", "1 040 400", "524 288", "↓ 0.50x"]
    assert changes["Registers"][3] == "1.00x"


def test_method_names_test_level_and_least_effect(found: Comparison) -> None:
    text = method_text(found)
    assert "99 % interval" in text
    assert "Wilcoxon's signed ranks" in text
    assert "for 1 case at level 0.01; a change below 1 % (the rule" in text
    assert "below 1 % to 5.0 % (the rule" in method_text(with_cases(found, {"min_effect": 0.05}))


def test_versions_stand_in_a_table_with_ratio_arrows_and_worst_error(h100: Run) -> None:
    story = report_data(h100.manifest, h100.metrics, h100.timings, h100.compiled, h100.samples)
    table = versions_table(story)
    first, second = (dict(zip(table.headings, row, strict=True)) for row in table.texts)
    assert (first["time over the one before"], first["SM Throughput %"]) == (MISSING, "82")
    assert second["time over the one before"].endswith(" faster")
    assert [second[f"{name} %"] for name in ("SM Throughput", "L2 Hit Rate", "Achieved Occupancy")] == [
        "↑ 86",
        "↓ 61",
        "69",
    ]
    assert second["error / tolerance"] == f"{max(c.error_over_tolerance for c in h100.manifest.checks):.2f}"
    assert second["spills"] == "0"  # this run is older than the counter: local loads and stores stand in
    counted = versions_table(replace(story, summary=story.summary.assign(inst_spill=[0.0, 1200.0])))
    assert [row[counted.headings.index("spills")] for row in counted.texts] == ["0", "1 200"]


# --- warnings


def state(at: Any = "during", sm_mhz: int = 1980, throttle: list[str] | None = None) -> GpuState:
    return GpuState("main", "float32", at, sm_mhz, 2619, 40, 350.0, throttle or [])


@pytest.fixture
def told(h100: Run) -> Callable[..., list[str]]:
    """Return a function: the warnings of the H100 run, clean, with other fields of its manifest."""

    def warned(sol_pct: float = 70.0, **fields: Any) -> list[str]:
        manifest = msgspec.structs.replace(h100.manifest, **{"dirty": False, **fields})
        sides = [Side(manifest, name, h100.samples, h100.metrics) for name in ("v0_baseline", "v1_grid")]
        story = report_data(manifest, h100.metrics, h100.timings, h100.compiled)
        return warnings(manifest, story.summary.assign(sol_pct=sol_pct), compare(*sides))

    return warned


def test_clean_run_has_no_warning(told: Callable[..., list[str]]) -> None:
    assert told(gpu_states=[state("before", throttle=["power cap"]), state()]) == []


def test_throttling_noise_dirt_and_suspects_are_warned_of(told: Callable[..., list[str]]) -> None:
    assert told(dirty=True)[0].startswith("The tree held uncommitted changes:")
    states = [state(throttle=["power cap"]), state()]
    assert told(gpu_states=states) == ["The GPU throttled its clocks (power cap) in 1 of 2 samples."]
    noise = [NoiseRecord("v1_grid", "main", "float32", 1.0, 0.99, 1.03)]
    assert told(noise=noise) == ["Noise above 1 %: the noise of the measurement is main float32 3.0 %."]
    assert told(sol_pct=101.0)[0].startswith("Above 100 % of SOL, which is suspect: v0_baseline (main float32)")


def test_machines_that_differ_are_warned_of(h100: Run) -> None:
    base = msgspec.structs.replace(h100.manifest, gpu_states=[state(sm_mhz=1980)], dirty=False)
    machine = msgspec.structs.replace(h100.manifest.machine, triton="3.7.0")
    head = msgspec.structs.replace(base, name="head", machine=machine, gpu_states=[state(sm_mhz=1755)])
    found = compare(*(Side(one, "v1_grid", h100.samples, h100.metrics) for one in (base, head)))
    story = report_data(head, h100.metrics, h100.timings, h100.compiled)
    assert warnings(head, story.summary, found) == [
        "Base and head differ: triton 3.6.0 and 3.7.0.",
        "The SM clock was 1980 MHz for base and 1755 MHz for head.",
    ]


def test_states_of_the_gpu_are_a_table() -> None:
    unknown = GpuState("main", "float32", "after", None, None, None, None, [])
    rows = gpu_table([state(throttle=["power cap", "thermal limit"]), unknown]).texts
    assert rows[0][2:] == ["during", "1 980", "2 619", "40", "350", "power cap, thermal limit"]
    assert rows[1][2:] == ["after", *[MISSING] * 5]


# --- the length of a comment


def grown(run: Run, cases: int) -> ReportData:
    """The story of a run with as many cases, each with the times of the one that was measured."""
    case = run.manifest.cases[0]
    names = [f"a_case_with_a_long_name_{n}" for n in range(cases)]
    timings, samples = (
        pd.concat([frame, *(frame.assign(case=name) for name in names)], ignore_index=True)
        for frame in (run.timings, run.samples)
    )
    manifest = msgspec.structs.replace(
        run.manifest, cases=[case, *(msgspec.structs.replace(case, case=name) for name in names)]
    )
    return report_data(manifest, run.metrics, timings, run.compiled, samples)


def test_longest_report_fits_into_a_comment_and_says_what_is_left_out(h100: Run, tmp_path: Path) -> None:
    small = write_report(grown(h100, 10), tmp_path).read_text()
    assert "left out" not in small
    assert len(small) < LONGEST_COMMENT
    large = write_report(grown(h100, 250), tmp_path).read_text()
    assert len(large) < LONGEST_COMMENT
    assert "> **Note** The times of every provider are left out of this text for its length" in large
    assert large.splitlines()[2].startswith("- **Verdict:** **v1_grid is faster than v0_baseline.**")


def test_thirteen_versions_are_compared_each_with_the_one_before(h100: Run, tmp_path: Path) -> None:
    manifest = h100.manifest
    names = [f"v{n}_version" for n in range(13)]
    timings, samples = (
        pd.concat(
            [
                frame[~frame["provider"].str.startswith("v")],
                *(frame[frame["provider"] == "v1_grid"].assign(provider=name) for name in names),
            ],
            ignore_index=True,
        )
        for frame in (h100.timings, h100.samples)
    )
    own = h100.metrics[h100.metrics["version"] == "v1_grid"]
    metrics = pd.concat([own.assign(version=name) for name in names], ignore_index=True)
    versions = [msgspec.structs.replace(manifest.versions[1], version=name) for name in names]
    story = report_data(msgspec.structs.replace(manifest, versions=versions), metrics, timings, h100.compiled, samples)
    report = write_report(story, tmp_path).read_text()
    assert len(report) < LONGEST_COMMENT
    assert len(story.steps) == 12
    assert "- **Change:** last step, v11_version to v12_version: within noise, 1.0000x" in report


def test_run_from_before_the_places_were_recorded_reads(h100_run: Path) -> None:
    samples = read_run(h100_run).samples
    assert list(samples.columns) == ["provider", "repeat", "case", "dtype", "round", "position", "time_us"]
    places = samples.groupby("provider")["position"].unique().map(list).to_dict()
    assert sorted(places.values()) == [[0], [1], [2], [3]]


def test_what_weakens_a_check_is_named_with_its_cases() -> None:
    checks = [
        CheckRecord("v0_baseline", "small", dtype, 0, 0.0, 0.0, 1e-6, deterministic, note)
        for dtype, deterministic, note in (
            ("float32", True, "the reference gives 0 everywhere: what computes nothing agrees"),
            ("float16", True, "the reference gives 0 everywhere: what computes nothing agrees"),
            ("bfloat16", False, ""),
        )
    ]
    assert check_warnings(checks) == [
        "small float32, small float16: the reference gives 0 everywhere: what computes nothing agrees.",
        "Not deterministic, the same inputs give other bits: v0_baseline.",
    ]
    assert check_warnings([CheckRecord("v0_baseline", "small", "float32", 0, 0.0, 0.5)]) == []

"""Estimates: exact on the source itself, held against the RTX 4090 of the seed, honest about what they assume."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rooflift.analysis.estimate import NEEDED, Copies, Estimate, hold, norm, overlap, project
from rooflift.analysis.selection import figures, of, select
from rooflift.errors import RunFault
from rooflift.project.gpus import spec_for_key
from rooflift.queries import estimate
from rooflift.runs.run import read_run

H100 = spec_for_key("h100")
SEED = {"sm_pct": 59.89, "dram_pct": 92.71}  # v0 on an RTX 4090


@pytest.fixture(scope="module")
def row(h100_run: Path) -> Callable[[str], dict[str, Any]]:
    """Return a function: the figures of a version on an H100."""
    run = read_run(h100_run)
    return lambda version: of(figures(run), select(run, version))


@pytest.fixture
def to(h100_run: Path) -> Callable[..., Estimate]:
    """Return a function: a version of the H100 run on another GPU."""
    run = read_run(h100_run)
    return lambda key, version="v0", **roofs: estimate(run, select(run, version), spec_for_key(key), **roofs)


def test_on_the_rtx_4090_v0_waits_for_dram_and_the_sms_are_as_busy_as_the_seed_says(
    to: Callable[..., Estimate],
) -> None:
    found = to("rtx4090")
    assert found.resource == "DRAM"
    assert found.pct("sm_pct") == pytest.approx(SEED["sm_pct"], abs=10)
    assert found.pct("dram_pct") == pytest.approx(SEED["dram_pct"], abs=10)


@pytest.mark.parametrize("version", ["v0", "v1"])
def test_on_the_source_itself_the_projection_is_the_measurement(row: Callable[..., Any], version: str) -> None:
    measured = row(version)
    found = project(measured, H100, H100, Copies(3.0e12))
    assert found.time_us == pytest.approx(measured["time_us"], rel=0.01)  # its clock was 0.4 % below the spec's
    assert found.resource == measured["bottleneck"]
    for metric in ("sm_pct", "dram_pct", "l2_pct", "alu_pct", "issue_active_pct"):
        assert found.pct(metric) == pytest.approx(measured[metric], abs=1)


def test_clock_of_the_source_is_the_reports_own_and_idle_sms_stay_idle(row: Callable[..., Any]) -> None:
    measured = row("v1")
    idle = measured | {"ncu_time_ns": 2 * measured["ncu_time_ns"]}  # the same work, while half of the SMs wait
    told = project(idle | {"sm_clock_hz": 1.98e9}, H100, H100, Copies(3.0e12))
    assert any("on the source they ran at 1980 MHz." in text for text in told.assumptions)
    assert told.pct("alu_pct") == pytest.approx(measured["alu_pct"] / 2, rel=0.03)
    untold = project(idle, H100, H100, Copies(3.0e12))
    assert any("MHz, if none of them was idle." in text for text in untold.assumptions)


def test_twice_the_dram_helps_what_waits_for_dram_and_nothing_else(row: Callable[..., Any]) -> None:
    twice = msgspec.structs.replace(H100, dram_bytes_per_s=2 * H100.dram_bytes_per_s)
    bound_by_sm = project(row("v0"), H100, twice, Copies(3.0e12))
    assert bound_by_sm.time_us == pytest.approx(row("v0")["time_us"], rel=0.01)
    assert bound_by_sm.pct("dram_pct") == pytest.approx(row("v0")["dram_pct"] / 2, abs=0.5)
    calm = row("v0") | {"alu_pct": 10.0, "issue_active_pct": 12.0, "sm_pct": 12.0, "l1_pct": 10.0, "l2_pct": 10.0}
    calm |= {"ncu_time_ns": row("v0")["ncu_time_ns"] * 0.36, "inst_executed": row("v0")["inst_executed"] * 0.05}
    waiting, faster = (project(calm, H100, spec, Copies(3.0e12)) for spec in (H100, twice))
    assert (waiting.resource, waiting.unexplained_us) == ("DRAM", pytest.approx(0, abs=20))
    assert faster.time_us < 0.6 * waiting.time_us


def test_half_the_sms_take_twice_as_long_for_integer_work(row: Callable[..., Any]) -> None:
    half = msgspec.structs.replace(H100, sm_count=H100.sm_count // 2)
    found = project(row("v0"), H100, half, Copies(3.0e12))
    assert found.time_us == pytest.approx(2 * row("v0")["time_us"], rel=0.02)
    assert found.resource == "Issue Slots"


def test_fewer_fp32_lanes_fill_the_multiply_add_pipe(row: Callable[..., Any]) -> None:
    found = project(row("v0"), H100, spec_for_key("a100"), Copies(3.0e12))
    alike = project(row("v0"), H100, msgspec.structs.replace(H100, sm_count=108), Copies(3.0e12))
    assert found.pct("fma_pct") == pytest.approx(2 * alike.pct("fma_pct"), rel=0.1)


def test_a_copy_measured_on_the_target_replaces_the_guess(
    to: Callable[..., Estimate], h100_roofs: Callable[..., Any]
) -> None:
    rows = [msgspec.structs.replace(r, per_s=0.5e12) for r in h100_roofs().rows]
    slow = to("rtx4090", there=msgspec.structs.replace(h100_roofs(), rows=rows))
    assert slow.time_us > 1.5 * to("rtx4090").time_us
    assert "as a copy measured there does" in " ".join(slow.assumptions)


def test_what_no_resource_explains_stays(row: Callable[..., Any]) -> None:
    calm = row("v0") | dict.fromkeys(("alu_pct", "fma_pct", "lsu_pct", "l1_pct", "l2_pct", "sm_pct", "xu_pct"), 5.0)
    calm |= {"issue_active_pct": 10.0, "inst_executed": calm["inst_executed"] * 10 / calm["issue_active_pct"]}
    found = project(calm, H100, H100, Copies(3.0e12))
    assert found.resource == "latency"
    assert found.time_us == pytest.approx(calm["time_us"], rel=0.01)
    # in turn: DRAM 35 % of the time, the issue slots 12, four pipes 6 each, two caches 5 each
    assert found.unexplained_us / (calm["ncu_time_ns"] / 1e3) == pytest.approx(0.19, abs=0.02)


def test_resources_that_overlap_badly_on_the_source_do_so_on_the_target(row: Callable[..., Any]) -> None:
    both = row("v0") | dict.fromkeys(("alu_pct", "fma_pct", "lsu_pct", "l1_pct", "xu_pct", "sm_pct"), 1.0)
    dram_bytes = 0.7 * 3.0e12 * both["ncu_time_ns"] / 1e9
    both |= {"l2_pct": 70.0, "issue_active_pct": 1.0, "inst_executed": both["inst_executed"] / both["issue_active_pct"]}
    both |= {"dram_read_bytes": dram_bytes / 2, "dram_write_bytes": dram_bytes / 2}
    twice = msgspec.structs.replace(H100, dram_bytes_per_s=2 * H100.dram_bytes_per_s)
    same, faster = (project(both, H100, spec, Copies(3.0e12)) for spec in (H100, twice))
    assert same.time_us == pytest.approx(both["time_us"], rel=0.01)
    # both take 70 % of the time; perfect overlap would give 0.70, what the largest leaves unexplained kept whole 1.00
    assert 0.75 < faster.time_us / same.time_us < 0.85


@pytest.mark.parametrize("whole", [10.5, 11.0, 14.0, 21.0])
def test_the_overlap_is_the_norm_that_gives_the_time(whole: float) -> None:
    times = [10.0, 8.0, 3.0, 0.0]
    assert norm(times, overlap(times, whole)) == pytest.approx(whole)


def test_the_overlap_ends_at_the_sum_and_at_the_largest() -> None:
    assert overlap([10.0, 8.0], 19.0) == 1.0
    assert norm([10.0, 8.0], 1.0) == 18.0
    assert norm([10.0, 8.0], overlap([10.0, 8.0], 10.0)) == 10.0


@pytest.mark.parametrize("name", NEEDED)
def test_a_missing_counter_is_named(row: Callable[..., Any], name: str) -> None:
    with pytest.raises(RunFault, match=name):
        project(row("v0") | {name: math.nan}, H100, H100, Copies())


def test_assumptions_name_clocks_bytes_and_bandwidth(to: Callable[..., Estimate]) -> None:
    told = " ".join(to("rtx4090").assumptions)
    for text in ("2520 MHz", "1008 GB/s", "same instructions", "NVIDIA GeForce RTX 4090", "power"):
        assert text in told
    assert "smaller" in " ".join(to("rtx3090").assumptions)
    assert "smaller" not in told


def test_a_projection_is_held_against_a_measurement(to: Callable[..., Estimate]) -> None:
    found = to("rtx4090")
    held = hold(found, ("v0_baseline", "main", "float32"), {**SEED, "time_us": found.time_us / 1.1})
    assert held.error_pct == pytest.approx(10)
    assert (held.estimated_bottleneck, held.measured_bottleneck) == ("DRAM", "DRAM")
    assert math.isnan(hold(found, ("v0_baseline", "main", "float32"), SEED).error_pct)


def test_the_command_prints_a_row_a_version_and_the_assumptions(rooflift: Callable[..., Any], h100_run: Path) -> None:
    said = rooflift("estimate", h100_run, "--to", "rtx4090")
    assert said.code == 0
    assert "v0_baseline" in said.out
    assert "v1_grid" in said.out
    assert "DRAM sustains" in said.out
    told = json.loads(rooflift("estimate", h100_run, "--to", "rtx4090", "-v", "v1", "--json").out)
    assert [row["version"] for row in told["rows"]] == ["v1_grid"]
    assert told["target"] == "NVIDIA GeForce RTX 4090"


def test_the_committed_error_table_is_what_the_command_writes(
    rooflift: Callable[..., Any], h100_run: Path, checkout: Path, tmp_path: Path
) -> None:
    metrics = checkout / "tests" / "fixtures" / "rtx4090_metrics.json"
    truth, table = tmp_path / "rtx4090", tmp_path / "table.md"
    words = ["--operator", "depthwise_conv2d", "--version", "v0", "--gpu", "rtx4090", "--out", truth]
    assert rooflift("import", metrics, *words).code == 0
    said = rooflift("estimate", h100_run, "--against", truth, "--out", table, "--json")
    assert said.code == 0
    assert json.loads(said.out)["rows"][0]["measured_bottleneck"] == "DRAM"
    assert table.read_text() == (checkout / "docs" / "estimates" / "h100-to-rtx4090.md").read_text()


def test_from_the_h100_to_the_h200_every_version_is_within_10_per_cent(
    rooflift: Callable[..., Any], checkout: Path, tmp_path: Path
) -> None:
    committed = checkout / "docs" / "estimates" / "h100-to-h200.md"
    runs = checkout / "reports" / "depthwise_conv2d"
    source, truth = (runs / name for name in re.findall(r"run (\S+-h[12]00-\S+)", committed.read_text()))
    table = tmp_path / "table.md"
    rows = json.loads(rooflift("estimate", source, "--against", truth, "--out", table, "--json").out)["rows"]
    assert len(rows) >= 11
    assert max(abs(row["error_pct"]) for row in rows) < 10
    assert [row["measured_bottleneck"] for row in rows[:2]] == ["Issue Slots", "Issue Slots"]
    assert table.read_text() == committed.read_text()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "no target GPU"),
        (["--to", "rtx409"], "Did you mean rtx4090"),
        (["--to", "rtx4090", "--out", "table.md"], "--out without --against"),
        (["--to", "rtx4090", "--against", "tests/fixtures/h100_run"], "was measured on NVIDIA H100"),
        (["--to", "rtx4090", "--case", "padded"], "no case 'padded'"),
    ],
)
def test_a_wrong_question_exits_2_with_a_remedy(
    rooflift: Callable[..., Any], h100_run: Path, words: list[str], says: str
) -> None:
    said = rooflift("estimate", h100_run, *words)
    assert said.code == 2
    assert says in said.err

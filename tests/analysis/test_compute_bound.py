"""Compute-bound operators have one figure everywhere: table, headline, suite, gate, advice, stop rule, roofline.

The times are medians of an H100 80GB HBM3: bf16 matmul 4096^3 (cuBLAS 175.9 us, a Triton kernel 179.9 us, a copy of its
bytes 38 us), and causal attention B4 H32 S4096 D128 (cuDNN 925.5 us, a Triton kernel 1429 us).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from rooflift.analysis.advice import STOP_PCT
from rooflift.analysis.gate import judge_gate
from rooflift.analysis.selection import advise, figures, of, select
from rooflift.analysis.suite import standing, suite
from rooflift.analysis.summary import roofs
from rooflift.analysis.thresholds import GateRules
from rooflift.project.stated import flop_by_unit
from rooflift.report import columns
from rooflift.report.advice import advice_text
from rooflift.report.data import report_data
from rooflift.report.tables import suite_table
from rooflift.report.text import headline, suite_line
from rooflift.runs.roofs import roofs_of, write_roofs
from rooflift.runs.run import Run, read_run, to_frame
from rooflift.runs.verify import write_manifest
from rooflift.schema import STATED, MetricRow, ResolvedCase, Roofs, TimingRow, VersionRecord

RATE = 889.4e12  # of the BF16 tensor cores of that H100
MATMUL = 2 * 4096**3
ATTENTION = {"B": 4, "H": 32, "S": 4096, "D": 128}
UNITS = flop_by_unit({"tensor": "4*B*H*S*S*D/2", "special": "B*H*S*S/2"}, ATTENTION, "bfloat16")
CASES = [
    ResolvedCase("main", "bfloat16", {}, [[4096, 4096]] * 2, 3 * 2 * 4096**2, MATMUL, "torch's FLOP counter"),
    ResolvedCase("causal", "bfloat16", {}, [[4, 32, 4096, 128]] * 3, 8 * 4 * 32 * 4096 * 128, UNITS["BF16 tensor"],
                 STATED, flop_by_unit=UNITS),
]  # fmt: skip
TIMES = {
    "main": {"v0_dot": 179.9, "cublas": 175.9, "copy": 38.0},
    "causal": {"v0_dot": 1429.0, "cublas": 925.5, "copy": 92.0},
}
METRICS = {
    "main": {"tensor_pct": 92.0, "sm_pct": 92.0, "dram_pct": 20.0, "dram_read_bytes": 8e7, "dram_write_bytes": 3.3e7},
    "causal": {"tensor_pct": 44.0, "sm_pct": 50.0, "dram_pct": 8.0, "stall_barrier": 2.0, "fma_pct": 40.0},
}


@pytest.fixture(scope="module")
def run(h100_run: Path, h100_roofs: Callable[..., Roofs], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run folder beside measured roofs, with these cases and times."""
    reports = tmp_path_factory.mktemp("reports")
    measured = h100_roofs()
    rows = [msgspec.structs.replace(r, per_s=RATE) if r.name == "BF16 tensor" else r for r in measured.rows]
    write_roofs(reports / "roofs" / "h100.json", msgspec.structs.replace(measured, rows=rows))
    folder = reports / "matmul" / "run"
    shutil.copytree(h100_run, folder)
    old = read_run(h100_run).manifest
    versions = [VersionRecord("v0_dot", "", "", "", "", [])]
    manifest = msgspec.structs.replace(old, versions=versions, cases=CASES, suite=True, checks=[], name="run")
    times = [
        TimingRow(provider, case, "bfloat16", 50, us, 0.99 * us, 1.01 * us, 0.98 * us)
        for case, own in TIMES.items()
        for provider, us in own.items()
    ]
    to_frame(times, TimingRow).to_csv(folder / "timings.csv", index=False)
    metrics = [
        MetricRow("v0_dot", case, "bfloat16", "kernel", 0, name, value, "", "", "", "")
        for case, own in METRICS.items()
        for name, value in (own | {"waves": 2.0, "ncu_time_ns": 1e3 * TIMES[case]["v0_dot"]}).items()
    ]
    to_frame(metrics, MetricRow).to_csv(folder / "metrics.csv", index=False)
    write_manifest(folder, manifest)
    return read_run(folder)


def sol_pct(case: str, time_us: float) -> float:
    flop = MATMUL if case == "main" else UNITS["BF16 tensor"]
    return 100 * flop / RATE * 1e6 / time_us


def test_a_matmul_near_cublas_stands_near_the_rate_of_its_tensor_cores_everywhere(run: Run) -> None:
    share = sol_pct("main", 179.9)
    assert 80 < share < 90  # 22 % of the copy alone
    shown = f"{share:.1f}"
    data = report_data(run.manifest, run.metrics, run.timings, run.compiled, measured=roofs_of(run))
    (row,) = columns.table("summary", data.main).texts
    assert row[3:6] == [shown, "BF16 tensor", "764.0 TFLOP/s"]
    assert f"{shown} % of SOL (BF16 tensor: 764.0 TFLOP/s), bottleneck Tensor pipe" in headline(data)
    assert f"on main reaches {shown} % in bfloat16 of SOL" in suite_line(data)
    beside = suite(run.manifest, run.timings, roofs_of(run)).set_index("case").loc["main"]
    assert [beside["sol_pct"], beside["baseline_pct"]] == pytest.approx([share, sol_pct("main", 175.9)])
    assert suite_table(data.suite).texts[0][2:] == [
        f"{shown} BF16 tensor behind",
        f"{sol_pct('main', 175.9):.1f} cublas",
    ]
    (found,) = judge_gate(GateRules(min_sol=0.8, cases=("main",)), "v0_dot", data.summary, None, None)
    assert (found.status, found.value) == ("passed", f"{shown} % (BF16 tensor)")
    (found,) = judge_gate(GateRules(min_sol=0.9, cases=("main",)), "v0_dot", data.summary, None, None)
    assert found.status == "broken"
    told = advise(run, select(run, "v0", "main"))
    assert (told.sol_pct, told.sol_binds, told.stage) == (pytest.approx(share), "BF16 tensor", "tensor")
    assert told.gain_at_most == pytest.approx(100 / share)
    assert advice_text(told, []).distance.startswith(f"{shown} % of SOL (BF16 tensor: 764.0 TFLOP/s); time 179.9 us")
    assert told.warnings == ()


def test_the_roofline_draws_the_roof_of_the_unit_and_no_other(run: Run) -> None:
    of_main = figures(run)[lambda frame: frame["case"] == "main"]
    drawn = roofs(run.manifest, of_main, roofs_of(run))
    assert {roof.name: roof.per_s for roof in drawn if roof.kind == "compute" and roof.measured} == {
        "BF16 tensor": RATE
    }


def test_causal_attention_is_told_by_the_products_that_it_needs(run: Run) -> None:
    share = sol_pct("causal", 1429.0)
    row, told = of(figures(run), select(run, "v0", "causal")), advise(run, select(run, "v0", "causal"))
    assert (row["sol_pct"], told.sol_pct) == pytest.approx((share, share))
    assert 40 < share < 50  # counted whole it would be twice that, and FlashAttention's best "suspect"
    assert row["achieved_per_s"] == pytest.approx(384.7e12, rel=1e-3)
    assert (told.stage, told.stop) == ("pipelining", False)
    assert told.gain_at_most is not None
    assert told.gain_at_most > 1429.0 / 925.5  # cuDNN's own time is within the bound
    assert sol_pct("causal", 925.5) < STOP_PCT


def test_the_suite_ranks_by_the_term_that_binds_each_case(run: Run) -> None:
    every = suite(run.manifest, run.timings, roofs_of(run))
    assert list(every["sol_binds"]) == ["BF16 tensor", "BF16 tensor"]
    at = standing(every, strictly=True)
    assert at is not None
    assert at.geomean_pct == pytest.approx((sol_pct("main", 179.9) * sol_pct("causal", 1429.0)) ** 0.5)


def test_without_measured_roofs_the_datasheet_bounds_from_below(run: Run, tmp_path: Path) -> None:
    alone = read_run(shutil.copytree(run.folder, tmp_path / "run"))
    told = advise(alone, select(alone, "v0", "main"))
    assert told.sol_pct == pytest.approx(100 * MATMUL / 989.4e12 * 1e6 / 179.9)
    assert "datasheet" in told.sol_source


def test_on_a_gpu_that_nobody_measured_or_published_the_term_is_missing_and_said_so(run: Run, tmp_path: Path) -> None:
    folder = shutil.copytree(run.folder, tmp_path / "run")
    machine = msgspec.structs.replace(run.manifest.machine, gpu="NVIDIA Unheard")
    write_manifest(folder, msgspec.structs.replace(run.manifest, machine=machine))
    alone = read_run(folder)
    told = advise(alone, select(alone, "v0", "main"))
    assert (told.sol_pct, told.stop) == (None, False)
    assert advice_text(told, []).distance.startswith("SOL % is unknown; time 179.9 us; no term of BF16 tensor")
    data = report_data(alone.manifest, alone.metrics, alone.timings, alone.compiled)
    assert columns.table("summary", data.main).texts[0][3:6] == ["-", "-", "-"]
    assert "SOL % unknown, bottleneck Tensor pipe" in headline(data)
    (found,) = judge_gate(GateRules(min_sol=0.1, cases=("main",)), "v0_dot", data.summary, None, None)
    assert found.status == "not judged"

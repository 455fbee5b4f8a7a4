"""Imports: the seed's metrics and a foreign report become runs that say what is unknown and lose nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rooflift.ncu.metrics import METRICS
from rooflift.ncu.report import read_reports
from rooflift.runs.find import newest_run
from rooflift.runs.run import read_run
from rooflift.runs.verify import sha256
from rooflift.schema import UNKNOWN

FIXTURES = Path(__file__).parent / "fixtures"
SEED = FIXTURES / "rtx4090_metrics.json"
FOREIGN = FIXTURES / "h100_flat_depthwise.ncu-rep"
LABEL = ["--operator", "depthwise_conv2d", "--version", "v0", "--gpu", "rtx4090"]
SEED_NAMES = ["sm_pct", "grid_size", "warps_active_pct", "dram_pct", "l2_hit_pct"]

Rooflift = Callable[..., Any]


@pytest.fixture
def imported(rooflift: Rooflift, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that imports a file, or the JSON text of one, and gives the run folder."""

    def run(what: Path | str, *words: str) -> Path:
        if isinstance(what, str):
            (tmp_path / "metrics.json").write_text(what)
            what = tmp_path / "metrics.json"
        out = tmp_path / "run"
        said = rooflift("import", what, *words, "--out", out)
        assert said.code == 0, said.err
        return out

    return run


def values(folder: Path) -> pd.Series[Any]:
    """The values of a run with one launch, by metric."""
    return read_run(folder).metrics.set_index("metric")["value"]


def test_the_seeds_metrics_become_a_run_with_machine_and_origin(imported: Callable[..., Path]) -> None:
    run = read_run(imported(SEED, *LABEL))
    manifest = run.manifest
    assert (manifest.operator, [v.version for v in manifest.versions]) == ("depthwise_conv2d", ["v0_baseline"])
    assert (manifest.machine.gpu, manifest.machine.sm_count) == ("NVIDIA GeForce RTX 4090", 128)
    assert manifest.origin is not None
    assert (manifest.origin.file, manifest.origin.sha256) == (SEED.name, sha256(SEED))
    given = json.loads(SEED.read_text())["depthwise_conv2d_kernel"]
    assert values(run.folder)[SEED_NAMES].tolist() == list(given.values())
    assert len(run.metrics) == len(METRICS)
    assert set(run.metrics["kernel"]) == {"depthwise_conv2d_kernel"}


def test_what_nobody_says_stays_unknown_and_says_so(rooflift: Rooflift, tmp_path: Path) -> None:
    said = rooflift("import", SEED, *LABEL, "--out", tmp_path / "run")
    assert "Unknown: case, dtype, compulsory traffic, software." in said.err
    manifest = read_run(tmp_path / "run").manifest
    assert {manifest.machine.driver, manifest.machine.triton, manifest.clock_control} == {UNKNOWN}
    assert manifest.machine.memory_bytes is None
    assert manifest.cases == []
    assert manifest.versions[0].expect == []  # predictions that were made for other measurements


def test_on_the_imported_seed_the_advice_is_that_the_grid_cannot_pay(
    imported: Callable[..., Path], rooflift: Rooflift
) -> None:
    folder = imported(SEED, *LABEL)
    said = rooflift("advise", folder, "v0")
    assert said.code == 0
    assert "Stage grid:     does not address the bottleneck, DRAM" in said.out
    assert "none: the run holds no report" in said.out
    told = json.loads(rooflift("advise", folder, "v0", "--json").out)
    assert told["time_us"] is None
    assert told["stage"] == "memory"


def test_a_case_that_the_family_recorded_brings_its_compulsory_bytes(imported: Callable[..., Path]) -> None:
    manifest = read_run(imported(SEED, *LABEL, "--case", "main", "--dtype", "float32")).manifest
    assert [case.compulsory_bytes for case in manifest.cases] == [2139113728]
    assert "The compulsory traffic is that of run" in " ".join(manifest.notes)


def test_a_case_without_a_version_is_read_without_its_compulsory_bytes(
    imported: Callable[..., Path], rooflift: Rooflift
) -> None:
    folder = imported(SEED, "--operator", "depthwise_conv2d", "--case", "main", "--dtype", "float32")
    said = rooflift("advise", folder, "--case", "main")
    assert said.code == 0
    assert "unnamed version main float32" in said.out


def test_a_foreign_report_is_kept_and_names_its_gpu_itself(
    imported: Callable[..., Path], rooflift: Rooflift, tmp_path: Path
) -> None:
    folder = imported(FOREIGN)
    run = read_run(folder)
    assert run.manifest.machine.gpu == "NVIDIA H100 80GB HBM3"
    assert (run.manifest.machine.sm_count, run.manifest.machine.memory_bytes) == (132, 85017493504)
    assert run.manifest.operator == UNKNOWN
    assert [version.version for version in run.manifest.versions] == ["v0_depthwise_conv2d_kernel"]
    assert "operator, case" in " ".join(run.manifest.notes)
    assert [path.name for path in run.reports] == [FOREIGN.name]
    straight = read_reports([FOREIGN], FOREIGN.parent)
    assert values(folder).dropna().to_dict() == straight.set_index("metric")["value"].dropna().to_dict()
    said = rooflift("advise", folder)
    assert "v0_depthwise_conv2d_kernel" in said.out
    assert "made with metrics alone" in said.out


def test_a_report_overrules_the_gpu_that_the_caller_names(imported: Callable[..., Path]) -> None:
    manifest = read_run(imported(FOREIGN, "--gpu", "rtx4090")).manifest
    assert manifest.machine.gpu == "NVIDIA H100 80GB HBM3"
    assert any("--gpu says NVIDIA GeForce RTX 4090" in text for text in manifest.notes)


def test_a_report_of_rooflift_keeps_its_own_names_and_takes_no_others(
    imported: Callable[..., Path], rooflift: Rooflift, h100_report: Path, tmp_path: Path
) -> None:
    run = read_run(imported(h100_report, "--operator", "depthwise_conv2d"))
    assert [version.version for version in run.manifest.versions] == ["v0_baseline", "v1_grid"]
    assert [case.case for case in run.manifest.cases] == ["main"]
    assert "0.994x the compulsory bytes" in rooflift("advise", run.folder, "v0").out
    said = rooflift("import", h100_report, *LABEL, "--out", tmp_path / "other")
    assert said.code == 2
    assert "v0_baseline, v1_grid" in said.err
    assert not (tmp_path / "other").exists()


def test_metrics_that_the_registry_lacks_are_kept_under_their_ncu_names(imported: Callable[..., Path]) -> None:
    folder = imported('{"k": {"dram__throughput.max": 12.5, "launch__grid_size": 7, "odd": null}}')
    assert values(folder)["dram__throughput.max"] == 12.5
    assert values(folder)["grid_size"] == 7
    rows = read_run(folder).metrics.set_index("metric")
    assert rows.loc["odd", "missing"] == "null in the file"
    assert rows.loc["sm_pct", "missing"] == "not in the file"
    assert any("dram__throughput.max, odd" in note for note in read_run(folder).manifest.notes)


def test_of_two_names_of_one_metric_none_is_lost(imported: Callable[..., Path]) -> None:
    pct = "throughput.avg.pct_of_peak_sustained_elapsed"
    found = values(imported(json.dumps({"k": {f"gpu__dram_{pct}": 1, f"dram__{pct}": 2}})))
    assert (found["dram_pct"], found[f"gpu__dram_{pct}"]) == (2, 1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{}", "no kernel"),
        ('{"k": {}}', "a kernel without a metric"),
        ('{"k": 3}', "kernel 'k': expected its metrics, got a number"),
        ("[1]", "record 0 is a number, no launch"),
        ('{"k": {"m": 1}', "metrics.json"),
    ],
)
def test_a_file_of_another_form_is_refused_with_the_form(
    rooflift: Rooflift, tmp_path: Path, text: str, says: str
) -> None:
    (tmp_path / "metrics.json").write_text(text)
    said = rooflift("import", tmp_path / "metrics.json", *LABEL, "--out", tmp_path / "run")
    assert said.code == 2
    assert says in said.err
    assert '{"kernel": {"ncu name": number}}' in said.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["missing.ncu-rep"], "missing.ncu-rep: no such file"),
        ([SEED, "--gpu", "rtx409"], "Did you mean rtx4090"),
        ([SEED, "--operator", "depthwise"], "Did you mean depthwise_conv2d"),
        ([SEED, "--operator", "depthwise_conv2d", "--version", "v77"], "no version 'v77'"),
        ([SEED, "--operator", "depthwise_conv2d", "--case", "mian"], "no case 'mian'"),
        ([SEED, "--dtype", "fp16"], "no dtype 'fp16'"),
    ],
)
def test_a_wrong_question_exits_2_with_a_remedy(
    rooflift: Rooflift, tmp_path: Path, words: list[str | Path], says: str
) -> None:
    said = rooflift("import", *words, "--out", tmp_path / "run")
    assert said.code == 2
    assert says in said.err


def test_a_run_is_never_overwritten(imported: Callable[..., Path], rooflift: Rooflift) -> None:
    folder = imported(SEED, *LABEL)
    before = (folder / "run.json").read_bytes()
    said = rooflift("import", SEED, "--out", folder)
    assert said.code == 2
    assert "exists" in said.err
    assert (folder / "run.json").read_bytes() == before


def test_show_prints_an_import_and_report_says_that_it_has_no_times(
    imported: Callable[..., Path], rooflift: Rooflift
) -> None:
    folder = imported(SEED, *LABEL)
    said = rooflift("show", folder)
    assert said.code == 0
    assert "59.89" in said.out
    assert "no times" in said.out
    refused = rooflift("report", folder)
    assert refused.code == 2
    assert "was imported" in refused.err


def test_an_import_is_no_familys_newest_run(imported: Callable[..., Path], h100_run: Path, tmp_path: Path) -> None:
    operator = tmp_path / "reports" / "depthwise_conv2d"
    shutil.copytree(h100_run, operator / "measured")
    shutil.copytree(imported(SEED, *LABEL), operator / "imported")
    assert newest_run(tmp_path / "reports", "depthwise_conv2d").folder.name == "measured"


def test_an_import_counts_where_nothing_was_measured(
    imported: Callable[..., Path], rooflift: Rooflift, checkout: Path, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    shutil.copytree(checkout / "kernels" / "softmax", project / "kernels" / "softmax")
    report = FIXTURES / "foreign" / "r01_gh200_l1_bound_basic.ncu-rep.gz"
    shutil.copytree(
        imported(report, "--operator", "softmax", "--version", "v0"), project / "reports" / "softmax" / "theirs"
    )
    assert "imported from ncu-rep" in rooflift("runs", "softmax", "--root", project).out
    assert rooflift("show", "softmax", "--root", project).code == 0
    assert "Bottleneck:     L1" in rooflift("advise", "softmax", "v0", "--root", project).out
    said = rooflift("prompt", "softmax", "v0", "--stage", "memory", "--gpu", "h100", "--root", project)
    assert said.code == 0, said.err
    assert "its compulsory bytes are unknown" in said.out
    assert "imported from r01_gh200_l1_bound_basic.ncu-rep.gz" in said.out
    assert str(tmp_path) not in said.out


# --- ladders of reports, and of the kernels of one

LADDER = FIXTURES / "foreign" / "r03_a10g_sgemm_ladder_11_launches.ncu-rep.gz"
REPEATED = FIXTURES / "foreign" / "r15_rtx2060maxq_warps_104.ncu-rep.gz"
MIXED = FIXTURES / "foreign" / "r05_h800_flash_fwd_nan.ncu-rep.gz"


def test_kernels_of_one_report_are_a_ladder_with_ncus_durations(
    imported: Callable[..., Path], rooflift: Rooflift, tmp_path: Path
) -> None:
    folder = imported(LADDER, "--by-kernel")
    run = read_run(folder)
    assert [v.version for v in run.manifest.versions][:2] == ["v0_basic", "v1_gmem_coalesce_32"]
    times = run.timings.set_index("provider")
    assert (times.loc["v0_basic", "median_us"], times.loc["v9_ampere_sgemm_128x64_nn", "n"]) == (10776.576, 2)
    assert any(note.startswith("Times are gpu__time_duration") for note in run.manifest.notes)
    assert run.manifest.machine.ncu == "2023.1.1.0"
    shown = rooflift("show", folder).out
    for words in ("72.38x", "v1_gmem_coalesce_32: LSU pipe", "Times are gpu__time_duration"):
        assert words in shown
    advice = json.loads(rooflift("advise", folder, "v0", "--json").out)
    assert (advice["bottleneck"], advice["stage"], advice["time_us"]) == ("L1", "memory", 10776.576)
    shares = {share["metric"]: share["ncu_name"] for share in advice["shares"]}
    assert shares["l1_sol_pct"].startswith("l1tex__data_pipe_lsu_wavefronts.")
    assert "too few samples (1 and 1)" in rooflift("compare", f"{folder}:v1", ":v2").out
    assert rooflift("gate", folder, "--max-registers", "255").code == 0
    told = rooflift("report", folder, "--out", tmp_path / "told")
    assert told.code == 0, told.err
    assert {"report.md", "report.html", "roofline.svg"} <= {path.name for path in (tmp_path / "told").iterdir()}


def test_several_files_are_the_versions_of_one_ladder(rooflift: Rooflift, tmp_path: Path) -> None:
    for name, launch in (("first", 0), ("second", 7)):
        text = {"gemm": {"gpu__time_duration.sum": 1000 - 100 * launch, "launch__registers_per_thread": 32 + launch}}
        (tmp_path / f"{name}.json").write_text(json.dumps(text))
    files = [tmp_path / "first.json", tmp_path / "second.json"]
    out = tmp_path / "run"
    assert rooflift("import", *files, "--as", "v0,v1_wide", "--out", out).code == 0
    run = read_run(out)
    assert list(run.timings["provider"]) == ["v0_first", "v1_wide"]
    assert list(run.timings["median_us"]) == [1.0, 0.3]
    assert run.manifest.origin is not None
    assert run.manifest.origin.files == {"second.json": sha256(files[1])}
    for words in (["--as", "v0"], ["--by-kernel"]):
        assert rooflift("import", *files, *words, "--out", tmp_path / "other").code == 2
    two = rooflift("import", LADDER, REPEATED, "--as", "v0,v1", "--out", tmp_path / "other")
    assert (two.code, "several GPUs" in two.err) == (2, True)


def test_repeats_count_as_medians_and_other_kernels_are_told(imported: Callable[..., Path]) -> None:
    run = read_run(imported(REPEATED, "--version", "v0_packed"))
    assert list(run.timings["n"]) == [1]  # of the last launch's grid there is one
    notes = " ".join(run.manifest.notes)
    assert "v0_packed is the sum of 2 kernels, repeats as medians" in notes
    assert "takes 93 % of the time" in notes


def test_launches_are_picked_before_they_are_imported(imported: Callable[..., Path]) -> None:
    run = read_run(imported(MIXED, "--kernel", "distribution", "--skip", "1"))
    assert run.metrics["kernel"].nunique() == 1
    assert run.metrics.groupby("version")["launch"].nunique().tolist() == [1, 2]


def test_report_of_a_gpu_without_a_spec_has_flop_and_roofs(imported: Callable[..., Path], rooflift: Rooflift) -> None:
    """A full report counts FLOP by rates; the H800 has no data sheet here, and its report says what it is."""
    import rooflift as rl

    run = rl.open(imported(MIXED, "--kernel", "distribution"))
    roofs = {roof.name: roof for roof in run.roofline().roofs}
    assert roofs["DRAM"].per_s == pytest.approx(3.35e12, rel=0.01)
    assert roofs["FP32"].per_s == pytest.approx(66.9e12, rel=0.01)
    assert roofs["FP32"].source == "the driver's clocks"
    point = run.summary().iloc[0]
    assert point["flop"] > 1e8
    assert 0 < point["flops_per_s"] < roofs["FP32"].per_s
    told = rooflift("advise", run.folder)
    assert "v0_distribution" in told.out  # of two kernels the one with most of the time
    assert "Launch 4" not in told.out


def test_report_of_nothing_but_nan_has_no_stage_and_shows_ncus_error(
    imported: Callable[..., Path], rooflift: Rooflift
) -> None:
    folder = imported(FIXTURES / "foreign" / "r10_a100_all_nan_rule_errors.ncu-rep.gz")
    said = rooflift("advise", folder)
    assert (said.code, said.err) == (0, "")
    for words in ("the values are not numbers", "no stage addresses this bottleneck", "returned an error: Metric"):
        assert words in said.out
    assert "erroror" not in said.out


def test_hot_spots_of_an_import_are_those_of_its_kernel(imported: Callable[..., Path], rooflift: Rooflift) -> None:
    folder = imported(MIXED, "--kernel", "distribution")
    said = rooflift("hotspots", folder, "v0")
    assert said.code == 0, said.err
    assert "v0_distribution" in said.out

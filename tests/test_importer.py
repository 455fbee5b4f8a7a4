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
    assert "Stage grid:     cannot pay: the bottleneck is DRAM" in said.out
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
    assert (run.manifest.operator, run.manifest.versions) == (UNKNOWN, [])
    assert "operator, version, case" in " ".join(run.manifest.notes)
    assert [path.name for path in run.reports] == [FOREIGN.name]
    straight = read_reports([FOREIGN], FOREIGN.parent)
    assert values(folder).dropna().to_dict() == straight.set_index("metric")["value"].dropna().to_dict()
    said = rooflift("advise", folder)
    assert "unnamed version" in said.out
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
        ("", "metrics.json"),
        ("{}", "no kernel"),
        ('{"k": {}}', "a kernel without a metric"),
        ('{"k": {"m": "12"}}', "Expected `float | null`, got `str`"),
        ('{"k": 3}', "Expected `object`, got `int`"),
        ("[1]", "Expected `object`"),
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

"""Committed runs are rendered again in place: what was measured stays, to the byte, and a fault stops it."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import ModuleType

import pytest

from rooflift.compile.module import load_module
from rooflift.runs.run import read_run
from rooflift.runs.verify import sha256, verify, write_manifest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def rerender() -> ModuleType:
    return load_module(ROOT / "scripts" / "rerender.py")


@pytest.fixture
def run_copy(h100_run: Path, tmp_path: Path) -> Path:
    """A sealed copy of the H100 run, with texts and figures of another day."""
    folder = Path(shutil.copytree(h100_run, tmp_path / "reports" / "depthwise_conv2d" / "run"))
    (folder / "report.md").write_text("of another day")
    (folder / "roofline.png").write_text("of another day")
    write_manifest(folder, read_run(h100_run).manifest)
    return folder


def test_rendered_run_is_whole_and_what_was_measured_is_as_before(rerender: ModuleType, run_copy: Path) -> None:
    before = {path: sha256(path) for path in (*run_copy.glob("*.csv"), *run_copy.glob("*.parquet"))}
    manifest = read_run(run_copy).manifest
    rerender.rerender(run_copy)
    assert verify(run_copy).whole
    assert {path: sha256(path) for path in before} == before
    assert rerender.unsealed(read_run(run_copy).manifest) == rerender.unsealed(manifest)
    assert "v1_grid" in (run_copy / "report.md").read_text(encoding="utf-8")
    assert {path.name for path in run_copy.iterdir() if path.suffix in (".svg", ".png")} == {
        *("progress.svg", "roofline.svg", "bottleneck.svg", "stalls.svg")
    }


def test_run_that_is_not_whole_is_left_as_it_is(rerender: ModuleType, run_copy: Path) -> None:
    (run_copy / "timings.csv").write_text("altered")
    with pytest.raises(SystemExit, match=r"timings\.csv altered"):
        rerender.rerender(run_copy)
    assert (run_copy / "report.md").read_text() == "of another day"


def test_run_without_its_report_is_whole_and_names_what_was_dropped(rerender: ModuleType, run_copy: Path) -> None:
    [report] = read_run(run_copy).reports
    digest, metrics = sha256(report), read_run(run_copy).metrics
    rerender.drop_reports(run_copy)
    run = read_run(run_copy)
    assert verify(run_copy).whole
    assert run.reports == []
    assert run.metrics.equals(metrics)
    assert run.manifest.notes[-1] == f"Its Nsight Compute report {report.name} is not kept here (SHA-256 {digest})."
    rerender.rerender(run_copy)
    assert digest in (run_copy / "report.md").read_text(encoding="utf-8")

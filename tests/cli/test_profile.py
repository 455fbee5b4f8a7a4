"""`rooflift profile` without a GPU, as typed."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rooflift.pipeline import Rendered
from rooflift.report.data import report_data
from rooflift.runs.run import read_run

Rooflift = Callable[..., Any]


def listing(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.usefixtures("no_gpu")
def test_profile_without_a_gpu_renders_the_newest_run_again(
    rooflift: Rooflift, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)  # as on a user's machine
    before = listing(project)
    said = rooflift("profile", "depthwise_conv2d", folder=project)
    assert said.code == 0
    assert "No NVIDIA GPU" in said.err
    for words in (
        *("on NVIDIA H100 80GB HBM3", "2.015 ms", "1.011 ms", "Issue Slots", "measured on NVIDIA H100 80GB HBM3"),
        *("Compiled here for sm_89 (RTX 4090) and sm_90 (H100)", "1 comparisons with the reference in float64 agree"),
    ):
        assert words in said.out
    assert "--all-versions checks and compiles the other 1 versions, too" in said.out
    compiled = said.out.partition("Compiled here")[2]
    assert "v1_grid" in compiled
    assert "v0_baseline" not in compiled
    after = listing(project)
    made = {name for name in after if name not in before}
    assert {name: digest for name, digest in after.items() if name in before} == before
    assert {name.removeprefix("build/depthwise_conv2d/h100_run/") for name in made} == {
        *("report.md", "progress.svg", "roofline.svg", "bottleneck.svg", "stalls.svg")
    }


@pytest.mark.slow
@pytest.mark.usefixtures("no_gpu")
def test_profile_without_a_gpu_and_without_a_run_checks_what_it_can_and_ends_with_2(
    rooflift: Rooflift, project: Path
) -> None:
    shutil.rmtree(project / "reports")
    before = listing(project)
    said = rooflift("profile", "depthwise_conv2d", "-v", "v0", "--json", folder=project)
    assert said.code == 2
    assert "depthwise_conv2d has no run yet" in said.err
    assert "Traceback" not in said.err
    assert listing(project) == before
    found = json.loads(said.out)  # one document, not two
    assert "no run yet" in found["message"]
    assert found["remedy"]
    assert "checking v0_baseline on small float32" in said.err


@pytest.mark.usefixtures("no_gpu")
def test_profile_without_a_gpu_does_not_write_into_a_folder_that_exists(rooflift: Rooflift, project: Path) -> None:
    """A run folder, say: what was measured stays what it was."""
    before = listing(project)
    said = rooflift("profile", "depthwise_conv2d", "--out", "reports/depthwise_conv2d/h100_run", folder=project)
    assert listing(project) == before
    assert said.code == 2


@pytest.mark.usefixtures("no_gpu")
def test_profile_into_a_folder_that_cannot_be_made_is_no_crash(rooflift: Rooflift, project: Path) -> None:
    (project / "file").touch()
    said = rooflift("profile", "depthwise_conv2d", "--out", "file/run", folder=project)
    assert said.code == 2
    assert "file/run" in said.err


@pytest.mark.usefixtures("no_gpu")
def test_profile_refuses_a_run_whose_report_and_table_disagree(rooflift: Rooflift, project: Path) -> None:
    table = project / "reports" / "depthwise_conv2d" / "h100_run" / "metrics.csv"
    text = table.read_text()
    assert ",grid_size,1040400.0," in text
    table.write_text(text.replace(",grid_size,1040400.0,", ",grid_size,1040401.0,"))
    said = rooflift("profile", "depthwise_conv2d", folder=project)
    assert said.code == 2
    assert "v0_baseline grid_size is 1040400.0 in the report and 1040401.0 in the table" in said.err


def test_profile_prints_the_run_that_it_made_with_its_notes_and_files(
    rooflift: Rooflift, project: Path, altered: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = altered(notes=["torch_compile is left out (KernelFault) on main float32."])
    run = read_run(folder)
    made = Rendered(folder, report_data(run.manifest, run.metrics, run.timings, run.compiled), [])
    monkeypatch.setattr("rooflift.pipeline.profile", lambda *_: made)
    said = rooflift("profile", "depthwise_conv2d", folder=project)
    assert said.code == 0, said.err
    assert "v1_grid" in said.out
    files = sorted(str(path) for path in folder.rglob("*") if path.is_file())
    assert f"Wrote {folder} ({len(files)} files)" in said.out
    assert "torch_compile is left out" in said.err
    found = json.loads(rooflift("profile", "depthwise_conv2d", "--json", folder=project).out)
    assert found["written"] == files
    assert [row["version"] for row in found["summary"]] == ["v0_baseline", "v1_grid"]

"""The README's picture and table are what the newest committed run gives."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from rooflift.compile.module import load_module
from rooflift.runs.run import read_run

ROOT = Path(__file__).parents[1]


def test_table_and_picture_come_from_the_newest_run() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/readme.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_what_the_advice_was_worth_is_what_the_newest_runs_give() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/advice.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_operator_has_its_row_with_the_newest_h100_run_that_counted_metrics(
    suite_run: Path, h100_run: Path, tmp_path: Path
) -> None:
    readme = load_module(ROOT / "scripts" / "readme.py")
    for name in ("depthwise_conv2d", "softmax"):
        shutil.copytree(ROOT / "kernels" / name, tmp_path / "kernels" / name)
    operator = tmp_path / "reports" / "depthwise_conv2d"
    for source, name, created, gpu in (
        (h100_run, "old", "2026-11-20T08:00:00Z", "NVIDIA H100 80GB HBM3"),
        (h100_run, "new", "2026-11-21T08:00:00Z", "NVIDIA H100 80GB HBM3"),
        (h100_run, "another_gpu", "2026-11-22T08:00:00Z", "NVIDIA H200"),
        (suite_run, "times_alone", "2026-11-23T08:00:00Z", "NVIDIA H100 80GB HBM3"),
    ):
        shutil.copytree(source, operator / name)
        manifest = read_run(source).manifest
        machine = msgspec.structs.replace(manifest.machine, gpu=gpu)
        manifest = msgspec.structs.replace(manifest, created=created, machine=machine)
        (operator / name / "run.json").write_bytes(msgspec.json.encode(manifest))
    rows = {line.split(" | ")[0].strip("| "): line for line in readme.table(tmp_path).splitlines()}
    assert rows["depthwise_conv2d"].startswith(
        "| depthwise_conv2d | main float32 | v1_grid | 1.011 ms | 70.8 | 1.99x |"
    )
    assert rows["depthwise_conv2d"].endswith("| [2026-11-21](reports/depthwise_conv2d/new/report.md) |")
    assert rows["softmax"].endswith("| not measured yet |")


def test_readme_is_short_and_its_first_screen_says_what_it_is() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    assert [line for line in lines[:12] if line.startswith("$ ")] == [
        line for line in lines if line.startswith("$ ./scripts/")
    ]


def test_links_and_paths_lead_to_files_of_the_project() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    named = "".join(page.read_text(encoding="utf-8") for page in pages)
    paths = re.findall(r"\b(?:tests|profiling|scripts|benchmarks)/[\w./]*\w\.(?:py|toml|json)", named)
    assert links
    assert paths
    assert [link for link in (*links, *paths) if not (ROOT / link).exists()] == []

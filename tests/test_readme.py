"""The README's picture and table are what the newest committed run gives."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import msgspec

from rooflift.compile.module import load_module
from rooflift.runs.run import read_run

ROOT = Path(__file__).parents[1]


def test_table_and_picture_come_from_the_newest_run() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/readme.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_suite_is_that_of_the_newest_h100_run_that_has_one(suite_run: Path, h100_run: Path, tmp_path: Path) -> None:
    readme = load_module(ROOT / "scripts" / "readme.py")
    operator = tmp_path / "reports" / readme.OPERATOR
    assert readme.suite_block(tmp_path / "reports") == []
    for source, name, created, gpu in (
        (suite_run, "old", "2026-11-20T08:00:00Z", "NVIDIA H100 80GB HBM3"),
        (suite_run, "new", "2026-11-21T08:00:00Z", "NVIDIA H100 80GB HBM3"),
        (suite_run, "another_gpu", "2026-11-22T08:00:00Z", "NVIDIA H200"),
        (h100_run, "everyday", "2026-11-23T08:00:00Z", "NVIDIA H100 80GB HBM3"),
    ):
        shutil.copytree(source, operator / name)
        manifest = read_run(source).manifest
        machine = msgspec.structs.replace(manifest.machine, gpu=gpu)
        manifest = msgspec.structs.replace(manifest, created=created, machine=machine)
        (operator / name / "run.json").write_bytes(msgspec.json.encode(manifest))
    _, table, line = readme.suite_block(tmp_path / "reports")
    assert "| k5_large | 4 228, 2 114 | 80.0 |" in table
    assert line.startswith("**v1_grid** on main reaches 80.0 %")
    assert line.endswith(f"[All times](reports/{readme.OPERATOR}/new/report.md).")


def test_links_lead_to_files_of_the_project() -> None:
    import re

    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []

"""`rooflift show`, as typed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rooflift.project.operator import load_operator, operator_names

Rooflift = Callable[..., Any]


def test_without_a_name_operators_are_listed_with_versions_cases_and_runs(
    rooflift: Rooflift, checkout: Path, project: Path
) -> None:
    found = {entry["operator"]: entry for entry in json.loads(rooflift("show", "--json").out)}
    assert list(found) == operator_names(checkout)
    for name, entry in found.items():
        operator = load_operator(checkout, name)
        assert [version["version"] for version in entry["versions"]] == [version.name for version in operator.versions]
        assert entry["cases"].keys() == operator.cases.keys()
    said = rooflift("show", folder=project)
    assert said.code == 0
    for word in ("depthwise_conv2d", "v1_grid", "cases: main, small", "runs:  h100_run"):
        assert word in said.out


def test_operator_without_a_run_is_listed(rooflift: Rooflift, project: Path) -> None:
    shutil.rmtree(project / "reports")
    said = rooflift("show", "depthwise_conv2d", folder=project)
    assert said.code == 0
    assert "v1_grid" in said.out
    assert "`rooflift profile depthwise_conv2d` makes one" in said.err


def test_operator_that_is_half_made_hides_no_other(rooflift: Rooflift, project: Path) -> None:
    half = project / "kernels" / "half_made"
    half.mkdir()
    shutil.copy(project / "kernels" / "depthwise_conv2d" / "reference.py", half)
    said = rooflift("show", folder=project)
    assert said.code == 0
    assert "v1_grid" in said.out
    assert "cannot be read: " in said.out.split("half_made")[1]
    broken = json.loads(rooflift("show", "--json", folder=project).out)[1]
    assert (broken["operator"], "no version" in broken["error"]) == ("half_made", True)
    assert "v0_baseline.py" in broken["remedy"]
    shutil.rmtree(project / "kernels" / "depthwise_conv2d")
    assert rooflift("show", folder=project).code == 2


def test_show_works_from_any_folder_of_the_project(rooflift: Rooflift, project: Path) -> None:
    below = rooflift("show", folder=project / "reports" / "depthwise_conv2d")
    assert below == rooflift("show", folder=project) == rooflift("show", "--root", project, folder=Path("/"))


def test_show_prints_the_table_of_a_run_and_where_it_was_measured(rooflift: Rooflift, h100_run: Path) -> None:
    said = rooflift("show", h100_run)
    assert said.code == 0
    for words in ("on NVIDIA H100 80GB HBM3", "v0_baseline", "2.015 ms", "v1_grid", "1.99x", "driver 580.159.04"):
        assert words in said.out


def test_show_finds_a_run_by_its_name_and_by_its_operator(rooflift: Rooflift, project: Path) -> None:
    by_operator = rooflift("show", "depthwise_conv2d", "--json", folder=project)
    assert by_operator.code == 0
    assert by_operator == rooflift("show", "h100_run", "--json", folder=project)
    summary = json.loads(by_operator.out)["summary"]
    assert [(row["version"], row["time_us"]) for row in summary] == [("v0_baseline", 2015.152), ("v1_grid", 1011.424)]


def test_show_needs_no_project_for_a_run_folder_that_somebody_sent(
    rooflift: Rooflift, h100_run: Path, tmp_path: Path
) -> None:
    said = rooflift("show", h100_run, folder=tmp_path)
    assert (said.code, said.err) == (0, "")


def test_show_prints_the_metrics_of_any_report(rooflift: Rooflift, h100_report: Path) -> None:
    said = rooflift("show", h100_report)
    assert said.code == 0
    for words in ("depthwise_conv2d_kernel, launch 0 (v0_baseline main float32)", "NVIDIA H100 80GB HBM3", "dram_pct"):
        assert words in said.out
    rows = json.loads(rooflift("show", h100_report, "--json").out)
    assert {row["version"] for row in rows} == {"v0_baseline", "v1_grid"}
    assert all((row["value"] is None) == bool(row["missing"]) for row in rows)


@pytest.mark.parametrize(
    "content", [None, b"", b"no report", b"\x00" * 4096], ids=["missing", "empty", "text", "zeros"]
)
def test_show_of_what_is_no_report_names_the_file(rooflift: Rooflift, tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "odd.ncu-rep").write_bytes(content)
    said = rooflift("show", "odd.ncu-rep", folder=tmp_path)
    assert said.code == 2
    assert "odd.ncu-rep: " in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    ("manifest", "words"),
    [("", "run.json"), ('{"schema": 99}', "99"), ('{"schema": 1}', "run.json")],
    ids=["empty", "of another schema", "incomplete"],
)
def test_show_of_a_broken_run_says_what_is_wrong_with_it(
    rooflift: Rooflift, project: Path, manifest: str, words: str
) -> None:
    (project / "reports" / "depthwise_conv2d" / "h100_run" / "run.json").write_text(manifest)
    said = rooflift("show", "h100_run", folder=project)
    assert said.code == 2
    assert words in said.err
    assert "Traceback" not in said.err


def test_options_that_pick_launches_are_refused_for_a_run(rooflift: Rooflift) -> None:
    for words in (["--kernel", "softmax"], ["--launch", "0"], ["--last"], ["--metrics", "dram"]):
        said = rooflift("show", "softmax", *words)
        assert said.code == 2
        assert f"{words[0]} picks among the launches of a file" in said.err

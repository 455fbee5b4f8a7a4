"""`rooflift runs`, as typed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rooflift.runs.run import read_run
from rooflift.runs.verify import write_manifest

Rooflift = Callable[..., Any]


@pytest.fixture
def project(h100_run: Path, tmp_path: Path) -> Path:
    """A project with a whole run, one that was altered and one that cannot be read."""
    operator = tmp_path / "reports" / "depthwise_conv2d"
    (tmp_path / "kernels").mkdir()
    for name in ("whole", "altered", "unreadable"):
        shutil.copytree(h100_run, operator / name)
        write_manifest(operator / name, read_run(operator / name).manifest)
    with (operator / "altered" / "timings.csv").open("a") as file:
        file.write(" ")
    (operator / "unreadable" / "run.json").write_text("{")
    return tmp_path


def test_whole_run_ends_with_0_and_an_altered_one_with_1(rooflift: Rooflift, project: Path) -> None:
    whole = rooflift("runs", "--verify", "whole", "--root", project)
    assert (whole.code, whole.err) == (0, "")
    assert whole.out.splitlines()[0].endswith("depthwise_conv2d/whole: whole")
    altered = rooflift(
        "runs", "--verify", "whole", project / "reports" / "depthwise_conv2d" / "altered", "--root", project
    )
    assert altered.code == 1
    assert "  timings.csv: altered" in altered.out.splitlines()


@pytest.mark.parametrize("what", ["--all", "depthwise_conv2d"])
def test_all_runs_of_an_operator_or_project_are_verified(rooflift: Rooflift, project: Path, what: str) -> None:
    said = rooflift("runs", "--verify", what, "--root", project, "--json")
    assert said.code == 1
    found = {Path(run["run"]).name: run for run in json.loads(said.out)}
    assert {name: run["whole"] for name, run in found.items()} == {"whole": True, "altered": False, "unreadable": False}
    assert found["altered"]["faults"] == [{"file": "timings.csv", "what": "altered"}]
    assert found["unreadable"]["faults"][0]["file"] == "run.json"


@pytest.mark.parametrize(
    ("words", "said"), [(["nothing"], "no such run"), ([], "no run is named"), (["whole", "--all"], "and --all")]
)
def test_what_cannot_be_verified_ends_with_2(rooflift: Rooflift, project: Path, words: list[str], said: str) -> None:
    ended = rooflift("runs", "--verify", *words, "--root", project)
    assert ended.code == 2
    assert said in ended.err


def test_table_of_runs_has_every_run_and_says_which_cannot_be_read(rooflift: Rooflift, project: Path) -> None:
    said = rooflift("runs", "--root", project)
    assert said.code == 0, said.err
    rows = {line.split("│")[1].strip(): line for line in said.out.splitlines() if "│" in line}
    assert rows.keys() == {"whole", "altered", "unreadable"}
    for part in ("NVIDIA H100 80GB HBM3", "v0 v1", "standard", "measured"):
        assert part in rows["whole"]
    assert "unreadable cannot be read: " in said.out
    found = json.loads(rooflift("runs", "depthwise_conv2d", "--root", project, "--json").out)
    assert [row["run"] for row in found] == ["unreadable", "altered", "whole"]
    assert found[2]["versions"] == ["v0_baseline", "v1_grid"]
    assert found[2]["software"]["triton"] == "3.6.0"
    assert "Input data was truncated" in found[0]["error"]


def test_unknown_operator_is_refused(rooflift: Rooflift, project: Path) -> None:
    assert rooflift("runs", "depthwise", "--root", project).code == 2

"""`rooflift runs`, as typed."""

from __future__ import annotations

import gzip
import json
import shutil
import zipfile
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


def test_project_without_a_run_is_told_how_to_make_one(rooflift: Rooflift, tmp_path: Path) -> None:
    (tmp_path / "kernels").mkdir()
    said = rooflift("runs", "--root", tmp_path)
    assert (said.code, "`rooflift profile OPERATOR` makes one" in said.out) == (0, True)
    assert json.loads(rooflift("runs", "--root", tmp_path, "--json").out) == []
    assert rooflift("runs", "--verify", "--all", "--root", tmp_path).out == "No run to verify.\n"


def test_compressed_run_is_smaller_whole_and_read_as_before(rooflift: Rooflift, project: Path) -> None:
    folder = project / "reports" / "depthwise_conv2d" / "whole"
    commands = [
        ("show", folder, "--json"),
        ("advise", folder, "v1", "--json"),
        ("report", folder, "--out", project / "told", "--json", "--bundle"),
    ]
    before = [rooflift(*words).out for words in commands]
    report = folder / "ncu" / "depthwise_conv2d.ncu-rep"
    data = report.read_bytes()
    assert rooflift("runs", "--compress", "whole", "--root", project).code == 0
    assert not report.exists()
    packed = report.with_name("depthwise_conv2d.ncu-rep.gz").read_bytes()
    assert gzip.decompress(packed) == data  # what `gunzip` leaves for ncu-ui
    assert len(packed) < len(data) / 3
    assert [rooflift(*words).out for words in commands] == before
    assert "depthwise_conv2d.ncu-rep.gz" in str(zipfile.ZipFile(project / "told" / "whole.zip").namelist())
    assert rooflift("runs", "--verify", "whole", "--root", project).code == 0
    again = rooflift("runs", "--compress", "whole", "--root", project)
    assert "no report that is not in gzip" in again.out


def test_altered_run_is_not_sealed_anew(rooflift: Rooflift, project: Path) -> None:
    said = rooflift("runs", "--compress", "altered", "--root", project)
    assert said.code == 2
    assert "timings.csv: altered" in said.err
    assert rooflift("runs", "--verify", "altered", "--root", project).code == 1

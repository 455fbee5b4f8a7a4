"""The index of the runs, and the history that it answers: the best of each case and GPU, and what became slower."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rooflift as rl
from rooflift.runs import index
from rooflift.runs.run import read_run

Add = Callable[..., Path]


def history(root: Path) -> Any:
    return rl.runs(root=root).history()


def test_the_best_of_each_gpu_is_the_fastest_version_of_any_run_on_it(add: Add, tmp_path: Path) -> None:
    add(1), add(2, 0.8), add(3, 0.5, gpu="NVIDIA H200")
    best = history(tmp_path).best()
    main = best[(best["case"] == "main") & (best["dtype"] == best["dtype"].iloc[0])].set_index("gpu")
    assert main.loc["NVIDIA H200", "run"] == "day-3"
    other = main.drop("NVIDIA H200").iloc[0]
    assert (other["run"], other["runs"]) == ("day-2", 2)


def test_each_step_is_held_against_the_best_before_it(add: Add, tmp_path: Path) -> None:
    add(1), add(2, 0.8), add(3, 0.88)
    steps = history(tmp_path).table()
    steps = steps[(steps["case"] == "main") & (steps["dtype"] == steps["dtype"].iloc[0])]
    assert np.isnan(steps["time_x"].iloc[0])
    assert steps["time_x"].iloc[1:].tolist() == pytest.approx([0.8, 1.1])  # of the scales; CSV keeps all digits


@pytest.mark.parametrize(
    ("last", "slower"),
    [({"scale": 1.2}, 1), ({"scale": 1.001}, 0), ({"scale": 1.2, "gpu": "NVIDIA H200"}, 0), ({"versions": 1}, 0)],
    ids=["slower", "below the minimum effect", "another GPU", "of the first version alone"],
)
def test_a_newest_run_that_is_slower_is_told_and_what_cannot_be_compared_is_not(
    add: Add, tmp_path: Path, last: dict[str, Any], slower: int
) -> None:
    add(1), add(2, **last)
    found = history(tmp_path)
    assert (found.regressions()["case"] == "main").sum() == slower
    assert any("rooflift compare day-1:" in str(part) for part in found.parts()) == bool(slower)


def test_the_index_follows_the_folders_and_is_made_again_where_it_is_gone_or_damaged(add: Add, tmp_path: Path) -> None:
    first = add(1)
    before = history(tmp_path).record()
    kept = tmp_path / "build" / index.FILE
    assert kept.exists()
    kept.write_bytes(b"no database, but long enough to be taken for the head of one" * 4)
    assert history(tmp_path).record() == before
    kept.unlink()
    assert history(tmp_path).record() == before
    add(2, 0.8)
    assert set(history(tmp_path).table()["run"]) == {"day-1", "day-2"}
    shutil.rmtree(first)
    assert set(history(tmp_path).table()["run"]) == {"day-2"}


def test_only_what_changed_is_read_again(add: Add, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(1)
    history(tmp_path)
    read = []
    monkeypatch.setattr(index, "read_run", lambda folder, root: read.append(folder.name) or read_run(folder, root))
    add(2)
    history(tmp_path)
    history(tmp_path)
    assert read == ["day-2"]


def test_the_history_of_one_version_has_every_run_and_gpu(add: Add, tmp_path: Path, rooflift: Any) -> None:
    add(1), add(2, 0.5), add(3, 0.8, gpu="NVIDIA H200")
    found = rl.runs(root=tmp_path).history("v0").table()
    assert set(found["version"]) == {"v0_baseline"}
    assert list(zip(found["run"], found["gpu"].str.contains("H200"), strict=True)) == [
        *(("day-1", False), ("day-2", False), ("day-3", True))
    ]
    assert found["time_x"].iloc[1] == pytest.approx(0.5)
    said = rooflift("runs", "--history", "--version", "v0", "--root", tmp_path)
    assert "v0 over runs and GPUs" in said.out
    assert "0.500x" in said.out


def test_a_version_that_no_run_timed_is_named_with_what_is_near(add: Add, tmp_path: Path, rooflift: Any) -> None:
    add(1)
    said = rooflift("runs", "--history", "--version", "v0_base", "--root", tmp_path)
    assert said.code == 2
    assert "v0_baseline" in said.err
    assert rooflift("runs", "--version", "v0", "--root", tmp_path).code == 2

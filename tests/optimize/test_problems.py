"""The loop over a folder of problems: operators of a project of their own, one summary, resumed by the same command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Rooflift = Callable[..., Any]


def test_each_problem_of_a_folder_begins_with_its_reference_and_one_summary_tells_all(
    alone: Path,
    first: str,
    candidates: Callable[..., str],
    rooflift: Rooflift,
    tmp_path: Path,
) -> None:
    reference, level = (alone / "kernels" / "twice" / "reference.py").read_text(), tmp_path / "level1"
    level.mkdir()
    (level / "1_Twice.py").write_text(reference)
    (level / "2_Thrice.py").write_text(reference.replace("2 * x", "3 * x"))
    (level / "notes.py").write_text("")
    folder = tmp_path / "loops"  # no project is there, nor above
    words = ["optimize", level, "--root", tmp_path, "--out", folder, "--agent", candidates(first), "--repairs", "0"]
    words += ["--no-gpu", "--gpu", "h100", "--iterations", "1", "--stages", "memory", "--json"]
    said = rooflift(*words)
    assert said.code == 0, said.err
    told = json.loads(said.out)
    found = {one["operator"]: (one["correct"], one["kept"], one["ended"]) for one in told["operators"]}
    assert found == {
        "level1_1_twice": (True, 1, "every stage had its iterations"),
        "level1_2_thrice": (False, 0, "no candidate was right, and there is no first version"),
    }
    assert told["fast_p"] == {"0": 0.5}
    assert "1 with a correct candidate; nothing was timed" in (folder / "summary.md").read_text()
    assert "notes.py: no Model" in said.err
    assert "| level1_1_twice | 2 | True | 1 |" in (folder / "summary.md").read_text()
    kept = folder / "level1_1_twice" / "kernels" / "level1_1_twice" / "v0_algorithm.py"
    assert "def twice(x)" in kept.read_text()
    asked = len(list((tmp_path / "candidates" / "asked").iterdir()))
    again = rooflift(*words)
    assert json.loads(again.out) == told
    assert len(list((tmp_path / "candidates" / "asked").iterdir())) == asked  # nobody is asked again


def test_what_is_no_problem_leaves_nothing_behind_and_an_operators_folder_is_named(
    alone: Path, rooflift: Rooflift, tmp_path: Path
) -> None:
    (tmp_path / "notes.py").write_text("")
    words = ["--agent", "cat", "--no-gpu", "--gpu", "h100", "--root", alone, "--out", tmp_path / "loops"]
    said = rooflift("optimize", tmp_path / "notes.py", *words)
    assert (said.code, "no Model" in said.err) == (2, True)
    assert not (tmp_path / "loops").exists()
    for place in (alone / "kernels" / "twice", alone / "kernels" / "twice" / "reference.py"):
        said = rooflift("optimize", place, *words)
        assert said.code == 2
        assert "rooflift optimize twice" in said.err

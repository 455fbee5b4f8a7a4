"""Loops that begin with a reference alone, and stages that a loop chooses and passes over."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Rooflift = Callable[..., Any]

HEADER = '"""Two at once.\n\nStage:   first try\nChange:  all\nWhy:     begin\nExpect:  none\n"""\n'
AGENT = """
import os, sys
from pathlib import Path

prompt, folder = sys.stdin.read(), Path(__file__).parent
number, text = os.environ["ROOFLIFT_ITERATION"], (folder / "first.py").read_text()
(folder / f"asked-{number}.md").write_text(prompt)
Path(os.environ["ROOFLIFT_USAGE"]).write_text('{"tokens_in": 100, "tokens_out": 7, "cost_usd": 0.5}')
cut_off = number == "1" and "cut off" not in prompt
print("```python\\n" + (text[:99] if cut_off else text + "```"))
"""


def test_from_a_reference_alone_the_agent_writes_the_first_version(
    alone: Path, first: str, rooflift: Rooflift, tmp_path: Path
) -> None:
    (tmp_path / "first.py").write_text(HEADER + first)
    (tmp_path / "agent.py").write_text(AGENT)
    words = ["optimize", "twice", "--agent", f"{sys.executable} {tmp_path / 'agent.py'}", "--no-gpu", "--root", alone]
    missing = rooflift(*words)
    assert (missing.code, "--gpu" in missing.err) == (2, True)
    words += ["--gpu", "h100", "--out", tmp_path / "loop", "--iterations", "1", "--stages", "memory", "--repairs", "0"]
    said = rooflift(*words, "--keep", alone / "kernels" / "twice")
    assert said.code == 0, said.err
    # what was cut off is asked for again, and counts
    assert "300 tokens in, 21 tokens out, 1.5 USD for 2 candidates" in said.out
    # the same command tells it again, though the first version is the project's by now
    one, again = json.loads(rooflift(*words, "--json").out)["iterations"]
    assert (one["base"], one["version"], one["stage"]) == ("", "v0_algorithm", "algorithm")
    assert one["tokens_in"] == 200
    assert (again["base"], again["at"]) == ("v0_algorithm", "candidate")
    assert again["why"] == ["it is v0_algorithm without a change"]
    kept = (alone / "kernels" / "twice" / "v0_algorithm.py").read_text()
    assert kept == (HEADER + first).replace("first try", "algorithm")  # no ladder could be read with such a stage
    prompts = [(tmp_path / f"asked-{number}.md").read_text() for number in (1, 2)]
    assert "# twice: the first version" in prompts[0]
    assert "bytes of inputs alone" in prompts[0]
    assert "## Current version" not in prompts[0]
    assert "## Current version: v0_algorithm" in prompts[1]
    assert "compiled for" in prompts[1]  # nothing was measured: the compiler is asked


def test_a_first_version_that_never_comes_and_an_agent_that_cannot_write_one_are_told(
    alone: Path, candidates: Callable[..., str], rooflift: Rooflift, tmp_path: Path
) -> None:
    words = ["optimize", "twice", "--no-gpu", "--gpu", "h100", "--root", alone, "--repairs", "0"]
    searched = rooflift(*words, "--agent", "search")
    assert searched.code == 2
    assert "nothing to edit" in searched.err
    said = rooflift(*words, "--agent", candidates("prose"), "--iterations", "2", "--out", tmp_path / "loop", "--json")
    told = json.loads(said.out)
    assert [one["at"] for one in told["iterations"]] == ["lint", "agent"]
    assert told["stopped"] == "no candidate was right, and there is no first version"


def test_a_first_version_is_timed_alone_and_the_next_beside_it(
    project: Path,
    right: str,
    candidates: Callable[..., str],
    rooflift: Rooflift,
    recorded: Callable[[str], int],
    tmp_path: Path,
) -> None:
    for version in (project / "kernels" / "depthwise_conv2d").glob("v*.py"):
        version.unlink()
    texts = [right + f"# takes {time_us} us\n" for time_us in (500, 1500, 1600, 1200)]
    words = ["optimize", "depthwise_conv2d", "--agent", candidates(*texts), "--root", project, "--json"]
    said = rooflift(*words, "--out", tmp_path / "loop", "--stages", "grid", "--iterations", "1", "--candidates", "2")
    assert said.code == 0, said.err
    told = json.loads(said.out)
    assert [(one["at"], one["base"], one["version"]) for one in told["iterations"]] == [
        ("sol", "", ""),  # faster than the work of the case allows
        (None, "", "v0_algorithm"),
        ("verdict", "v0_algorithm", ""),
        (None, "v0_algorithm", "v1_grid"),
    ]
    assert told["iterations"][1]["time_us"] == pytest.approx(1500, rel=0.01)
    assert told["iterations"][1]["time_x"] is None
    assert recorded("v0_algorithm") > 0


def test_stages_whose_bottleneck_is_absent_are_passed_over(
    project: Path,
    right: str,
    candidates: Callable[..., str],
    rooflift: Rooflift,
    recorded: Callable[[str], int],
    tmp_path: Path,
) -> None:
    texts = [right + f"# takes {2300 + n} us\n" for n in range(9)]
    words = ["optimize", "depthwise_conv2d", "--agent", candidates(*texts), "--root", project]
    said = rooflift(*words, "--out", tmp_path / "loop", "--iterations", "1", "--json")
    assert said.code == 0, said.err
    told = json.loads(said.out)
    asked, passed = [one["stage"] for one in told["iterations"]], [one["stage"] for one in told["skipped"]]
    # Issue slots are the bottleneck, below half of SOL: the algorithm is in question, warps and stages are not
    assert asked == ["algorithm", "tiling", "memory"]
    assert passed == ["grid", "tuning"] * 2  # once more in the end
    assert "the bottleneck, Issue Slots" in told["skipped"][0]["why"]
    first = (tmp_path / "candidates" / "asked" / "001-0.md").read_text()
    assert "of SOL" in first.partition("Is another algorithm worth it?")[2].split("|")[0]
    again = rooflift(*words, "--out", tmp_path / "loop", "--iterations", "1", "--json")
    assert json.loads(again.out) == told

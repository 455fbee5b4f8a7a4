"""The loop with an agent that plays a fixed list: what is kept, what the agent is told, how it resumes."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from rooflift.runs.run import read_run

Rooflift = Callable[..., Any]
PLAY = Path(__file__).parent / "play.py"
FIXTURES = Path(__file__).parents[1] / "fixtures"
CASES = (FIXTURES / "two_cases.toml").read_text()


def listing(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.slow
def test_exactly_the_right_candidates_are_kept_and_the_others_say_why(
    project: Path, right: str, candidates: Callable[..., str], rooflift: Rooflift, tmp_path: Path
) -> None:
    dishonest = (FIXTURES / "candidates" / "bad" / "result_cached_on_self.txt").read_text()
    wrong = (FIXTURES / "optimize" / "wrong.txt").read_text()
    agent = candidates(wrong, dishonest, right, "", "```python\nimport torch\n")
    before = listing(project / "kernels")
    folder = tmp_path / "optimize"
    words = ["optimize", "depthwise_conv2d", "--agent", agent, "--no-gpu", "--stages", "grid,tiling", "--repairs", "0"]
    said = rooflift(
        *words, "--iterations", "3", "--root", project, "--out", folder, "--json", "--keep", tmp_path / "kept"
    )
    assert said.code == 0, said.err
    told = json.loads(said.out)
    assert [one["at"] for one in told["iterations"]] == [
        "evaluation",
        "lint",
        None,
        "candidate",
        "candidate",
        "agent",
    ]
    assert told["kept"] == ["v1_grid"]
    assert told["run"] is None
    assert told["iterations"][2]["flag"] == "not timed"
    assert told["iterations"][0]["why"][0].startswith("correctness: ")
    assert told["iterations"][1]["why"][0].startswith("line ")
    assert (folder / "kernels" / "depthwise_conv2d" / "v1_grid.py").read_text() == right
    assert listing(project / "kernels") == before
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["v0_grid.py"]
    # each prompt tells what went before, in words that an agent can use
    asked = sorted((tmp_path / "candidates" / "asked").iterdir())
    once, cut_off = [f"{number:03}-0.md" for number in range(1, 7)], ["005-1.md", "005-2.md"]
    assert [path.name for path in asked] == sorted([*once, *cut_off])  # a block without end is asked for again
    first, second = asked[0].read_text(), asked[1].read_text()
    assert "## Earlier iterations" not in first
    assert told["iterations"][0]["why"][0].split(";")[0] in second
    assert "kept as v1_grid" in (tmp_path / "candidates" / "asked" / "004-0.md").read_text()
    # a loop that ended prints its state again, and asks nobody
    again = rooflift(*words, "--iterations", "3", "--root", project, "--out", folder, "--json")
    assert json.loads(again.out)["iterations"] == told["iterations"]
    assert len(list((tmp_path / "candidates" / "asked").iterdir())) == 8
    other = rooflift(*words, "--iterations", "2", "--root", project, "--out", folder)
    assert other.code == 2
    assert "started with iterations 3, not 2" in other.err


def test_the_faster_candidates_are_kept_and_the_loop_ends_at_the_roof(
    project: Path,
    right: str,
    candidates: Callable[..., str],
    rooflift: Rooflift,
    recorded: Callable[[str], int],
    tmp_path: Path,
) -> None:
    texts = [right + f"# takes {time_us} us\n" for time_us in (2300, 2010, 1000, 500, 999, 720, 800)]
    folder = tmp_path / "optimize"
    words = ["optimize", "depthwise_conv2d", "--agent", candidates(*texts), "--root", project, "--out", folder]
    said = rooflift(*words, "--stages", "grid,tiling,memory", "--iterations", "3", "--json")
    assert said.code == 0, said.err
    told = json.loads(said.out)
    slower, same, kept, suspect, no_faster, last = told["iterations"]  # the seventh candidate was never asked for
    assert [one["at"] for one in told["iterations"]] == ["verdict", "verdict", None, "sol", "verdict", None]
    assert "main float32: slower, 1.141x the time of v0_baseline" in slower["why"][0]
    assert "within noise" in same["why"][0]
    assert suspect["flag"].startswith("Suspect: 143.2 % of SOL")
    assert suspect["base"] == no_faster["base"] == "v1_grid"
    assert told["kept"] == [kept["version"], last["version"]] == ["v1_grid", "v2_tiling"]
    assert last["time_x"] == pytest.approx(0.72, abs=0.001)
    assert told["stopped"] == "v2_tiling main float32 is at 99.4 % of SOL (memory)"
    final = read_run(folder / "reports" / "depthwise_conv2d" / "optimize")
    assert [v.version for v in final.manifest.versions] == ["v0_baseline", "v1_grid", "v2_tiling"]
    asked = (tmp_path / "candidates" / "asked" / "006-0.md").read_text()
    assert "## Current version: v1_grid" in asked
    assert "1000.0 us" in asked
    assert "143.2 % of SOL" in asked
    before = recorded("v2_tiling")
    rooflift(*words, "--stages", "grid,tiling,memory", "--iterations", "3")
    assert recorded("v2_tiling") == before  # nothing is measured twice


def test_a_time_that_does_not_come_again_and_traffic_that_is_too_little_are_not_kept(
    project: Path,
    right: str,
    candidates: Callable[..., str],
    rooflift: Rooflift,
    recorded: Callable[[str], int],
    tmp_path: Path,
) -> None:
    once = right + "# takes 1000 us\n# takes 2300 us again\n"
    less = right + "# takes 1000 us\n# moves a tenth\n"
    words = ["optimize", "depthwise_conv2d", "--agent", candidates(once, less), "--root", project]
    words += ["--out", tmp_path / "optimize", "--stages", "grid", "--iterations", "2", "--json"]
    said = rooflift(*words)
    assert said.code == 0, said.err
    told = json.loads(said.out)
    assert [one["at"] for one in told["iterations"]] == ["again", "traffic"]
    assert "DRAM moved" in told["iterations"][1]["why"][0]
    assert told["kept"] == []


def test_several_candidates_start_from_the_fastest_versions(
    project: Path,
    right: str,
    candidates: Callable[..., str],
    rooflift: Rooflift,
    recorded: Callable[[str], int],
    tmp_path: Path,
) -> None:
    texts = [right + f"# takes {time_us} us\n" for time_us in (1500, 1200, 1100, 1000)]
    words = ["optimize", "depthwise_conv2d", "--agent", candidates(*texts), "--root", project, "--json"]
    words += ["--out", tmp_path / "optimize", "--stages", "grid", "--iterations", "2", "--candidates", "2"]
    said = rooflift(*words, "--beam", "2")
    assert said.code == 0, said.err
    told = json.loads(said.out)["iterations"]
    assert [one["base"] for one in told] == ["v0_baseline", "v0_baseline", "v2_grid", "v1_grid"]
    assert [one["version"] for one in told] == ["v1_grid", "v2_grid", "v3_grid", "v4_grid"]
    asked = tmp_path / "candidates" / "asked"
    assert "## Current version: v1_grid" in (asked / "004-0.md").read_text()
    assert recorded("v2_grid") == 2  # beside its base, and again


def test_what_a_step_gained_is_told_in_the_prompts_of_later_loops(
    project: Path,
    right: str,
    candidates: Callable[..., str],
    rooflift: Rooflift,
    recorded: Callable[[str], int],
    tmp_path: Path,
) -> None:
    words = ["optimize", "depthwise_conv2d", "--root", project, "--stages", "grid", "--iterations", "1"]
    words += ["--agent", candidates(right + "# takes 1000 us\n")]
    assert rooflift(*words, "--out", tmp_path / "one").code == 0
    asked = tmp_path / "candidates" / "asked"
    assert "## Lessons" not in (asked / "001-0.md").read_text()
    assert rooflift(*words, "--out", tmp_path / "other").code == 0
    lessons = (asked / "001-1.md").read_text().partition("## Lessons: other steps of convolution operators")[2]
    assert "- depthwise_conv2d, grid: Grid: a 3-D grid" in lessons
    assert ": 0.496x the time" in lessons


def test_a_wrong_candidate_goes_back_with_the_evidence(
    project: Path, right: str, rooflift: Rooflift, tmp_path: Path
) -> None:
    (tmp_path / "right.py").write_text(right)
    agent = tmp_path / "agent.py"
    agent.write_text(
        "import sys\nfrom pathlib import Path\n"
        f"prompt, folder = sys.stdin.read(), Path({str(tmp_path)!r})\n"
        "if '## Repair' in prompt:\n"
        "    (folder / 'repair.md').write_text(prompt)\n"
        "    print((folder / 'right.py').read_text())\n"
        "else:\n"
        "    print('```python\\nimport torch  # ````\\n```')\n"
    )
    words = ["optimize", "depthwise_conv2d", "--agent", f"{sys.executable} {agent}", "--root", project, "--no-gpu"]
    said = rooflift(*words, "--out", tmp_path / "optimize", "--stages", "grid", "--iterations", "1", "--json")
    assert said.code == 0, said.err
    (told,) = json.loads(said.out)["iterations"]
    assert (told["version"], told["repairs"]) == ("v1_grid", 1)
    repair = (tmp_path / "repair.md").read_text().partition("## Repair")[2]
    assert "failed at lint" in repair
    assert "There is one class ModelNew" in repair or "ModelNew" in repair
    assert "`````text" in repair  # the candidate cannot close the fence around it


def test_several_operators_end_in_one_summary_and_resume(
    project: Path,
    right: str,
    candidates: Callable[..., str],
    rooflift: Rooflift,
    recorded: Callable[[str], int],
    tmp_path: Path,
) -> None:
    broken = project / "kernels" / "broken"
    shutil.copytree(project / "kernels" / "depthwise_conv2d", broken)
    (broken / "cases.toml").write_text("[main\n")
    agent = candidates(right + "# takes 1000 us\n")
    words = ["optimize", "depthwise_conv2d,broken", "--agent", agent, "--root", project, "--out", tmp_path / "all"]
    assert rooflift(*words, "--keep", tmp_path).code == 2
    said = rooflift(*words, "--stages", "grid", "--iterations", "1", "--json")
    assert said.code == 0, said.err
    told = json.loads(said.out)
    first, second = told["operators"]
    assert (first["operator"], first["correct"], first["kept"]) == ("depthwise_conv2d", True, 1)
    assert first["time_us"] == pytest.approx(1000, rel=0.01)
    assert first["over_eager"] > 1
    assert second["ended"].startswith("failed: ")
    assert told["fast_p"]["0"] == told["fast_p"]["1"] == 0.5
    assert "| depthwise" in (tmp_path / "all" / "summary.md").read_text()
    before = recorded("v1_grid")
    again = rooflift(*words, "--stages", "grid", "--iterations", "1", "--json")
    assert json.loads(again.out) == told
    assert recorded("v1_grid") == before  # nothing is measured twice


@pytest.mark.gpu
@pytest.mark.ncu
@pytest.mark.timeout(1500)
def test_on_a_gpu_exactly_the_right_ones_of_a_list_are_kept(checkout: Path, rooflift: Rooflift, tmp_path: Path) -> None:
    agent = shlex.join([sys.executable, str(PLAY), str(FIXTURES / "optimize" / "candidates.txt")])
    words = ["optimize", "depthwise_conv2d", "--agent", agent, "--out", tmp_path / "optimize", "--root", checkout]
    said = rooflift(*words, "--stages", "grid,memory", "--trust", "--json")
    assert said.code == 0, said.err
    told = json.loads(said.out)
    found = [one["at"] for one in told["iterations"]]
    assert found == ["evaluation", "evaluation", None, "verdict", "evaluation", None], told
    assert told["kept"] == ["v1_grid", "v2_memory"]
    assert "of SOL" in told["stopped"]


@pytest.mark.slow
def test_a_killed_loop_goes_on_where_it_stopped(
    project: Path,
    right: str,
    candidates: Callable[..., str],
    rooflift: Rooflift,
    as_typed: Callable[[Sequence[str | Path], Path, Mapping[str, str]], subprocess.Popen[str]],
    tmp_path: Path,
) -> None:
    folder = tmp_path / "optimize"
    words = [
        "optimize",
        "depthwise_conv2d",
        "--no-gpu",
        "--stages",
        "grid",
        "--iterations",
        "2",
        "--root",
        str(project),
    ]
    words += ["--repairs", "0", "--out", str(folder), "--agent", candidates("nothing but prose", right)]
    child = as_typed(words, project, {"CUDA_VISIBLE_DEVICES": ""})
    deadline = time.monotonic() + 60
    while not (
        folder / "iterations" / "002" / "candidate.txt"
    ).exists():  # the second candidate is there, and not judged yet
        assert time.monotonic() < deadline
        assert child.poll() is None, child.communicate()
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    journal = folder / "journal.jsonl"
    assert len(journal.read_bytes().splitlines()) == 2
    with journal.open("ab") as file:
        file.write(b'{"type":"Iteration","num')  # a line that the kill cut off
    said = rooflift(*words, "--json")
    assert said.code == 0, said.err
    told = json.loads(said.out)
    assert told["kept"] == ["v1_grid"]
    asked = sorted(path.name for path in (tmp_path / "candidates" / "asked").iterdir())
    assert asked == ["001-0.md", "002-0.md"]  # nothing was asked twice
    assert all(json.loads(line) for line in journal.read_text().splitlines())


def test_what_cannot_begin_says_why(project: Path, rooflift: Rooflift, tmp_path: Path) -> None:
    words = ["optimize", "depthwise_conv2d", "--root", project, "--out", tmp_path / "optimize"]
    assert "--no-gpu" in rooflift(*words, "--agent", "cat").err
    missing = rooflift(*words, "--no-gpu", "--agent", "no-such-agent")
    assert missing.code == 2
    assert "'no-such-agent' cannot be started" in missing.err
    assert rooflift(*words, "--no-gpu", "--agent", " ").code == 2
    assert "no stage 'girth'" in rooflift(*words, "--no-gpu", "--agent", "cat", "--stages", "girth").err
    foreign = rooflift(*words[:-1], project, "--no-gpu", "--agent", "cat")
    assert "holds" in foreign.err
    assert not (project / "journal.jsonl").exists()


def test_two_loops_do_not_share_a_folder(project: Path, rooflift: Rooflift, tmp_path: Path) -> None:
    import filelock

    folder = tmp_path / "optimize"
    folder.mkdir()
    with filelock.FileLock(folder / ".lock"):
        said = rooflift(
            "optimize", "depthwise_conv2d", "--root", project, "--out", folder, "--no-gpu", "--agent", "cat"
        )
    assert said.code == 2
    assert "another loop is at work" in said.err
    assert os.listdir(folder) == [".lock"]  # noqa: PTH208  # a name is all that is asked

"""`rooflift verify`, as typed."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rooflift.project.operator import Operator

Rooflift = Callable[..., Any]
MakeFamily = Callable[..., Operator]


@pytest.mark.usefixtures("no_gpu")
def test_verify_says_where_it_checked_and_the_largest_error(rooflift: Rooflift, project: Path) -> None:
    said = rooflift("verify", "depthwise_conv2d", "-v", "v1", "--json", folder=project)
    assert said.code == 0
    found = json.loads(said.out)
    assert found["where"] == "Triton's interpreter"
    assert [(c["version"], c["case"], c["dtype"], c["seed"]) for c in found["checks"]] == [
        ("v1_grid", "small", "float32", seed) for seed in (0, 1)
    ]


@pytest.mark.usefixtures("no_gpu")
def test_verify_says_in_a_line_for_each_version_that_it_agrees(
    rooflift: Rooflift, make_operator: MakeFamily, version_text: Callable[..., str]
) -> None:
    said = rooflift("verify", "twice", folder=make_operator(version_text(), version_text()).folder)
    assert said.code == 0
    lines = said.out.splitlines()
    assert [line.split(",")[0] for line in lines[:2]] == [f"v{n}_probe: 2 comparisons agree" for n in range(2)]
    assert lines[2] == "Checked in Triton's interpreter."


@pytest.mark.usefixtures("no_gpu")
def test_verify_of_a_wrong_version_ends_with_1(
    rooflift: Rooflift, make_operator: MakeFamily, version_text: Callable[..., str]
) -> None:
    operator = make_operator(version_text(), version_text(store="tl.store(y_ptr + at, y + 1, mask=at < n)"))
    said = rooflift("verify", "twice", "--json", folder=operator.folder)
    assert said.code == 1
    error = json.loads(said.out)
    assert error["error"] == "WrongResult"
    assert error["message"].startswith("v1_probe on small float32")
    assert "v1_probe on small float32" in said.err


@pytest.mark.usefixtures("no_gpu")
def test_verify_of_an_operator_without_test_cases_does_not_call_it_checked(
    rooflift: Rooflift, make_operator: MakeFamily
) -> None:
    said = rooflift("verify", "twice", folder=make_operator(cases=None).folder)
    assert said.code != 0
    assert "Checked" not in said.out
    assert "case" in said.err


@pytest.mark.parametrize(
    ("sent", "codes"), [(signal.SIGINT, {130}), (signal.SIGTERM, {143, 130, -15})], ids=["Ctrl-C", "kill"]
)
def test_stopped_verify_leaves_no_process_behind(
    as_typed: Callable[..., Any],
    make_operator: MakeFamily,
    version_text: Callable[..., str],
    tmp_path: Path,
    ends: Callable[[int], bool],
    sent: signal.Signals,
    codes: set[int],
) -> None:
    """Its children hang."""
    note = f"pathlib.Path({str(tmp_path)!r}, f'{{os.getpid()}}.pid').touch()"
    hang = version_text(top=f"import os, pathlib, time; {note}; time.sleep(600)")
    case = 'main = { init = {}, inputs = [[4, 8]], use = ["bench", "test"] }'  # in three dtypes
    operator = make_operator(hang, hang, cases=case)
    process = as_typed(["verify", "twice", "--interpret"], operator.folder, {"CUDA_VISIBLE_DEVICES": ""})
    deadline = time.monotonic() + 30
    while not (children := [int(path.stem) for path in tmp_path.glob("*.pid")]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert children
    process.send_signal(sent)
    try:
        _, err = process.communicate(timeout=60)
        assert process.returncode in codes
        assert "Traceback" not in err
        assert all(map(ends, children))
    finally:
        process.kill()
        for child in children:
            if not ends(child, 0.1):
                subprocess.run(["kill", "-KILL", str(child)], check=False)
        process.communicate()


CANDIDATE = """
import torch
import triton
import triton.language as tl


@triton.jit
def twice(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + at, FACTOR * tl.load(x_ptr + at, mask=at < n), mask=at < n)


class ModelNew(torch.nn.Module):
    def forward(self, x):
        y = torch.empty_like(x)
        twice[(1,)](x, y, x.numel(), BLOCK=64)
        return y
"""


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize(("factor", "code"), [("2", 0), ("3", 1)])
def test_a_candidate_needs_no_header_and_is_verified_alone(
    rooflift: Rooflift, make_operator: MakeFamily, tmp_path: Path, factor: str, code: int
) -> None:
    file = tmp_path / "reference.py"  # the name of the operator's own file, which stays what it is
    file.write_text(CANDIDATE.replace("FACTOR", factor))
    said = rooflift("verify", "twice", "--candidate", file, folder=make_operator().folder)
    assert said.code == code
    assert "candidate_reference" in said.out + said.err
    assert "v0_probe" not in said.out


@pytest.mark.usefixtures("no_gpu")
def test_a_candidate_in_cuda_says_what_it_needs_where_nothing_builds_it(
    rooflift: Rooflift, make_operator: MakeFamily, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_HOME", "")
    file = tmp_path / "in_cuda.py"
    file.write_text("raise OSError('CUDA_HOME environment variable is not set.')\n\nclass ModelNew: ...\n")
    folder = make_operator().folder
    said = rooflift("verify", "twice", "--candidate", file, folder=folder)
    assert said.code == 1
    assert "nvcc and ninja" in said.err
    assert "no such file" in rooflift("verify", "twice", "--candidate", "none.py", folder=folder).err


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize(("factor", "code"), [("2.00001", 0), ("2.01", 1)])
def test_verify_as_kernelbench_judges_gives_its_json_form(
    rooflift: Rooflift, make_operator: MakeFamily, tmp_path: Path, factor: str, code: int
) -> None:
    file = tmp_path / "candidate.py"
    file.write_text(CANDIDATE.replace("FACTOR", factor))
    said = rooflift("verify", "twice", "--candidate", file, "--kernelbench", "--json", folder=make_operator().folder)
    assert said.code == code
    (found,) = json.loads(said.out)
    assert (found["version"], found["case"], found["dtype"]) == ("candidate", "small", "float32")
    assert (found["compiled"], found["correctness"], found["runtime"]) == (True, code == 0, -1.0)
    assert found["metadata"]["correctness_trials"] == f"({5 if code == 0 else 0} / 5)"

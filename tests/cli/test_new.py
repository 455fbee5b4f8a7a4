"""`rooflift new`, as typed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rooflift.project.operator import load_operator

Rooflift = Callable[..., Any]

PROBLEM = '''"""A problem of our own in KernelBench's form."""
import torch
import torch.nn as nn


class Model(nn.Module):
    """The Model keeps its name here: Model."""

    def __init__(self, features):
        super(Model, self).__init__()
        self.linear = nn.Linear(features, features)
        self.register_buffer("offset", torch.arange(float(batch_size)).unsqueeze(1))

    def forward(self, x):
        return self.linear(x) + self.offset


batch_size = 2048
features = 4096


def get_inputs():
    return [torch.rand(batch_size, features)]


def get_init_inputs():
    return [features]
'''


@pytest.mark.usefixtures("no_gpu")
def test_a_new_operator_is_verified_at_once(rooflift: Rooflift, tmp_path: Path) -> None:
    said = rooflift("new", "my_op", folder=tmp_path)
    assert said.code == 0
    assert "rooflift verify my_op" in said.out
    assert "--from FILE.py:FUNCTION" in said.out
    said = rooflift("verify", "my_op", "-d", "float16", "--json", folder=tmp_path)
    assert said.code == 0
    assert [check["case"] for check in json.loads(said.out)["checks"]] == ["odd", "odd"]


@pytest.mark.usefixtures("no_gpu")
def test_a_kernelbench_problem_becomes_an_operator_as_it_stands(rooflift: Rooflift, tmp_path: Path) -> None:
    problem = tmp_path / "level1" / "7_My_Problem.py"
    problem.parent.mkdir()
    problem.write_text(PROBLEM)
    said = rooflift("new", "--kernelbench", problem, folder=tmp_path)
    assert said.code == 0
    operator = load_operator(tmp_path, "level1_7_my_problem")
    assert operator.reference.read_bytes() == problem.read_bytes()
    assert operator.cases["main"].inputs is None
    assert operator.cases["small"].constants == {"batch_size": 16, "features": 16}
    version = operator.versions[0].path.read_text()
    assert "super(ModelNew, self)" in version
    assert "keeps its name here: Model." in version
    assert "get_inputs" not in version
    said = rooflift("verify", operator.name, "-d", "float32", folder=tmp_path)
    assert said.code == 0
    assert "v0_baseline: 2 comparisons agree" in said.out


def test_a_folder_of_problems_leaves_out_what_is_none_and_what_exists(rooflift: Rooflift, tmp_path: Path) -> None:
    folder = tmp_path / "level1"
    folder.mkdir()
    (folder / "7_first.py").write_text(PROBLEM)
    (folder / "8_second.py").write_text("import nothing_of_that_name\n" + PROBLEM)
    (folder / "helper.py").write_text("x = 1\n")
    assert rooflift("new", "--kernelbench", folder / "7_first.py", folder=tmp_path).code == 0
    said = rooflift("new", "--kernelbench", tmp_path, "--json", folder=tmp_path)
    found = json.loads(said.out)
    assert list(found["operators"]) == ["level1_8_second"]
    assert "nothing_of_that_name" in found["without_small"]["level1_8_second"]
    assert any("helper.py: no Model" in why for why in found["left_out"])
    assert any("level1_7_first: it exists" in why for why in found["left_out"])
    assert "# No small case was found" in (tmp_path / "kernels" / "level1_8_second" / "cases.toml").read_text()


def test_problems_of_any_folder_have_names_of_their_own(rooflift: Rooflift, tmp_path: Path) -> None:
    folder = tmp_path / "downloads"
    folder.mkdir()
    for name in ("19_ReLU.py", "my gate.py", "my-gate.py"):
        (folder / name).write_text(PROBLEM)
    found = json.loads(rooflift("new", "--kernelbench", folder, "--json", folder=tmp_path).out)
    assert sorted(found["operators"]) == ["my_gate", "problem_19_relu"]
    assert any("my_gate is the name of" in why for why in found["left_out"])


def test_a_name_that_is_taken_or_none_is_refused(rooflift: Rooflift, tmp_path: Path) -> None:
    assert rooflift("new", "my_op", folder=tmp_path).code == 0
    assert rooflift("new", "my_op", folder=tmp_path).code == 2
    assert "letters, digits" in rooflift("new", "../other", folder=tmp_path).err
    assert "no name" in rooflift("new", folder=tmp_path).err


@pytest.mark.usefixtures("no_gpu")
def test_an_operator_in_plain_torch_is_profiled_although_there_is_nothing_to_compile(
    rooflift: Rooflift, tmp_path: Path
) -> None:
    problem = tmp_path / "my_problem.py"
    problem.write_text(PROBLEM)
    assert rooflift("new", "--kernelbench", problem, "torch_alone", folder=tmp_path).code == 0
    said = rooflift("profile", "torch_alone", folder=tmp_path)
    assert "nothing was compiled" in said.out
    assert "comparisons with the reference in float64 agree" in said.out
    said = rooflift("prompt", "torch_alone", "v0", "--stage", "grid", "--gpu", "h100", folder=tmp_path)
    assert said.code == 0
    assert "class ModelNew(nn.Module)" in said.out
    said = rooflift("compile", "torch_alone", folder=tmp_path)
    assert said.code == 2
    assert "no Triton kernel is launched" in said.err


SOFTMAX = '''import torch
import triton
import triton.language as tl

from mykernels.blocks import block_of


@triton.jit
def _softmax(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + tl.program_id(0) * n + at, mask=at < n, other=-float("inf")).to(tl.float32)
    x = tl.exp(x - tl.max(x, 0))
    tl.store(y_ptr + tl.program_id(0) * n + at, (x / tl.sum(x, 0)).to(y_ptr.dtype.element_ty), mask=at < n)


def softmax(x: torch.Tensor) -> torch.Tensor:
    """Softmax of each row of x (rows, columns)."""
    assert x.is_cuda
    y = torch.empty_like(x)
    _softmax[(x.shape[0],)](x, y, x.shape[1], BLOCK=block_of(x.shape[1]))
    return y
'''
BLOCKS = "import triton\n\n\ndef block_of(n):\n    return triton.next_power_of_2(n)\n"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A repository of somebody's own, with a kernel that imports a module beside it."""
    (tmp_path / "mykernels").mkdir()
    (tmp_path / "mykernels" / "softmax.py").write_text(SOFTMAX)
    (tmp_path / "mykernels" / "blocks.py").write_text(BLOCKS)
    return tmp_path


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("in_place", [False, True])
def test_an_operator_of_a_function_is_verified_at_once(rooflift: Rooflift, own: Path, in_place: bool) -> None:
    words = ["new", "operator", "softmax", "--from", "mykernels/softmax.py:softmax"]
    said = rooflift(*words, *["--in-place"] * in_place, folder=own)
    assert said.code == 0
    assert "torch.softmax(x, dim=-1)" in said.out
    assert ("tl.load" in (own / "kernels" / "softmax" / "v0_baseline.py").read_text()) != in_place
    said = rooflift("verify", "softmax", "-d", "float32", folder=own)
    assert said.code == 0
    assert "v0_baseline: 2 comparisons agree" in said.out


def test_the_next_version_is_a_copy_with_a_header_to_fill_in(rooflift: Rooflift, own: Path) -> None:
    assert rooflift("new", "--from", "mykernels/softmax.py", folder=own).code == 0
    said = rooflift("new", "version", "softmax", "wide", folder=own)
    assert said.code == 2
    assert "--stage" in said.err
    assert rooflift("new", "version", "softmax", "wide", "--stage", "memory", folder=own).code == 0
    version = load_operator(own, "softmax").versions[1]
    assert (version.name, version.header.stage) == ("v1_wide", "memory")
    assert "_softmax[" in version.path.read_text()


def test_a_project_begins_with_its_table_and_is_told_what_comes_next(rooflift: Rooflift, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "mine"\n')
    said = rooflift(folder=tmp_path)
    assert "rooflift new operator" in said.out
    assert "rooflift new operator" in rooflift("doctor", folder=tmp_path).out
    said = rooflift("new", "project", folder=tmp_path)
    assert "rooflift new operator" in said.out
    assert (tmp_path / "pyproject.toml").read_text().startswith('[project]\nname = "mine"\n')
    assert rooflift("new", "project", folder=tmp_path).code == 2
    assert "no operator" in rooflift("doctor", folder=tmp_path).out
    assert "doctor" in rooflift(folder=tmp_path).out


@pytest.mark.parametrize("words", [["operator", "mine"], ["mine"], []])
def test_a_function_without_its_option_makes_nothing_and_the_option_is_named(
    rooflift: Rooflift, own: Path, words: list[str]
) -> None:
    said = rooflift("new", *words, "mykernels/softmax.py:softmax", folder=own)
    assert said.code == 2
    assert "--from mykernels/softmax.py:softmax" in said.err
    assert not (own / "kernels").exists()


def test_options_that_say_nothing_about_what_is_made_are_refused(rooflift: Rooflift, tmp_path: Path) -> None:
    assert "--stage says nothing" in rooflift("new", "mine", "--stage", "memory", folder=tmp_path).err
    assert "--from says nothing" in rooflift("new", "project", "--from", "x.py:f", folder=tmp_path).err
    assert "not understood" in rooflift("new", "version", folder=tmp_path).err


def test_defaults_of_the_project_are_those_of_the_options_and_a_bad_one_is_named(
    rooflift: Rooflift, tmp_path: Path
) -> None:
    assert rooflift("new", "mine", folder=tmp_path).code == 0
    table = tmp_path / "pyproject.toml"
    table.write_text("[tool.rooflift.defaults]\ntarget = [80]\n")
    said = rooflift("compile", "mine", "-d", "float32", "--json", folder=tmp_path)
    assert {kernel["target"] for kernel in json.loads(said.out)} == {"sm_80"}
    table.write_text('[tool.rooflift.defaults]\nmetrics = "ful"\n')
    said = rooflift("profile", "mine", folder=tmp_path)
    assert said.code == 2
    assert "pyproject.toml: [tool.rooflift.defaults] metrics" in said.err
    assert "full" in said.err

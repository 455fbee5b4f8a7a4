"""Operators of plain functions: what is derived of inputs and reference, and what is asked for."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from rooflift.errors import CatalogError
from rooflift.project.cases import read_cases
from rooflift.project.from_function import FromFunction, files_of_function

KERNEL = """
import torch
import triton

@triton.jit
def kernel(x_ptr):
    pass

"""


def made(folder: Path, code: str, name: str = "", reference: str | None = None) -> FromFunction:
    (folder / "mine.py").write_text(code)
    return files_of_function(f"{folder / 'mine.py'}:{name}".rstrip(":"), folder, reference=reference)


def inputs(found: FromFunction) -> list[object]:
    return tomllib.loads(found.files["cases.toml"])["main"]["inputs"]


@pytest.mark.parametrize(
    ("signature", "doc", "expected"),
    [
        ("x: torch.Tensor", "x: (batch, features)", [["batch", "features"]]),
        (
            "x, w",
            "Args:\n        x (torch.Tensor): of shape (M, 64)\n        w (torch.Tensor): [64]",
            [["M", "N0"], ["N0"]],
        ),
        ('x: Float[Tensor, "M N"]', "No word of shapes.", [["M", "N"]]),
        ("a: torch.Tensor, eps: float = 1e-6", "The mean of a.", [["M", "N"]]),
        (
            "x: torch.Tensor, labels: torch.Tensor",
            "x: (N, V) logits\n    labels: (N,) int64, below V",
            [["N", "V"], {"shape": ["N"], "dtype": "int64", "values": "integers", "high": "V"}],
        ),
        ("x, k: int", ">>> f(torch.randn(2048, 4096), 3)", [["N0", "N1"], 3]),
        ("q, k", "q of shape [B, H, 64] times k [B, H, 64]", [["B", "H", "N0"], ["B", "H", "N0"]]),
    ],
)
def test_inputs_come_from_annotations_docstring_and_calls(
    tmp_path: Path, signature: str, doc: str, expected: list[object]
) -> None:
    found = made(tmp_path, f'import torch\n\ndef f({signature}):\n    """{doc}\n    """\n    return torch.relu(x)\n')
    assert inputs(found) == expected
    (tmp_path / "cases.toml").write_text(found.files["cases.toml"])
    assert set(read_cases(tmp_path / "cases.toml")) == {"main", "odd"}


def test_sizes_of_a_call_that_is_large_enough_are_kept_and_of_a_small_one_are_not(tmp_path: Path) -> None:
    test = "def test_f():\n    n = {}\n    x = torch.randn(n, 48)\n    f(x, x)\n"
    code = f"import torch\n\ndef f(x, y):\n    return x + y\n\n{test}"
    large = tomllib.loads(made(tmp_path, code.format(100_000), "f").files["cases.toml"])
    assert large["main"]["sizes"] == {"N0": 100_000, "N1": 48}
    small = tomllib.loads(made(tmp_path, code.format(100), "f").files["cases.toml"])
    assert small["main"]["sizes"] == {"N0": 4096, "N1": 4096}


@pytest.mark.parametrize(
    ("code", "message", "remedy"),
    [
        ("def f(x, y):\n    return x + y\n", "nothing says the shape of x, y", "    x: (M, N)\n      y: (N,)"),
        ("def f(x, k: int):\n    return x * k\n", "the value of k", "k: int = ..."),
        ("def f(*x):\n    return x\n", r"\* or \*\*", "def f_of"),
        ("x = 1\n", "which function", "--from"),
        ("def f(x):\n", "expected an indented block", "Python can read"),
        (KERNEL + "def f(x):\n    kernel[(1,)](x)\n", "in plain torch", "def f_reference(x):\n      return ...\n"),
        (KERNEL + "def my_log_softmax(x):\n    kernel[(1,)](x)\n", "torch", "return torch.log_softmax(x, dim=-1)\n"),
        (KERNEL + "def softmaxes(x):\n    kernel[(1,)](x)\n", "torch", "return ...\n"),
    ],
)
def test_what_is_said_nowhere_is_asked_for_in_words_to_write(
    tmp_path: Path, code: str, message: str, remedy: str
) -> None:
    with pytest.raises(CatalogError, match=message) as fault:
        made(tmp_path, code)
    assert remedy in fault.value.remedy


def test_a_function_in_torch_beside_the_kernel_is_the_reference_and_stays_out_of_the_version(tmp_path: Path) -> None:
    beside = "SCALE = 2\nUNUSED = 3\n\ndef torch_f(x):\n    return SCALE * x\n\n"
    code = f"{KERNEL}{beside}def f(x):\n    kernel[(1,)](x)\n    return x\n"
    found = made(tmp_path, code, "f")
    assert "return torch_f(x)" in found.files["reference.py"]
    assert "SCALE = 2" in found.files["reference.py"]
    assert "triton" not in found.files["reference.py"]
    assert "torch_f" not in found.files["v0_baseline.py"]
    assert "UNUSED" not in found.files["v0_baseline.py"]
    assert found.files["v0_baseline.py"].endswith("run = f\n")
    assert any("torch_f" in note for note in found.notes)


def test_a_guessed_shape_is_said_in_full_and_that_the_version_is_a_copy(tmp_path: Path) -> None:
    found = made(tmp_path, "import torch\n\ndef softmax(x):\n    return torch.softmax(x, -1)\n")
    assert "x (M, N), M = 4096, N = 4096; from a guess" in found.notes[0]
    assert "cases.toml" in found.notes[0]
    assert f"v0_baseline.py is a copy: what changes in {tmp_path / 'mine.py'}" in found.notes[-1]
    in_place = files_of_function(f"{tmp_path / 'mine.py'}:softmax", tmp_path, module="mine")
    assert not any("copy" in note for note in in_place.notes)


def test_relative_imports_of_a_copied_function_become_absolute(tmp_path: Path) -> None:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "mine.py").write_text(
        "from .other import scale\nfrom . import more\n\ndef f(x):\n    return more(scale(x))\n"
    )
    found = files_of_function(f"{tmp_path / 'pack' / 'mine.py'}:f", tmp_path)
    lines = re.findall(r"^from .*$", found.files["v0_baseline.py"], re.MULTILINE)
    assert lines == ["from pack.other import scale", "from pack import more"]

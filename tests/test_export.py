"""The exported module: what it computes where torch and triton alone are installed, and what is refused."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rooflift.errors import CatalogError
from rooflift.export import export_module
from rooflift.project.inline import inline
from rooflift.project.operator import Operator, load_operator

PROGRAM = """
import importlib.util, sys
sys.path = [path for path in sys.path if "site-packages" not in path] + [SITE, PLACE]
assert importlib.util.find_spec("rooflift") is None
import torch
from exported import ModelNew
cases = [
    (torch.float32, (1, 2, 6, 21), {"kernel_size": 3, "padding": 1, "bias": True}),  # the general ladder
    (torch.float32, (2, 2, 7, 7), {"kernel_size": 3, "padding": 1}),  # small planes
    (torch.float16, (1, 1, 19, 46), {"kernel_size": 7, "padding": 2}),  # wide rows of large filters
    (torch.float32, (1, 1, 19, 46), {"kernel_size": 7, "padding": 2}),  # large filters beside them
    (torch.float32, (1, 2, 7, 31), {"kernel_size": 5, "padding": 2, "stride": 2, "bias": True}),
]
for dtype, shape, init in cases:
    torch.manual_seed(1)
    model = ModelNew(in_channels=shape[1], **init).to(dtype)
    x = torch.randn(shape).to(dtype)
    with torch.no_grad():
        got = model(x)
    bias = None if model.bias is None else model.bias.double()
    wanted = torch.nn.functional.conv2d(
        x.double(), model.weight.double(), bias, init.get("stride", 1), init["padding"], groups=shape[1]
    )
    assert got.dtype == dtype
    torch.testing.assert_close(got.double(), wanted, rtol=2e-3, atol=2e-3)
print("agrees")
"""


def site_of(names: list[str], folder: Path) -> Path:
    """Return a folder with these distributions and what they require, as links, and nothing else."""
    folder.mkdir()
    waiting, seen = list(names), set()
    while waiting:
        name = waiting.pop()
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:  # for another system
            continue
        if found.name in seen:
            continue
        seen.add(found.name)
        waiting += [re.split(r"[^\w.-]", one)[0] for one in found.requires or [] if "extra ==" not in one]
        for top in {file.parts[0] for file in found.files or [] if file.parts[0] not in ("..", "__pycache__")}:
            if not (folder / top).exists():
                (folder / top).symlink_to(Path(str(found.locate_file(top))))
    return folder


def test_export_runs_where_torch_and_triton_alone_are_installed(checkout: Path, tmp_path: Path) -> None:
    operator = load_operator(checkout, "depthwise_conv2d")
    (tmp_path / "exported.py").write_text(export_module(operator, checkout / "LICENSE"))
    site = site_of(["torch", "triton", "numpy"], tmp_path / "site")  # triton's interpreter computes with numpy
    program = f"SITE, PLACE = {str(site)!r}, {str(tmp_path)!r}" + PROGRAM
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    ended = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program],
        env=environment | {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "agrees\n"


def test_export_carries_the_licence_and_no_import_of_a_neighbour(checkout: Path) -> None:
    text = export_module(load_operator(checkout, "depthwise_conv2d"), checkout / "LICENSE")
    assert text.startswith("# depthwise_conv2d, made by rooflift from kernels/depthwise_conv2d/dispatch.py\n#\n# MIT")
    assert "from ." not in text
    assert text.count("def split_columns(") == 1  # three files hold it in the same words
    assert "def blocks_for(" in text
    assert "def blocks_for_of_v10_shapes(" in text  # another rule under the same name


def test_operator_without_a_dispatch_is_exported_as_its_newest_version(make_operator: Callable[..., Operator]) -> None:
    operator = make_operator()
    assert operator.dispatch is None
    assert "class ModelNew" in export_module(operator)


@pytest.mark.parametrize(
    ("top", "other", "said"),
    [
        ("import pandas", "", "pandas is imported"),
        ("from .other import nothing", "", r"other\.py defines no nothing"),
        ("from .gone import f", "", r"gone\.py"),
        ("from .other import f as g\n\ndef f(): ...", "def f():\n    f = 1", r"other\.py:2: f is a function"),
    ],
)
def test_module_that_cannot_be_inlined_is_refused(tmp_path: Path, top: str, other: str, said: str) -> None:
    (tmp_path / "dispatch.py").write_text(top + "\n")
    (tmp_path / "other.py").write_text(other + "\n")
    with pytest.raises(CatalogError, match=said):
        inline(tmp_path / "dispatch.py")

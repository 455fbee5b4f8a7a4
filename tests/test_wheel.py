"""The wheel is whole: built, installed where nothing else of the project is, and driven from a function to its page."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

SOFTMAX = '''import torch
import triton
import triton.language as tl


@triton.jit
def _softmax(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + tl.program_id(0) * n + at, mask=at < n, other=-float("inf")).to(tl.float32)
    x = tl.exp(x - tl.max(x, 0))
    tl.store(y_ptr + tl.program_id(0) * n + at, (x / tl.sum(x, 0)).to(y_ptr.dtype.element_ty), mask=at < n)


def softmax(x: torch.Tensor) -> torch.Tensor:
    """Softmax of each row of x (rows, columns)."""
    y = torch.empty_like(x)
    _softmax[(x.shape[0],)](x, y, x.shape[1], BLOCK=triton.next_power_of_2(x.shape[1]))
    return y
'''


def call(*command: object, folder: Path) -> str:
    bare = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [*map(str, command)], cwd=folder, env=bare | {"CUDA_VISIBLE_DEVICES": ""}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_wheel_takes_a_plain_function_to_its_page_without_a_gpu(checkout: Path, tmp_path: Path) -> None:
    """Torch, triton and the dependencies are those of this environment, by a .pth; rooflift is the wheel's alone."""
    pytest.importorskip("hatchling")
    call(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path / "dist", folder=checkout)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    files = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("rooflift/")}
    kept = subprocess.run(["git", "ls-files", "profiling"], cwd=checkout, capture_output=True, text=True, check=True)
    assert {f"{name.removeprefix('profiling/')}" for name in kept.stdout.split()} <= files
    call(sys.executable, "-m", "venv", "--without-pip", tmp_path / "env", folder=tmp_path)
    python = tmp_path / "env" / "bin" / "python"
    call(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel, folder=tmp_path)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = tmp_path / "env" / "lib" / version / "site-packages"
    (site / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
    own = tmp_path / "own"
    (own / "mykernels").mkdir(parents=True)
    (own / "mykernels" / "softmax.py").write_text(SOFTMAX)
    rooflift = tmp_path / "env" / "bin" / "rooflift"
    assert str(site) in call(python, "-c", "import rooflift; print(rooflift.__file__)", folder=own)
    assert "Wrote kernels/softmax" in call(
        rooflift, "new", "operator", "softmax", "--from", "mykernels/softmax.py:softmax", folder=own
    )
    assert "comparisons agree" in call(rooflift, "verify", "softmax", folder=own)
    said = call(rooflift, "report", "softmax", folder=own)
    assert "Wrote build/softmax/unmeasured/report.md, build/softmax/unmeasured/report.html" in said
    page = (own / "build" / "softmax" / "unmeasured" / "report.html").read_text()
    assert "Not measured yet" in page
    assert "_softmax" in page

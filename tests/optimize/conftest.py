"""What tests of the loop share: a small project, an agent that plays a list, an H100's measurements played back."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pytest

from rooflift import pipeline
from rooflift.measure import environment, evaluate
from rooflift.measure.request import Request
from rooflift.runs.run import read_run
from rooflift.runs.verify import write_manifest

PLAY = Path(__file__).parent / "play.py"
CONVOLUTION_CASES = (Path(__file__).parents[1] / "fixtures" / "two_cases.toml").read_text()

REFERENCE = """
import torch


class Model(torch.nn.Module):
    def forward(self, x):
        return 2 * x


def get_inputs():
    return [torch.rand(4, 8)]


def get_init_inputs():
    return []
"""
FIRST = """
import torch
import triton
import triton.language as tl


@triton.jit
def twice_kernel(x_ptr, out_ptr, size, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out_ptr + at, 2 * tl.load(x_ptr + at, mask=at < size), mask=at < size)


def twice(x):
    x = x.contiguous()
    out = torch.empty_like(x)
    if x.numel():
        twice_kernel[(triton.cdiv(x.numel(), 64),)](x, out, x.numel(), BLOCK=64)
    return out


class ModelNew(torch.nn.Module):
    def forward(self, x):
        return twice(x)
"""
CASES = """
[main]
init = {}
inputs = [[4, 8]]
use = ["bench"]

[small]
init = {}
inputs = [[3, 5]]
dtypes = ["float32"]
use = ["test"]
"""


@pytest.fixture
def right(checkout: Path) -> str:
    """A right candidate for the project's operator."""
    return (checkout / "kernels" / "depthwise_conv2d" / "v1_grid.py").read_text()


@pytest.fixture
def project(tmp_path: Path, checkout: Path, h100_run: Path, no_gpu: None) -> Path:
    """A project of two versions with one small test case and one recorded run, on a machine without a GPU."""
    operator = tmp_path / "project" / "kernels" / "depthwise_conv2d"
    operator.mkdir(parents=True)
    for name in ("reference", "v0_baseline", "v1_grid"):
        shutil.copy(checkout / "kernels" / "depthwise_conv2d" / f"{name}.py", operator)
    (operator / "cases.toml").write_text(CONVOLUTION_CASES)
    shutil.copytree(h100_run, tmp_path / "project" / "reports" / "depthwise_conv2d" / "h100_run")
    return tmp_path / "project"


@pytest.fixture
def candidates(tmp_path: Path) -> Callable[..., str]:
    """Return a function: the command of an agent that plays these candidates."""

    def play(*texts: str) -> str:
        folder = tmp_path / "candidates"
        folder.mkdir()
        for number, text in enumerate(texts, 1):
            (folder / f"{number:03}.txt").write_text(text)
        (folder / "list").write_text("".join(f"{number:03}.txt\n" for number in range(1, len(texts) + 1)))
        return shlex.join([sys.executable, str(PLAY), str(folder / "list"), str(folder / "asked")])

    return play


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch, h100_run: Path) -> Callable[[str], int]:
    """Put an H100's measurements in place of a GPU: a file that says `# takes 900 us` does, others take 2015 us.

    Every candidate that comes to be run is right.
    Returns how often a run whose last version has this name was measured.
    """
    measured: list[str] = []

    def profile(request: Request, out: Path, _: object) -> Any:
        run = read_run(h100_run)
        names = [version.name for version in request.versions]
        measured.append(names[-1])
        metrics, timings, samples = (
            frame[~frame[key].str.startswith("v0")]
            for frame, key in ((run.metrics, "version"), (run.timings, "provider"), (run.samples, "provider"))
        )
        shutil.copytree(h100_run, out)
        tables: dict[str, list[pd.DataFrame]] = {"metrics": [], "timings": [], "samples": []}
        for version in request.versions:
            text = version.path.read_text()
            said = re.search(r"# takes (\d+) us", text)
            if out.name == "again":
                said = re.search(r"# takes (\d+) us again", text) or said
            factor = (float(said[1]) if said else 2015.0) / 1011.424
            moved = metrics["value"].where(~metrics["metric"].str.startswith("dram_"), 0.1 * metrics["value"])
            own = metrics.assign(version=version.name)
            tables["metrics"].append(own.assign(value=moved) if "# moves a tenth" in text else own)
            for name, frame in (("timings", timings), ("samples", samples)):
                own = frame[frame["provider"] == "v1_grid"].assign(provider=version.name)
                columns = [column for column in own if column.endswith("_us")]
                tables[name].append(own.assign(**{column: own[column] * factor for column in columns}))
        for name, frame in (("timings", timings), ("samples", samples)):
            tables[name].append(frame[frame["provider"] != "v1_grid"])
        pd.concat(tables["metrics"]).to_csv(out / "metrics.csv", index=False)
        pd.concat(tables["timings"]).to_csv(out / "timings.csv", index=False)
        pd.concat(tables["samples"]).to_parquet(out / "samples.parquet", index=False)
        versions = [msgspec.structs.replace(run.manifest.versions[0], version=name, expect=[]) for name in names]
        write_manifest(out, msgspec.structs.replace(run.manifest, name=out.name, versions=versions))
        return type("Told", (), {"resumed": ""})

    def passes(*_: Any, interpret: bool, target: int) -> evaluate.Evaluation:
        assert (interpret, target) == (False, 90)  # what is timed is judged on the GPU
        return evaluate.Evaluation([], 1)

    monkeypatch.setattr(evaluate, "evaluate", passes)
    monkeypatch.setattr(pipeline, "profile", profile)
    monkeypatch.setattr(environment, "driver", lambda: environment.Driver("580.1", ["NVIDIA H100 80GB HBM3"]))
    return measured.count


@pytest.fixture
def alone(tmp_path: Path, no_gpu: None) -> Path:
    """A project of one reference: no version, no run."""
    operator = tmp_path / "alone" / "kernels" / "twice"
    operator.mkdir(parents=True)
    (operator / "reference.py").write_text(REFERENCE)
    (operator / "cases.toml").write_text(CASES)
    return tmp_path / "alone"


@pytest.fixture
def first() -> str:
    """A right first version of the reference alone, without a header."""
    return FIRST

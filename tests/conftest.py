"""What many tests share: a real run, small operators, the command line, and the skips where hardware is missing."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pandas as pd
import pytest

from rooflift.cli.main import main
from rooflift.dtypes import DTYPES
from rooflift.errors import RoofliftError
from rooflift.measure import environment
from rooflift.measure.request import Request
from rooflift.ncu.command import find_ncu
from rooflift.project.operator import Operator, load_operator
from rooflift.runs.run import read_run, to_frame
from rooflift.runs.verify import write_manifest
from rooflift.schema import ResolvedCase, RoofRow, Roofs, TimingRow

# each test process has a core of its own: of several threads of torch each waits for the others, and computes nothing
os.environ.setdefault("OMP_NUM_THREADS", "1")

CHECKOUT = Path(__file__).parents[1]
H100_RUN = CHECKOUT / "tests" / "fixtures" / "h100_run"

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

VERSION = '''"""Twice: the smallest kernel that can be right.

Stage:   tiling
Change:  none
Why:     none
Expect:  none
"""

import torch
import triton
import triton.language as tl

TOP
@triton.jit
def twice(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    y = 2 * tl.load(x_ptr + at, mask=at < n).to(tl.float32)
    STORE


class ModelNew(torch.nn.Module):
    def forward(self, x):
        y = torch.empty_like(x)
        LAUNCH
        return y
'''

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


class Said(NamedTuple):
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --slow."""
    parser.addoption(
        "--slow", action="store_true", help="run what takes long as well, and interpret each newest version"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is slow; skip what needs a GPU, or ncu and its counters, where there is none, with the reason."""
    if not config.getoption("--slow"):
        slow = [item for item in items if item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if not item.get_closest_marker("slow")]
    for marker, missing in (("gpu", environment.driver), ("ncu", _counters)):
        marked = [item for item in items if item.get_closest_marker(marker)]
        if not marked:
            continue
        try:
            missing()
        except RoofliftError as error:
            for item in marked:
                item.add_marker(pytest.mark.skip(reason=error.message))


def _counters() -> None:
    find_ncu()
    if environment.counters_restricted() and not environment.may_profile_anyway():
        raise RoofliftError("the counters are for administrators only", "`rooflift doctor` says how to open them.")


@pytest.fixture(scope="session")
def checkout() -> Path:
    return CHECKOUT


@pytest.fixture(scope="session")
def h100_run() -> Path:
    """A run folder measured on an H100: two versions, standard counters."""
    return H100_RUN


@pytest.fixture(scope="session")
def h100_report() -> Path:
    """The .ncu-rep of that run."""
    return H100_RUN / "ncu" / "depthwise_conv2d.ncu-rep"


@pytest.fixture(scope="session")
def h100_roofs() -> Callable[..., Roofs]:
    """Return a function: roofs as they are measured on an H100, or on another GPU, at some time."""

    def make(gpu: str = "NVIDIA H100 80GB HBM3", created: str = "2026-11-22T10:00:00Z") -> Roofs:
        rates = {"DRAM copy": 2.95e12, "DRAM read": 3.05e12, "L2 read": 5.7e12}
        rates |= {"FP32": 61e12, "FP16 tensor": 720e12, "BF16 tensor": 730e12, "TF32 tensor": 400e12}
        rows = [
            RoofRow(
                name=name,
                kind="bandwidth" if name in ("DRAM copy", "DRAM read", "L2 read") else "compute",
                per_s=per_s,
                q20_per_s=0.99 * per_s,
                q80_per_s=1.01 * per_s,
                unit="byte/s" if name in ("DRAM copy", "DRAM read", "L2 read") else "FLOP/s",
                method="a kernel that does nothing else",
                configuration="BLOCK 1024",
                work=10**9,
                clocks_before_mhz=[1980, 2619],
                clocks_after_mhz=[1980, 2619],
                times_us=[1e15 / per_s] * 30,
            )
            for name, per_s in rates.items()
        ]
        machine = msgspec.structs.replace(read_run(H100_RUN).manifest.machine, gpu=gpu)
        return Roofs(created=created, machine=machine, commit="3d4a7f3" * 5, dirty=False, rows=rows)

    return make


@pytest.fixture(scope="session")
def suite_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with the H100 run's counters and a suite that was never measured: times by rule.

    The copy floor moves 3 TB/s and takes 2 us more. v0 needs 2.5 times as long and v1 1.25 times (80 %), but v1 in
    float16 1.60 times in `main`, 1.61 in the next case and so on (62.5 % and less). torch_eager needs twice the floor,
    torch_compile 1.5 times: in float16 it is faster than v1. In bfloat16 there is no torch_compile.
    """
    operator = load_operator(CHECKOUT, "depthwise_conv2d")
    measured = read_run(H100_RUN).manifest
    cases, rows = [], []
    for place, case in enumerate(operator.select_cases([], "bench")):
        half = 1.6 + 0.01 * place
        assert case.init is not None
        assert case.inputs is not None
        for dtype in case.dtypes:
            size = 2 * math.prod(case.inputs[0]) * DTYPES[dtype].bytes
            cases.append(ResolvedCase(case.name, dtype, case.init, case.inputs, size, None, "none"))
            floor = size / 3e6 + 2
            times = {"v0_baseline": 2.5, "v1_grid": half if dtype == "float16" else 1.25, "torch_eager": 2.0}
            times |= {} if dtype == "bfloat16" else {"torch_compile": 1.5}
            for provider, ratio in (times | {"copy": 1.0}).items():
                time_us = ratio * floor
                rows.append(TimingRow(provider, case.name, dtype, 50, time_us, 0.9 * time_us, 1.1 * time_us, time_us))
    folder = tmp_path_factory.mktemp("suite") / "suite_run"
    shutil.copytree(H100_RUN, folder)
    to_frame(rows, TimingRow).to_csv(folder / "timings.csv", index=False)
    samples = read_run(H100_RUN).samples
    median_us = {(row.provider, row.case, row.dtype): row.median_us for row in rows}
    for key, own in samples.groupby(["provider", "case", "dtype"]):
        samples.loc[own.index, "time_us"] *= median_us[key] / own["time_us"].median()
    samples.to_parquet(folder / "samples.parquet", index=False)
    write_manifest(folder, msgspec.structs.replace(measured, name="suite_run", cases=cases, suite=True))
    return folder


@pytest.fixture(scope="session")
def version_text() -> Callable[..., str]:
    """Return a function that writes a version of the operator `twice`: a right one, or with parts of the caller's."""

    def write(
        *,
        top: str = "",
        store: str = "tl.store(y_ptr + at, y.to(y_ptr.dtype.element_ty), mask=at < n)",
        launch: str = "twice[(1,)](x, y, x.numel(), BLOCK=64)",
    ) -> str:
        return VERSION.replace("TOP", top).replace("STORE", store).replace("LAUNCH", launch)

    return write


@pytest.fixture
def make_operator(tmp_path: Path, version_text: Callable[..., str]) -> Callable[..., Operator]:
    """Return a function that writes the operator `twice` into a project in tmp_path and reads it."""

    def make(*versions: str, reference: str = REFERENCE, cases: str | None = CASES) -> Operator:
        folder = tmp_path / "project" / "kernels" / "twice"
        folder.mkdir(parents=True)
        (folder / "reference.py").write_text(reference)
        for number, text in enumerate(versions or [version_text()]):
            (folder / f"v{number}_probe.py").write_text(text)
        if cases is not None:
            (folder / "cases.toml").write_text(cases)
        return load_operator(tmp_path / "project", "twice")

    return make


@pytest.fixture(scope="session")
def ask() -> Callable[..., Request]:
    """Return a function that makes a request: of an operator's test cases, of all its versions or of those named."""

    def make(
        operator: Operator, *versions: str, use: str = "test", timeout_s: float = 60, root: Path = CHECKOUT
    ) -> Request:
        return Request(
            root=root,
            operator=operator,
            versions=operator.select_versions(versions),
            cases=operator.select_cases([], use),
            dtypes=[],
            metric_set="standard",
            timeout_s=timeout_s,
            command=["rooflift", "profile", operator.name],
        )

    return make


@pytest.fixture
def add(h100_run: Path, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that adds a run to a project in tmp_path: the recorded one on a day, times scaled, on a GPU."""
    (tmp_path / "kernels").mkdir()

    def made(day: int, scale: float = 1.0, gpu: str = "", versions: int = 2) -> Path:
        folder = tmp_path / "reports" / "depthwise_conv2d" / f"day-{day}"
        shutil.copytree(h100_run, folder)
        manifest = read_run(folder).manifest
        kept = manifest.versions[:versions]
        machine = msgspec.structs.replace(manifest.machine, gpu=gpu or manifest.machine.gpu)
        changes: dict[str, Any] = {"created": f"2026-11-{day:02}T00:00:00Z", "name": folder.name, "machine": machine}
        timings = pd.read_csv(folder / "timings.csv")
        timings = timings[~timings["provider"].isin({one.version for one in manifest.versions[versions:]})]
        times = ["median_us", "q20_us", "q80_us", "min_us"]
        own = timings["provider"].str.startswith("v")  # what all runs share tells the drift between them
        timings[times] = timings[times].mul(np.where(own, scale, 1.0), axis=0)
        timings.to_csv(folder / "timings.csv", index=False)
        samples = pd.read_parquet(folder / "samples.parquet")
        noise = np.random.default_rng(day).normal(1, 0.0005, len(samples))  # no two runs are the same to the bit
        noise *= np.where(samples["provider"].str.startswith("v"), scale, 1.0)
        samples.assign(time_us=samples["time_us"] * noise).to_parquet(folder / "samples.parquet", index=False)
        files = {name: f"{day:064x}" if "/v" in name else sha for name, sha in manifest.sha256.items()}
        write_manifest(
            folder, msgspec.structs.replace(manifest, versions=kept, machine_code=[], sha256=files, **changes)
        )
        return folder

    return made


@pytest.fixture(autouse=True)
def _one_core_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start no more children than one where tests run beside each other: those of a machine with one core."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        monkeypatch.setattr(os, "cpu_count", lambda: 1)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide every GPU from this process and its children."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture
def rooflift(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Return a function that runs the command line in this process, as `python -m rooflift` would."""

    def run(*words: str | Path, folder: Path | None = None) -> Said:
        monkeypatch.chdir(folder or CHECKOUT)
        monkeypatch.setattr(sys, "argv", ["rooflift", *map(str, words)])
        monkeypatch.delenv("CI", raising=False)  # where it is set commands say nothing of what they do
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        code = left.value.code
        return Said(code if isinstance(code, int) else 0, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def as_typed() -> Callable[..., subprocess.Popen[str]]:
    """Return a function that starts `python -m rooflift` as a process of its own."""

    def start(words: Sequence[str | Path], folder: Path, environment: Mapping[str, str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "rooflift", *map(str, words)],
            cwd=folder,
            env={**os.environ, "CI": "", "PYTHONPATH": str(CHECKOUT / "profiling"), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture(scope="session")
def ends() -> Callable[[int], bool]:
    """Return a function that tells whether a process is gone, or a zombie, within some seconds."""

    def gone(pid: int, within_s: float = 5) -> bool:
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            try:
                state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            except (FileNotFoundError, ProcessLookupError):
                return True
            if state == "Z":
                return True
            time.sleep(0.02)
        return False

    return gone

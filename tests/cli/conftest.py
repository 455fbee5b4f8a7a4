"""What the tests of several commands share: a small project, and altered copies of a run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rooflift.runs.run import read_run
from rooflift.runs.verify import write_manifest

SMALL_CASES = (Path(__file__).parents[1] / "fixtures" / "two_cases.toml").read_text()


@pytest.fixture
def project(tmp_path: Path, checkout: Path, h100_run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of two versions with one small test case and one run, on a machine without a GPU."""
    operator = tmp_path / "project" / "kernels" / "depthwise_conv2d"
    operator.mkdir(parents=True)
    for name in ("reference", "v0_baseline", "v1_grid"):
        shutil.copy(checkout / "kernels" / "depthwise_conv2d" / f"{name}.py", operator)
    (operator / "cases.toml").write_text(SMALL_CASES)
    shutil.copytree(h100_run, tmp_path / "project" / "reports" / "depthwise_conv2d" / "h100_run")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "triton"))
    return tmp_path / "project"


H100 = "NVIDIA H100 80GB HBM3"


@pytest.fixture
def altered(h100_run: Path, tmp_path: Path) -> Callable[..., Path]:
    """Return a function: a copy of the H100 run, its v1 slower by a factor, on another GPU or with another name."""

    def make(name: str = "again", factor: float = 1.0, gpu: str = H100, **fields: Any) -> Path:
        folder = Path(shutil.copytree(h100_run, tmp_path / name))
        run = read_run(folder)
        samples = run.samples
        own = samples["provider"] == "v1_grid"
        samples["time_us"] = samples["time_us"].where(~own, factor * samples["time_us"])
        samples.to_parquet(folder / "samples.parquet", index=False)
        times, timed = ["median_us", "q20_us", "q80_us", "min_us"], run.timings["provider"] == "v1_grid"
        run.timings.loc[timed, times] *= factor
        run.timings.to_csv(folder / "timings.csv", index=False)
        seen = msgspec.structs.replace(run.manifest.machine, gpu=gpu)
        if factor != 1:  # what is faster or slower is another file
            changed = {name: "f" * 64 for name in run.manifest.sha256 if name.endswith("v1_grid.py")}
            fields = {"sha256": run.manifest.sha256 | changed} | fields
        write_manifest(folder, msgspec.structs.replace(run.manifest, name=name, machine=seen, **fields))
        return folder

    return make

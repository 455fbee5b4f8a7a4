"""The index of the runs, and the history that it answers: the best of each case and GPU, and what became slower."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

import rooflift as rl
from rooflift.runs import index
from rooflift.runs.run import read_run
from rooflift.runs.verify import write_manifest

Add = Callable[..., Path]


@pytest.fixture
def add(h100_run: Path, tmp_path: Path) -> Add:
    """Add a run to a project: the recorded one on a day, with the times of its versions scaled, on a GPU."""
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


def history(root: Path) -> Any:
    return rl.runs(root=root).history()


def test_the_best_of_each_gpu_is_the_fastest_version_of_any_run_on_it(add: Add, tmp_path: Path) -> None:
    add(1), add(2, 0.8), add(3, 0.5, gpu="NVIDIA H200")
    best = history(tmp_path).best()
    main = best[(best["case"] == "main") & (best["dtype"] == best["dtype"].iloc[0])].set_index("gpu")
    assert main.loc["NVIDIA H200", "run"] == "day-3"
    other = main.drop("NVIDIA H200").iloc[0]
    assert (other["run"], other["runs"]) == ("day-2", 2)


def test_each_step_is_held_against_the_best_before_it(add: Add, tmp_path: Path) -> None:
    add(1), add(2, 0.8), add(3, 0.88)
    steps = history(tmp_path).table()
    steps = steps[(steps["case"] == "main") & (steps["dtype"] == steps["dtype"].iloc[0])]
    assert np.isnan(steps["time_x"].iloc[0])
    assert steps["time_x"].iloc[1:].tolist() == pytest.approx([0.8, 1.1])  # of the scales; CSV keeps all digits


@pytest.mark.parametrize(
    ("last", "slower"),
    [({"scale": 1.2}, 1), ({"scale": 1.001}, 0), ({"scale": 1.2, "gpu": "NVIDIA H200"}, 0), ({"versions": 1}, 0)],
    ids=["slower", "below the minimum effect", "another GPU", "of the first version alone"],
)
def test_a_newest_run_that_is_slower_is_told_and_what_cannot_be_compared_is_not(
    add: Add, tmp_path: Path, last: dict[str, Any], slower: int
) -> None:
    add(1), add(2, **last)
    found = history(tmp_path)
    assert (found.regressions()["case"] == "main").sum() == slower
    assert any("rooflift compare day-1:" in str(part) for part in found.parts()) == bool(slower)


def test_the_index_follows_the_folders_and_is_made_again_where_it_is_gone_or_damaged(add: Add, tmp_path: Path) -> None:
    first = add(1)
    before = history(tmp_path).record()
    kept = tmp_path / "build" / index.FILE
    assert kept.exists()
    kept.write_bytes(b"no database, but long enough to be taken for the head of one" * 4)
    assert history(tmp_path).record() == before
    kept.unlink()
    assert history(tmp_path).record() == before
    add(2, 0.8)
    assert set(history(tmp_path).table()["run"]) == {"day-1", "day-2"}
    shutil.rmtree(first)
    assert set(history(tmp_path).table()["run"]) == {"day-2"}


def test_only_what_changed_is_read_again(add: Add, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(1)
    history(tmp_path)
    read = []
    monkeypatch.setattr(index, "read_run", lambda folder, root: read.append(folder.name) or read_run(folder, root))
    add(2)
    history(tmp_path)
    history(tmp_path)
    assert read == ["day-2"]

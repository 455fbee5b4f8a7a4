"""What `rooflift profile` adds to its children: its wall time over that of the slower one, each run alone.

Run on a machine with a GPU: `python benchmarks/profile_overhead.py [OPERATOR] [ROUNDS]`, by default depthwise_conv2d
and 3. For 2 versions and for all, it times in turn bare ncu on the same target, the timing child alone, and the whole
command, after one round that fills triton's cache. It prints a line a round and the ratio of the medians.
"""

from __future__ import annotations

import datetime
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rooflift.measure.children import staged
from rooflift.measure.request import profile_request
from rooflift.ncu.command import find_ncu, ncu_command
from rooflift.ncu.metrics import SECTIONS, ncu_names
from rooflift.pipeline import known_cases, settled
from rooflift.process import child_environment
from rooflift.project.operator import Operator, find_root, load_operator
from rooflift.schema import MeasureOptions
from rooflift.worker.protocol import Plan, worker_command

Timed = Callable[[], float]  # returns seconds of wall time


def wall_s(command: Sequence[str], folder: Path) -> float:
    """Return the wall time of a command that must succeed."""
    start = time.perf_counter()
    environment = {**os.environ, **child_environment()}
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def compare(ncu: Timed, timing: Timed, whole: Timed, rounds: int) -> float:
    """Return the median of the whole over the larger of the children's medians; the first round does not count."""
    found: list[tuple[float, float, float]] = []
    for number in range(rounds + 1):
        found.append((ncu(), timing(), whole()))
        print(
            "round {}: bare ncu {:.2f} s, timing alone {:.2f} s, rooflift profile {:.2f} s".format(number, *found[-1])
        )
    medians = [statistics.median(values) for values in zip(*found[1:], strict=True)]
    return medians[2] / max(medians[:2])


def overhead(root: Path, operator: Operator, count: int, rounds: int) -> float:
    """Return the ratio for the first `count` versions on the main case in float32."""
    request = profile_request(
        root,
        operator.label,
        versions=[version.name for version in operator.versions[:count]],
        cases=[operator.main],
        dtypes=["float32"],
        metric_set="standard",
        suite=False,
        baselines=None,
        options=MeasureOptions(),
        timeout_s=600,
    )
    plan = Plan(
        work=request.timed,
        profiled=request.profiled,
        options=request.options,
        sampling=settled(request.options, datetime.datetime.now(datetime.UTC)),
        known=known_cases(request),
    )
    with staged(operator, request.versions, plan) as stage, tempfile.TemporaryDirectory() as out:
        ncu = ncu_command(str(find_ncu()), worker_command("profile"), "bare.ncu-rep", ncu_names("standard"), SECTIONS)
        profile = [sys.executable, "-m", *request.command, "--root", str(root)]
        return compare(
            lambda: wall_s(ncu, stage),
            lambda: wall_s(worker_command("time"), stage),
            lambda: wall_s([*profile, "--out", f"{out}/{time.monotonic_ns()}"], root),
            rounds,
        )


def main(name: str = "depthwise_conv2d", rounds: str = "3") -> None:
    """Print the ratio for 2 versions and for all."""
    root = find_root(Path(__file__).resolve().parent)
    operator = load_operator(root, name)
    for count in (2, len(operator.versions)):
        print(
            f"{count} versions: {overhead(root, operator, count, int(rounds)):.2f} times the longer child", flush=True
        )


if __name__ == "__main__":
    main(*sys.argv[1:])

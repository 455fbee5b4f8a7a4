"""What `rooflift profile` adds to the bare ncu command: wall time of both on the same target program, in turn.

Run on a machine with a GPU: `python benchmarks/profile_overhead.py [ROUNDS]`. Prints one line a round and the ratio.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rooflift.measure.request import in_dtypes
from rooflift.measure.session import staged, worker_command
from rooflift.ncu.command import find_ncu, ncu_command
from rooflift.ncu.metrics import ncu_names
from rooflift.process import child_environment
from rooflift.project.operator import find_root, load_operator
from rooflift.worker.protocol import Plan

OPERATOR = "depthwise_conv2d"


def wall_s(command: list[str], folder: Path) -> float:
    """Return the wall time of a command that must succeed."""
    start = time.perf_counter()
    subprocess.run(
        command, cwd=folder, env={**os.environ, **child_environment()}, check=True, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - start


def main(rounds: int) -> None:
    """Time both commands `rounds` times after one round that fills triton's cache."""
    root = find_root(Path(__file__).resolve().parent)
    operator = load_operator(root, OPERATOR)
    work = in_dtypes([operator.cases["main"]], ["float32"])
    bare, whole = [], []
    plan = Plan(work=work, profiled=work)
    with staged(operator, operator.versions, plan) as stage, tempfile.TemporaryDirectory() as out:
        command = ncu_command(str(find_ncu()), worker_command("profile"), "bare.ncu-rep", ncu_names("seed"))
        for number in range(rounds + 1):
            ncu_s = wall_s(command, stage)
            what = ["--case", "main", "--dtype", "float32", "--counters", "seed", "--out", f"{out}/{number}"]
            profile = [sys.executable, "-m", "rooflift", "profile", OPERATOR, *what, "--root", str(root)]
            rooflift_s = wall_s(profile, root)
            print(f"round {number}: bare ncu {ncu_s:.2f} s, rooflift profile {rooflift_s:.2f} s", flush=True)
            if number:
                bare.append(ncu_s)
                whole.append(rooflift_s)
    ratio = statistics.median(whole) / statistics.median(bare)
    print(f"medians: {statistics.median(bare):.2f} s and {statistics.median(whole):.2f} s, ratio {ratio:.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)

"""`rooflift capture` on real programs under a real ncu: what each must find, held against what it recorded.

    python benchmarks/capture_programs.py [NAME ...]

Needs a GPU with torch and triton, and ncu with the performance counters. Exit code 1 where an expectation fails.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import rooflift as rl
from rooflift.measure import environment
from rooflift.runs.run import read_run

PROGRAMS = Path(__file__).parent / "programs"
SOURCE = str(Path(rl.__file__).parents[1])
FILTERS = ("--kernel-name-base", "--kernel-id", "--nvtx-include")
Found = dict[str, Any]


def capture(folder: Path, options: Sequence[str], program: Sequence[str], **variables: str) -> Found:
    """Run the command as it is typed and return its JSON, with the runs that it left as `read`."""
    command = [sys.executable, "-m", "rooflift", "capture", "--json", "--root", str(folder), *options, "--", *program]
    path = os.pathsep.join(filter(None, [SOURCE, os.environ.get("PYTHONPATH", "")]))
    begun = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": path, **variables}
    said = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    print(f"  {time.monotonic() - begun:.0f} s, exit code {said.returncode}")
    if said.returncode:
        print(said.stdout, said.stderr)
        return {}
    found: Found = json.loads(said.stdout)
    for kernel in found["kernels"][:5]:
        print(f"  by {found['by']}: {kernel['kernel'][:70]} x{kernel['launches']} {kernel['share_pct']:.1f} %")
    found["read"] = [read_run(folder / name) for name in found["runs"]]
    for run in found["read"][:1]:
        asked = run.manifest.ncu_command
        print("  asked", *(f"{word} {asked[asked.index(word) + 1]}" for word in FILTERS if word in asked))
    for run in found["read"]:
        print("  ", run.folder.name, *(f"{row.provider} {row.median_us:.1f} us;" for row in run.timings.itertuples()))
    return found


def recorded(found: Found) -> list[str]:
    """Return the names of the kernels in the runs, in the first's order."""
    return [name for run in found["read"] for name in dict.fromkeys(run.metrics["kernel"])]


def script(name: str) -> list[str]:
    """Return the command of a program."""
    return [sys.executable, str(PROGRAMS / name)]


def three_kernels(folder: Path) -> list[str]:
    """Each kernel of the first run is one of those recorded, with metrics and a bottleneck."""
    found = capture(folder, ["--top", "3"], script("three_kernels.py"))
    if not found:
        return ["it failed"]
    wrong = [] if any("scale_rows" in name for name in recorded(found)) else ["scale_rows is not recorded"]
    if len(recorded(found)) != 3:
        wrong.append(f"3 kernels are asked for, {len(recorded(found))} are recorded: {recorded(found)}")
    counts = found["read"][0].metrics.groupby("version")["launch"].nunique()
    if (counts != 3).any():
        wrong.append(f"3 launches each are asked for, there are {counts.to_dict()}")
    sm = found["read"][0].metrics.query("metric == 'sm_pct'")["value"]
    return wrong + ([] if (sm > 0).all() else ["no SM throughput"])


def application(folder: Path) -> list[str]:
    """The program itself is run again for each pass."""
    options = ["--kernel", "scale_rows", "--launches", "1", "--metrics", "basic", "--replay", "application"]
    found = capture(folder, options, script("three_kernels.py"))
    return [] if found and any("scale_rows" in name for name in recorded(found)) else ["scale_rows is not recorded"]


def graph_nodes(folder: Path) -> list[str]:
    """The kernels of a graph are recorded one by one."""
    found = capture(folder, ["--top", "3"], script("cuda_graph.py"))
    return [] if found and any("scale_rows" in name for name in recorded(found)) else ["scale_rows is not recorded"]


def graph_whole(folder: Path) -> list[str]:
    """A graph is recorded whole."""
    found = capture(folder, ["--graphs", "graph", "--kernel", "scale_rows"], script("cuda_graph.py"))
    return [] if found else ["it failed"]


def children(folder: Path) -> list[str]:
    """Both children are seen, in one report."""
    found = capture(folder, ["--kernel", "scale_rows", "--metrics", "basic", "--launches", "2"], script("children.py"))
    if not found:
        return ["it failed"]
    launches = {kernel["kernel"]: kernel["launches"] for kernel in found["kernels"]}
    wrong = [] if launches.get("scale_rows") == 12 else [f"two children launch scale_rows 12 times, seen: {launches}"]
    return wrong + ([] if "scale_rows" in recorded(found) else ["scale_rows is not recorded"])


def regions(folder: Path) -> list[str]:
    """Versions of a script are a ladder, which `compare` judges."""
    found = capture(folder, [], script("regions.py"))
    if not found:
        return ["it failed"]
    versions = [version.version for version in found["read"][0].manifest.versions]
    run = rl.open(found["read"][0].folder)
    print("  ", run.compare("v0_parts", "v1_whole").verdict)
    return [] if versions == ["v0_parts", "v1_whole"] else [f"the ladder is {versions}"]


def ranges(folder: Path) -> list[str]:
    """All that a region holds is measured at once."""
    found = capture(folder, ["--replay", "range", "--metrics", "basic"], script("regions.py"))
    return [] if found else ["it failed"]


def ranks(folder: Path) -> list[str]:
    """Two ranks on one GPU leave two reports and two runs."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    found = capture(folder, ["--top", "1", "--metrics", "basic"], [*launcher, str(PROGRAMS / "three_kernels.py")])
    return [] if found and len(found["runs"]) == 2 else [f"two runs are asked for, there are {found.get('runs')}"]


def durations(folder: Path) -> list[str]:
    """Without ncu the run holds durations, and says so."""
    found = capture(folder, [], script("three_kernels.py"), ROOFLIFT_NCU="/nowhere/ncu")
    return [] if found and found["refused"] and len(found["read"][0].timings) >= 3 else ["no durations"]


def compiled(folder: Path) -> list[str]:
    """A program that the tracer cannot look into is timed by a pass of ncu."""
    isolated = [sys.executable, "-E", str(PROGRAMS / "three_kernels.py")]
    found = capture(folder, ["--top", "1", "--metrics", "basic"], isolated)
    return [] if found and found["by"].startswith("ncu") else ["not by ncu"]


CHECKS: dict[str, Callable[[Path], list[str]]] = {
    check.__name__: check
    for check in (
        three_kernels, application, graph_nodes, graph_whole, children, regions, ranges, ranks, durations, compiled
    )
}  # fmt: skip


def main(names: Sequence[str]) -> int:
    """Run the checks, those that are named or all; return the exit code."""
    print(f"on {environment.driver().gpus[0]}, ncu {environment.ncu_version()}")
    failed = 0
    for name in names or CHECKS:
        print(f"{name}: {CHECKS[name].__doc__}")
        with tempfile.TemporaryDirectory() as folder:
            wrong = CHECKS[name](Path(folder))
        failed += bool(wrong)
        print("\n".join(f"  WRONG: {text}" for text in wrong) or "  right", flush=True)
    print(f"{len(names or CHECKS) - failed} right, {failed} wrong")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

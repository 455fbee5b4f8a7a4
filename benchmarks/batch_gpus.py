"""What a second GPU gives a batch: one case of many operators profiled on every GPU of this machine, then on one alone.

    python benchmarks/batch_gpus.py [PROBLEMS] [ALONE]

PROBLEMS (40) are the smallest bench cases of the operators in kernels/, in turn; each is a job that checks and times v0
beside torch. ALONE (12; 0 for all) of them are done once more by a single worker, with nothing else on the machine, and
both are of the same kind: each pass has an empty cache of compiled kernels. Ratio = jobs an hour of all GPUs over those
of one. Then each time that was measured beside other work is compared with the lone one, as `rooflift compare` does.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from itertools import chain, zip_longest
from pathlib import Path

from rooflift.api.find import open as open_run
from rooflift.batch.cluster import connected
from rooflift.batch.jobs import GPU, Job, Outcome, do
from rooflift.batch.schedule import schedule
from rooflift.measure import environment
from rooflift.project.operator import Operator, load_operator, operator_names

ROOT = Path(__file__).parents[1]
OPTIONS = {"metrics": "none", "budget_s": 0.5}


def cases_of(operator: Operator) -> list[tuple[str, str, str]]:
    """Return operator, case and dtype of its bench cases, the smallest first."""
    cases = sorted(operator.select_cases([], "bench"), key=lambda case: sum(map(math.prod, case.shapes)))
    return [(operator.name, case.name, case.dtypes[0]) for case in cases]


def problems(count: int) -> list[tuple[str, str, str]]:
    """Return the smallest case of each operator, then the next of each, until there are enough."""
    operators = [load_operator(ROOT, name) for name in operator_names(ROOT) if "/" not in name]
    rounds = zip_longest(*map(cases_of, operators))
    return [one for one in chain.from_iterable(rounds) if one is not None][:count]


def done_in(folder: Path, chosen: Sequence[tuple[str, str, str]], gpus: int) -> tuple[float, dict[str, Outcome]]:
    """Do the jobs in a copy of the project with so many GPUs; return seconds of wall time, and the outcomes by key."""
    shutil.copytree(ROOT / "kernels", folder / "kernels")
    os.environ["TRITON_CACHE_DIR"] = str(folder / "triton")
    jobs = []
    for name, case, dtype in chosen:
        options = OPTIONS | {"cases": [case], "dtypes": [dtype]}
        jobs.append(Job(f"{name} {case} {dtype}", "profile", str(folder), name, ("v0",), GPU, options))
    found: dict[str, Outcome] = {}
    with connected(None, gpus, 0) as client:
        begun = time.monotonic()
        schedule(client, jobs, do, lambda one: found.update({one.key: one}))
        wall = time.monotonic() - begun
    for one in found.values():
        if one.state != "done":
            print(f"  {one.key}: {one.state}: {one.result.splitlines()[0]}")
    return wall, found


def compared(beside: Path, alone: Path, found: dict[str, Outcome], lone: dict[str, Outcome]) -> None:
    """Print the verdicts of each time measured beside other work over the lone one, and the worst."""
    verdicts: Counter[str] = Counter()
    ratios = []
    for key, one in lone.items():
        if one.state != "done" or found[key].state != "done":
            continue
        runs = [
            open_run(folder / "reports" / of.operator / of.run, root=folder)
            for folder, of in ((alone, one), (beside, found[key]))
        ]
        for row in runs[0].compare("v0", "v0", other=runs[1]).found.cases.to_dict("records"):
            verdicts[row["verdict"]] += 1
            ratios.append((row["time_x"], key))
    print(f"A/A, v0 beside other work over v0 alone: {dict(verdicts)}")
    if ratios:
        low, high = min(ratios), max(ratios)
        print(f"  ratios of medians from {low[0]:.3f} ({low[1]}) to {high[0]:.3f} ({high[1]})")


def main(count: int, lone: int) -> None:
    """Do both passes and print the ratio."""
    gpus = environment.driver().gpus
    chosen = problems(count)
    step = max(len(chosen) // lone, 1) if lone else 1
    some = chosen[::step][: lone or None]
    print(f"{len(chosen)} problems on {len(gpus)} x {gpus[0]}, {len(some)} of them on one alone")
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        wall, found = done_in(Path(first), chosen, len(gpus))
        print(f"all GPUs: {len(chosen)} in {wall:.1f} s, {wall / len(chosen):.2f} s a problem", flush=True)
        same = sum(found[f"{name} {case} {dtype}"].seconds for name, case, dtype in some)
        lone_wall, alone = done_in(Path(second), some, 1)
        print(f"one GPU:  {len(some)} in {lone_wall:.1f} s, {lone_wall / len(some):.2f} s a problem")
        whole = sum(one.seconds for one in found.values())
        expected = lone_wall * whole / same  # of all problems on one GPU, by how long these took beside the others
        print(f"ratio: {expected / wall:.2f}x of one GPU ({expected:.0f} s for all {len(chosen)} there)")
        compared(Path(first), Path(second), found, alone)


if __name__ == "__main__":
    given = [*sys.argv[1:], "", ""]
    main(int(given[0] or 40), int(given[1] or 12))

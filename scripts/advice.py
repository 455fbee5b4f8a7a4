"""Write docs/advice.md: what was advised on each version and what its successor gained, from the newest H100 runs.

`python scripts/advice.py` rewrites the file; with --check it only says whether that would change it (exit code 1).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd

import rooflift as rl
from rooflift.errors import RunFault
from rooflift.project.operator import operator_names
from rooflift.report import cells
from rooflift.report.cells import Cell, Column, figure, markdown, number, words

ROOT = Path(__file__).resolve().parent.parent
PATH = ROOT / "docs" / "advice.md"
HEAD = """\
# What the advice was worth

`rooflift advise` names the stages that address a version's bottleneck, and a bound on what each can gain. Here every
measured step of the ladders is held against the advice on the version before it: the stage in the successor's header,
whether the advice said that this stage addresses the bottleneck, the bound, and the speedup on the ladder's case. The
authors did not always follow the advice, and some versions are about another case than this one. `scripts/advice.py`
writes this page from the newest run of each ladder on an H100; which stage helps with which bottleneck
(`profiling/rooflift/project/stages.toml`) was set with these steps in view, so they are no test of it on other kernels.
"""
BOUND_NOISE = 1.01  # a bound that is passed by less than the minimum effect of a verdict is not passed
COLUMNS = (
    words("version"),
    words("bottleneck"),
    words("advised"),
    words("successor"),
    words("stage", "its stage"),
    words("addresses", "addresses it"),
    Column("at most", lambda row: Cell("-" if pd.isna(row["bound"]) else number(row["bound"], 2, "x"))),
    figure("speedup", "speedup", 3, "x"),
    words("verdict"),
)


def steps(label: str) -> Iterator[dict[str, Any]]:
    """Yield a row a step of a ladder: the advice on a version, and what its successor gained; nothing without a run."""
    try:
        run = rl.latest(label, gpu="H100", metrics=True)
    except RunFault:
        return
    stage_of = {version.name: version.header.stage for version in rl.operator(label).versions}
    rows = run.progress().rows.to_dict("records")
    for before, row in pairwise(rows):
        if row["version"] not in stage_of:  # a version that the ladder has no more
            continue
        advice = run.advice(str(before["version"])).diagnosis
        stage = next(one for one in advice.stages if one.stage == stage_of[str(row["version"])])
        yield {
            "ladder": label,
            "version": before["version"],
            "bottleneck": advice.bottleneck,
            "advised": "stop" if advice.stop else advice.stage or "none",
            "successor": row["version"],
            "stage": stage.stage,
            "addresses": "done" if advice.stop else "yes" if stage.addresses else "no",
            "bound": stage.gain_at_most,
            "speedup": before["time_us"] / row["time_us"],
            "verdict": row["verdict"],
        }


def summary(found: pd.DataFrame) -> str:
    """Return what the steps come to: followed or not, and how often a bound was passed."""
    lines = []
    for addresses, what in (
        ("yes", "the stage addresses the bottleneck"),
        ("no", "it does not"),
        ("done", "the version before was told to be done (95 % of SOL and more)"),
    ):
        rows = found[found["addresses"] == addresses]
        counts = [f"{(rows['verdict'] == verdict).sum()} {verdict}" for verdict in ("faster", "within noise", "slower")]
        middle = number(rows["speedup"].median(), 3, "x")
        lines.append(f"- {len(rows)} steps where {what}: {', '.join(counts)}; median speedup {middle}.")
    known = found.dropna(subset=["bound"])
    passed = known[known["speedup"] > BOUND_NOISE * known["bound"]]
    names = ", ".join(f"{row.ladder} {row.successor}" for row in passed.itertuples())
    lines.append(f"- {len(known)} steps have a bound; {len(passed)} passed it{f' ({names})' if names else ''}.")
    return "\n".join(lines)


def page() -> str:
    """Return the page."""
    found = pd.DataFrame([row for label in operator_names(ROOT) for row in steps(label)])
    parts = [HEAD, summary(found)]
    for label, rows in found.groupby("ladder", sort=False):
        parts += [f"## {label}", markdown(cells.table(rows, COLUMNS))]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def main() -> int:
    """Rewrite or check docs/advice.md."""
    new = page()
    if "--check" in sys.argv:
        same = PATH.exists() and PATH.read_text(encoding="utf-8") == new
        print("docs/advice.md is up to date" if same else "docs/advice.md is not what the newest runs give")
        return int(not same)
    PATH.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

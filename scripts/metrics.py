"""Write docs/metrics.md, every figure that rooflift shows, from the metric registry and the columns of the tables.

`python scripts/metrics.py` rewrites the file; with --check it only says whether that would change it (exit code 1).
"""

from __future__ import annotations

import sys
from pathlib import Path

from rooflift.ncu.metrics import INSTRUCTION_METRICS, STALL_REASONS
from rooflift.report.columns import glossary

PATH = Path(__file__).resolve().parent.parent / "docs" / "metrics.md"
HEAD = """\
# Metrics

What each figure means. `name` is the column of a frame and of JSON, and what a prediction (`Expect: sm_pct > 60`)
calls it; with `_x` behind it, the figure relative to that of the version before (`registers_x < 0.8`). The label stands
in tables and figures, and is Nsight Compute's own where the figure is ncu's. A metric has several ncu names where
GPUs or report sections differ; the first that a report holds is taken. `scripts/metrics.py` writes this page.

| name | label | unit | meaning | ncu |
| --- | --- | --- | --- | --- |
"""
INSTRUCTIONS = """
## Instructions

`source.parquet` of a run with `--metrics source` or `full`, and `run.hotspots(...).instructions`: one row an
instruction of a launch.
`version`, `case`, `dtype`, `kernel`, `launch`, `file` (base name), `line` (0 without line information), `function` (of
Python sources; an inlined helper keeps its own lines), `offset` (bytes from the kernel's first instruction), `opcode`,
`sass`, `ptx`, and

| name | meaning | ncu |
| --- | --- | --- |
"""
MEANINGS = {
    "samples": "warp samples; the stall reasons add up to them",
    "instructions": "executed by warps",
    "thread_instructions": "executed by threads whose predicate is on",
    "sectors": "32-byte sectors of global accesses between L1 and L2, were nothing held in L1",
    "sectors_ideal": "the fewest sectors for the bytes asked for",
    "wavefronts": "passes of shared memory; above the ideal they are bank conflicts",
    "wavefronts_ideal": "the fewest passes for the bytes asked for",
    "spills": "executed loads and stores of local memory",
}
SET = """
The set `source` is no part of `standard`: on an H100 a profile of three versions ended 25 s after one with `standard`,
which usually takes about 14 s (one run each). Reading a report takes ncu's disassembler about 2 s to start and 0.25 ms
an instruction; source.parquet is read in its place.

## Over time

A run with `--metrics timeline` or `full`, and any report made with `--section PmSampling`, holds metrics over the time
of a launch: `run.timeline(version).samples`, `rooflift.api.timeline.of_report(file).samples`, one row a sample.
`metric` is ncu's name without what says that it was sampled, `time_us` counts since the launch began (`from_start`) or
since the first sample of its pass, `value` is NaN where ncu wrote none. Different passes sample different metrics, each
in a launch of its own. `table()` has ramp and tail: the shares of the time before a metric first and after it last
reaches half of its largest value.
"""


def page() -> str:
    """Return the page."""
    rows = []
    for row in glossary():
        ncu = ", ".join(f"`{name}`" for name in row["ncu"]) or "derived"
        rows.append(f"| `{row['name']}` | {row['label']} | {row['unit']} | {row['meaning']} | {ncu} |\n")
    instructions = []
    for name, ncu_names in [*INSTRUCTION_METRICS.items(), ("spills", ())]:
        meaning = MEANINGS.get(name) or f"samples: {STALL_REASONS[name.removeprefix('stall_')]}"
        ncu = ", ".join(f"`{one}`" for one in ncu_names) or "derived"
        instructions.append(f"| `{name}` | {meaning} | {ncu} |\n")
    return HEAD + "".join(rows) + INSTRUCTIONS + "".join(instructions) + SET


def main() -> int:
    """Rewrite or check docs/metrics.md."""
    if "--check" in sys.argv:
        same = PATH.exists() and PATH.read_text(encoding="utf-8") == page()
        print(
            "docs/metrics.md is up to date" if same else "docs/metrics.md is not what the registry says: `make metrics`"
        )
        return int(not same)
    PATH.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

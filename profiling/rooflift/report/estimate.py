"""Estimates to another GPU as tables, and held against what was measured there. Computes and measures nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rooflift.analysis.estimate import Estimate, Held
from rooflift.analysis.selection import Selection
from rooflift.escape import escaped
from rooflift.report.tables import Column, duration, markdown, number
from rooflift.schema import Manifest

if TYPE_CHECKING:
    import pandas as pd

ESTIMATE_COLUMNS = (
    Column("version", lambda row: row["version"], right=False),
    Column("case", lambda row: f"{row['case']} {row['dtype']}", right=False),
    Column("time here", lambda row: duration(row["source_time_us"])),
    Column("time there", lambda row: duration(row["time_us"])),
    Column("bottleneck", lambda row: row["resource"], right=False),
    Column("sm_pct", lambda row: number(row["sm_pct"])),
    Column("dram_pct", lambda row: number(row["dram_pct"])),
    Column("L2 %", lambda row: number(row["l2_pct"])),
    Column("L1 %", lambda row: number(row["l1_pct"])),
    Column("integer %", lambda row: number(row["alu_pct"])),
    Column("issue slots %", lambda row: number(row["issue_active_pct"])),
)

HELD_COLUMNS = (
    Column("version", lambda row: row["version"], right=False),
    Column("case", lambda row: f"{row['case']} {row['dtype']}".strip() or "not named", right=False),
    Column("estimated", lambda row: duration(row["estimated_time_us"])),
    Column("measured", lambda row: duration(row["measured_time_us"])),
    Column("error", lambda row: number(row["error_pct"], 1, " %")),
    Column("sm_pct estimated", lambda row: number(row["estimated_sm_pct"], 1)),
    Column("measured", lambda row: number(row["measured_sm_pct"], 1)),
    Column("dram_pct estimated", lambda row: number(row["estimated_dram_pct"], 1)),
    Column("measured", lambda row: number(row["measured_dram_pct"], 1)),
    Column("bottleneck, estimated", lambda row: row["estimated_bottleneck"], right=False),
    Column("measured", lambda row: row["measured_bottleneck"], right=False),
)


def estimate_rows(found: Sequence[tuple[Selection, Estimate]]) -> pd.DataFrame:
    """Return one row a subject: its times here and there, the limit, and a column for each share that ncu shows."""
    import pandas as pd

    names = ("sm_pct", "dram_pct", "l2_pct", "l1_pct", "alu_pct", "fma_pct", "xu_pct", "lsu_pct", "tensor_pct")
    rows: list[dict[str, Any]] = [
        {
            **asdict(about),
            "source_time_us": told.source_time_us,
            "time_us": told.time_us,
            "resource": told.resource,
            "unexplained_us": told.unexplained_us,
            **{name: told.pct(name) for name in (*names, "issue_active_pct")},
        }
        for about, told in found
    ]
    return pd.DataFrame(rows)


def error_table(held: Sequence[Held], source: Manifest, target: Manifest, assumptions: Sequence[str]) -> str:
    """Return the error table of two runs as Markdown, with the largest error and what was assumed."""
    import pandas as pd

    run = escaped(source.name)
    errors = [abs(row.error_pct) for row in held if not math.isnan(row.error_pct)]
    worst = f"The largest error of a time is {max(errors):.1f} %." if errors else "The target was not timed."
    lines = [
        f"# From {escaped(source.machine.gpu)} to {escaped(target.machine.gpu)}",
        "",
        f"{escaped(source.operator)}: estimated by `rooflift estimate` from the counters of run {run} and the specs of",
        f"both GPUs, beside what run {escaped(target.name)} measured. {worst}",
        "",
        markdown(pd.DataFrame([asdict(row) for row in held]), HELD_COLUMNS),
        "",
        "Assumed:",
        "",
        *(f"- {escaped(text)}" for text in assumptions),
    ]
    return "\n".join(lines) + "\n"

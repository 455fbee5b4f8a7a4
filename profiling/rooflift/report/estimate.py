"""Estimates to another GPU as tables, and held against what was measured there. Computes and measures nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rooflift.analysis.estimate import Estimate, Held
from rooflift.analysis.selection import Selection
from rooflift.escape import escaped
from rooflift.ncu.metrics import RESOURCES
from rooflift.report import columns
from rooflift.report.cells import markdown
from rooflift.schema import Manifest

if TYPE_CHECKING:
    import pandas as pd


def estimate_rows(found: Sequence[tuple[Selection, Estimate]]) -> pd.DataFrame:
    """Return one row a selection: its times here and there, the bottleneck, and each share that ncu would show."""
    import pandas as pd

    names = ("sm_pct", *RESOURCES)
    rows: list[dict[str, Any]] = [
        {
            **asdict(about),
            "source_time_us": told.source_time_us,
            "time_us": told.time_us,
            "bottleneck": told.resource,
            "unexplained_us": told.unexplained_us,
            **{name: told.pct(name) for name in names},
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
        f"{escaped(source.operator)}: estimated by `rooflift estimate` from the metrics of run {run} and the specs of",
        f"both GPUs, beside what run {escaped(target.name)} measured. {worst}",
        "",
        markdown(columns.table("estimate errors", pd.DataFrame([asdict(row) for row in held]))),
        "",
        "Assumed:",
        "",
        *(f"- {escaped(text)}" for text in assumptions),
    ]
    return "\n".join(lines) + "\n"

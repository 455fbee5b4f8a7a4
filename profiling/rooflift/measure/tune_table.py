"""What became of the configurations of a version, as one table."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rooflift.analysis.tuned import judge
from rooflift.measure.configurations import Batch
from rooflift.measure.tune import Tuned
from rooflift.project.space import AS_IT_STANDS, label
from rooflift.schema import CompiledKernel

if TYPE_CHECKING:
    import pandas as pd

STATUS = {
    "compile": "does not compile",
    "launch": "cannot be launched",
    "run": "does not run",
    "result": "wrong result",
}
FIGURES = ("registers", "spill_instructions", "shared_bytes", "occupancy_pct", "occupancy_limit")
TIMES = ("time_us", "time_x")
NO_TEXT = {"reason": "", "occupancy_limit": "", "verdict": ""}
BEST = ("best_us", "best_x", "low", "high")


def table(parameters: Sequence[str], tuned: Sequence[Tuned]) -> pd.DataFrame:
    """Return one row a configuration, case and dtype, in the order in which they were tried.

    Columns: case, dtype, configuration, a column a parameter, status (timed, compiled, or why not: STATUS), reason,
    registers (the most of its kernels), spill_instructions (of all), shared_bytes (the most), occupancy_pct and
    occupancy_limit (of the kernel with the least), sha256 (of what is launched), time_us (the median), time_x (over the
    version as it stands in the same rounds), and of the best ones those of `analysis.tuned.judge`.
    """
    import pandas as pd

    columns = [
        "case",
        "dtype",
        "configuration",
        *parameters,
        "status",
        "reason",
        *FIGURES,
        "sha256",
        *TIMES,
        *BEST,
        "verdict",
    ]
    rows = []
    for one in tuned:
        own = {row["configuration"]: row for batch in one.batches for row in _rows(batch)}
        if one.last is not None:
            standing = next((row for row in _rows(one.last) if row["configuration"] == AS_IT_STANDS), {})
            same = [row for row in own.values() if row["sha256"] and row["sha256"] == standing.get("sha256")]
            own[AS_IT_STANDS] = standing | {name: same[0][name] for name in FIGURES if same and name in same[0]}
            judged = judge({s.provider: s.times_us for s in one.last.samples})
            for row in judged.to_dict("records"):
                own[row["configuration"]] |= row
        rows += [{"case": one.case.name, "dtype": one.case.dtype} | NO_TEXT | row for row in own.values()]
    return pd.DataFrame(rows, columns=columns)


def _rows(batch: Batch) -> list[dict[str, Any]]:
    """Return a row for each configuration of a batch, and one for the version as it stands where it was timed."""
    unfit = {one.version: one for one in batch.unfit}
    medians = {one.provider: statistics.median(one.times_us) for one in batch.samples}
    code = {one.version: one.sha256 for one in batch.machine_code}
    named: dict[str, Mapping[str, Any]] = {label(one): one for one in batch.configurations}
    rows = []
    for name, configuration in (named | ({AS_IT_STANDS: {}} if AS_IT_STANDS in medians else {})).items():
        row: dict[str, Any] = {"configuration": name, **configuration, "sha256": code.get(name, "")}
        row |= _resources([kernel for kernel in batch.compiled if kernel.version == name])
        fault = unfit.get(name)
        if fault is not None:
            row |= {"status": STATUS[fault.stage], "reason": fault.reason}
        elif name in medians:
            row |= {"status": "timed", "time_us": medians[name], "time_x": medians[name] / medians[AS_IT_STANDS]}
        else:
            row["status"] = "compiled"
        rows.append(row)
    return rows


def _resources(kernels: Sequence[CompiledKernel]) -> dict[str, Any]:
    if not kernels:
        return {}
    least = min(kernels, key=lambda kernel: kernel.occupancy_pct)
    return {
        "registers": max(kernel.registers for kernel in kernels),
        "spill_instructions": sum(kernel.spill_instructions for kernel in kernels),
        "shared_bytes": max(kernel.shared_bytes for kernel in kernels),
        "occupancy_pct": least.occupancy_pct,
        "occupancy_limit": least.occupancy_limit,
    }

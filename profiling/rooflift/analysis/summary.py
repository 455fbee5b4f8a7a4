"""One row a version, case and dtype: figures from metrics and times, the place under the roof. No files, no GPU."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from rooflift.analysis.bottleneck import find_bottleneck
from rooflift.analysis.roofline import Roof, datasheet_roofs, measured_roofs
from rooflift.analysis.sol import PROVIDERS, SpeedOfLight, speed_of_light
from rooflift.dtypes import FP32_UNIT, TENSOR_UNITS, product_unit
from rooflift.ncu.metrics import BY_NAME, FLOP_OF_INSTRUCTION
from rooflift.project.gpus import spec_for_name
from rooflift.schema import Manifest, ResolvedCase, Roofs

if TYPE_CHECKING:
    import pandas as pd

KEY = ["version", "case", "dtype"]
TENSOR_IN_USE_PCT = 5.0


def combine(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return one row a version, case and dtype with a column a metric, the launches combined as the registry says.

    Sums add the launches, means weigh them by their time under ncu. One launch without a value leaves none (NaN).
    """
    import pandas as pd

    if metrics.empty:
        return pd.DataFrame(columns=[*KEY, *BY_NAME])
    values = metrics.set_index([*KEY, "launch", "metric"])["value"].astype(float)
    wide = values.unstack("metric").reindex(columns=list(BY_NAME))
    groups = wide.groupby(KEY, sort=False)
    timed = groups["ncu_time_ns"].transform("count") == groups["ncu_time_ns"].transform("size")
    weights = wide["ncu_time_ns"].where(timed, 1.0)
    means = wide.mul(weights, axis=0).groupby(KEY, sort=False).sum().div(weights.groupby(KEY, sort=False).sum(), axis=0)
    ways = {"sum": groups.sum(), "max": groups.max(), "mean": means}
    combined = pd.DataFrame({name: ways[metric.combine][name] for name, metric in BY_NAME.items()})
    complete = wide.notna().groupby(KEY, sort=False).all()
    return combined.where(complete).reset_index()


def summarize(
    manifest: Manifest, metrics: pd.DataFrame, timings: pd.DataFrame, measured: Roofs | None = None
) -> pd.DataFrame:
    """Return the summary of a run: one row a version, case and dtype, in the run's order.

    `measured` are the roofs of the run's GPU, for the compute term of SOL. Columns: version, case, dtype, time_us,
    q20_us, q80_us, speedup (over the run's first version), time_x (relative to the version numbered one less), sol_us,
    sol_pct, sol_binds ("memory" or a unit), achieved_per_s (bytes/s or FLOP/s of what binds), memory_us, memory_by (the
    provider), compulsory_bytes, flop, dram_bytes, excess_traffic, intensity (FLOP a byte: of DRAM, or compulsory where
    DRAM was not counted, as intensity_bytes says), flops_per_s, bottleneck, evidence, and every metric of the registry.
    NaN stands for what is missing.
    """
    import pandas as pd

    combined = combine(metrics).set_index(KEY)
    times = timings.set_index(["provider", "case", "dtype"])
    rows = []
    for case in manifest.cases:
        sol = speed_of_light(case, timings, measured)
        for version in manifest.versions:
            key = (version.version, case.case, case.dtype)
            counted = combined.loc[key].to_dict() if key in combined.index else dict.fromkeys(BY_NAME, math.nan)
            rows.append(dict(zip(KEY, key, strict=True)) | _figures(case, sol, counted, times, key))
    frame = pd.DataFrame(rows)
    cases = frame.groupby(["case", "dtype"], sort=False)["time_us"]
    frame.insert(6, "speedup", cases.transform("first") / frame["time_us"])
    number = frame["version"].map(version_number)
    follows = number.groupby([frame["case"], frame["dtype"]], sort=False).diff() == 1
    frame.insert(7, "time_x", (frame["time_us"] / cases.shift(1)).where(follows))
    return frame


def _figures(
    case: ResolvedCase, sol: SpeedOfLight, measured: dict[str, float], times: pd.DataFrame, key: tuple[str, str, str]
) -> dict[str, object]:
    time_us, q20_us, q80_us = (
        times.loc[key, ["median_us", "q20_us", "q80_us"]] if key in times.index else [math.nan] * 3
    )
    flop = float(case.flop) if case.flop is not None else counted_flop(measured)
    dram_bytes = measured["dram_read_bytes"] + measured["dram_write_bytes"]
    found = find_bottleneck(measured)
    return {
        "time_us": time_us,
        "q20_us": q20_us,
        "q80_us": q80_us,
        "sol_us": sol.time_us,
        "sol_pct": sol.pct(time_us),
        "sol_binds": sol.binds,
        "achieved_per_s": sol.achieved_per_s(time_us),
        "memory_us": sol.memory.time_us,
        "memory_by": sol.memory.by,
        "compulsory_bytes": case.compulsory_bytes,
        "flop": flop,
        "dram_bytes": dram_bytes,
        "excess_traffic": dram_bytes / case.compulsory_bytes,
        "intensity": flop / (case.compulsory_bytes if math.isnan(dram_bytes) else dram_bytes or math.nan),
        "intensity_bytes": "compulsory" if math.isnan(dram_bytes) else "DRAM",
        "flops_per_s": flop / time_us * 1e6,
        "bottleneck": found.resource,
        "evidence": found.evidence,
    } | measured


def counted_flop(measured: dict[str, float]) -> float:
    """Return FP32 and FP64 operations by ncu's instruction combined; NaN when they are missing.

    Additions and multiplications count one, multiply-adds two (NVIDIA, Nsight Compute roofline sections).
    """
    return sum(weight * measured[name] for name, weight in FLOP_OF_INSTRUCTION.items())


def version_number(version: str) -> float:
    """Return 1 for v1_grid, NaN for a name that is no version's."""
    match = re.match(r"v(\d+)_", version)
    return float(match[1]) if match else math.nan


def roofs(manifest: Manifest, summary: pd.DataFrame, measured: Roofs | None = None) -> list[Roof]:
    """Return the ceilings over the rows of one case and dtype: measured ones, and the GPU's datasheet beside them.

    The memory term that the run timed goes before the copy of `measured`. The compute roofs are that of the unit which
    SOL takes for the dtype and that of the unit in use: the tensor cores where a version keeps them busy for more than
    `TENSOR_IN_USE_PCT` of the time (their pipe also serves what multiplies nothing), else the FP32 pipe.
    """
    first = summary.iloc[0]
    in_use = TENSOR_UNITS[first["dtype"]] if (summary["tensor_pct"] > TENSOR_IN_USE_PCT).any() else FP32_UNIT
    names = [*dict.fromkeys([in_use, product_unit(first["dtype"])])]
    found = []
    if first["memory_by"] in PROVIDERS:
        per_s = first["compulsory_bytes"] / first["memory_us"] * 1e6
        found.append(Roof(f"DRAM {first['memory_by']}", "bandwidth", per_s, "measured in this run", measured=True))
    if measured is not None:
        found += measured_roofs(measured, ["L2 read", *names] if found else ["DRAM copy", "L2 read", *names])
    spec = spec_for_name(manifest.machine.gpu)
    return found + (datasheet_roofs(spec, ["DRAM", *names]) if spec else [])


def main_case(manifest: Manifest) -> ResolvedCase:
    """Return the case that the ladder is about, in its first dtype, or the first where it was not measured."""
    return next((case for case in manifest.cases if case.case == manifest.main), manifest.cases[0])

"""One row a version, case and dtype: figures from metrics and times, the place under the roof. No files, no GPU."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rooflift.analysis.bottleneck import find_bottleneck
from rooflift.analysis.roofline import Roof, datasheet_roofs, measured_roofs
from rooflift.analysis.sol import PROVIDERS, SpeedOfLight, flop_by_unit, speed_of_light
from rooflift.dtypes import SPECIAL, pipe_unit, product_unit, tensor_unit
from rooflift.ncu.doubt import doubt
from rooflift.ncu.metrics import BY_NAME, FLOP_OF_INSTRUCTION
from rooflift.project.gpus import spec_for_name, spec_of_report
from rooflift.schema import Manifest, ResolvedCase, Roofs

if TYPE_CHECKING:
    import pandas as pd

KEY = ["version", "case", "dtype"]
SIZES = ["grid_size", "block_size"]
TENSOR_IN_USE_PCT = 5.0


def combined(manifest: Manifest, metrics: pd.DataFrame) -> pd.DataFrame:
    """Return `combine` of a run; of one imported from a report that does not say what is one call, repeats are medians.

    Launches of one kernel with the same grid and block are repeats.
    """
    if manifest.origin is None or not manifest.origin.repeats:
        return combine(metrics)
    sizes = metrics[metrics["metric"].isin(SIZES)].pivot_table(
        index=[*KEY, "kernel", "launch"], columns="metric", values="value", sort=False
    )
    keyed = metrics.merge(sizes.reindex(columns=SIZES).reset_index(), on=[*KEY, "kernel", "launch"], how="left")
    found = keyed["value"].astype(float)
    certain = [not doubt(metric, value) for metric, value in zip(keyed["metric"], found, strict=True)]
    keyed = keyed.assign(value=found.where(certain))
    same = [*KEY, "kernel", *SIZES]
    group = keyed[same].fillna(-1).groupby(same, sort=False).ngroup()
    medians = keyed.assign(launch=group).groupby([*KEY, "launch", "metric"], sort=False)["value"].median()
    return combine(medians.reset_index())


def combine(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return one row a version, case and dtype with a column a metric, the launches combined as the registry says.

    Sums add the launches, means weigh them by their time under ncu. One launch without a value leaves none (NaN). A
    value that cannot be (`ncu.doubt`) is left out of a mean, and leaves no sum.
    """
    import pandas as pd

    if metrics.empty:
        return pd.DataFrame(columns=[*KEY, *BY_NAME])
    # numbers stand for the keys until the end: to align texts takes pandas ten times as long as the arithmetic
    launch = metrics.groupby([*KEY, "launch"]).ngroup().rename("launch")
    keys = metrics[KEY].groupby(launch).first()
    run = keys.groupby(KEY, sort=False).ngroup()
    values = metrics["value"].astype(float).set_axis(pd.MultiIndex.from_arrays([launch, metrics["metric"]]))
    doubtful = [bool(doubt(metric, value)) for metric, value in zip(metrics["metric"], values, strict=True)]
    wide = values.unstack("metric").reindex(columns=list(BY_NAME))
    certain = ~values.mask(values.notna(), doubtful).unstack("metric").reindex(columns=list(BY_NAME)).eq(1)
    groups = wide.groupby(run)
    timed = groups["ncu_time_ns"].transform("count") == groups["ncu_time_ns"].transform("size")
    weights = certain.mul(wide["ncu_time_ns"].where(timed, 1.0), axis=0)
    means = wide.where(certain).mul(weights).groupby(run).sum().div(weights.groupby(run).sum())
    ways = {"sum": groups.sum(), "max": groups.max(), "mean": means}
    wanted = pd.DataFrame({name: ways[metric.combine][name] for name, metric in BY_NAME.items()})
    complete = wide.notna().groupby(run).all()
    all_certain = certain.groupby(run).all()
    is_mean = [metric.combine == "mean" for metric in BY_NAME.values()]
    return keys.groupby(run).first().join(wanted.where(complete & (all_certain | is_mean)))


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

    found = combined(manifest, metrics).set_index(KEY).to_dict("index")
    timed = timings[["provider", "case", "dtype", "median_us", "q20_us", "q80_us"]].itertuples(index=False)
    times = {(row[0], row[1], row[2]): row[3:] for row in timed}
    none_counted = dict.fromkeys(BY_NAME, math.nan)
    rows = []
    for case in manifest.cases:
        sol = speed_of_light(case, timings, measured, manifest.machine.gpu)
        for version in manifest.versions:
            key = (version.version, case.case, case.dtype)
            figures = _figures(case, sol, found.get(key, none_counted), times.get(key, (math.nan,) * 3))
            rows.append(dict(zip(KEY, key, strict=True)) | figures)
    frame = pd.DataFrame(rows)
    cases = frame.groupby(["case", "dtype"], sort=False)["time_us"]
    frame.insert(6, "speedup", cases.transform("first") / frame["time_us"])
    number = frame["version"].map(version_number)
    follows = number.groupby([frame["case"], frame["dtype"]], sort=False).diff() == 1
    frame.insert(7, "time_x", (frame["time_us"] / cases.shift(1)).where(follows))
    return frame


def _figures(
    case: ResolvedCase, sol: SpeedOfLight, measured: dict[str, float], times_us: Sequence[float]
) -> dict[str, object]:
    time_us, q20_us, q80_us = times_us
    flop = float(case.flop) if case.flop is not None else counted_flop(measured)
    dram_bytes = counted_dram_bytes(measured)
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
        "compulsory_bytes": case.bytes_known if case.compulsory_bytes is None else case.compulsory_bytes,
        "flop": flop,
        "dram_bytes": dram_bytes,
        "excess_traffic": dram_bytes / case.bytes_known,
        "intensity": flop / (case.bytes_known if math.isnan(dram_bytes) else dram_bytes or math.nan),
        "intensity_bytes": "compulsory" if math.isnan(dram_bytes) else "DRAM",
        "flops_per_s": flop / time_us * 1e6,
        "bottleneck": found.resource,
        "evidence": found.evidence,
    } | measured


def counted_dram_bytes(measured: Mapping[str, float]) -> float:
    """Return the bytes that DRAM moved; NaN when they are missing."""
    both = measured["dram_read_bytes"] + measured["dram_write_bytes"]
    return measured["dram_total_bytes"] if math.isnan(both) else both


def counted_flop(measured: Mapping[str, float]) -> float:
    """Return FP32 and FP64 operations by ncu's instruction counts, and those of the tensor cores; NaN when missing.

    Additions and multiplications count one, multiply-adds two (NVIDIA, Nsight Compute roofline sections). A report
    may count one precision and not the other; a precision that is counted in part gives no sum.
    """
    names = list(FLOP_OF_INSTRUCTION)
    parts = [[FLOP_OF_INSTRUCTION[name] * measured[name] for name in names[at : at + 3]] for at in (0, 3)]
    parts.append([measured.get("tensor_flop", math.nan)])
    counted = [part for part in parts if not all(map(math.isnan, part))]
    return sum(map(sum, counted)) if counted else math.nan


def version_number(version: str) -> float:
    """Return 1 for v1_grid, NaN for a name that is no version's."""
    match = re.match(r"v(\d+)_", version)
    return float(match[1]) if match else math.nan


def roofs(manifest: Manifest, summary: pd.DataFrame, measured: Roofs | None = None) -> list[Roof]:
    """Return the ceilings over the rows of one case and dtype: measured ones, and the GPU's datasheet beside them.

    The memory term that the run timed goes before the copy of `measured`. The compute roofs are those of the units
    which SOL takes for the case and that of the unit in use: the tensor cores where a version keeps them busy for more
    than `TENSOR_IN_USE_PCT` of the time (their pipe also serves what multiplies nothing), else the dtype's pipe.
    """
    first = summary.iloc[0]
    in_use = (tensor_unit if (summary["tensor_pct"] > TENSOR_IN_USE_PCT).any() else pipe_unit)(first["dtype"])
    own = (case for case in manifest.cases if (case.case, case.dtype) == (first["case"], first["dtype"]))
    units = [unit for case in own for unit in flop_by_unit(case) if unit != SPECIAL] or [product_unit(first["dtype"])]
    names = [*dict.fromkeys([in_use, *units])]
    found = []
    if first["memory_by"] in PROVIDERS:
        per_s = first["compulsory_bytes"] / first["memory_us"] * 1e6
        found.append(Roof(f"DRAM {first['memory_by']}", "bandwidth", per_s, "measured in this run", measured=True))
    if measured is not None:
        found += measured_roofs(measured, ["L2 read", *names] if found else ["DRAM copy", "L2 read", *names])
    gpu = manifest.machine.gpu
    spec, source = spec_for_name(gpu), "datasheet"
    if spec is None:
        spec, source = spec_of_report(gpu, manifest.gpu_figures), "the driver's clocks"
    return found + (datasheet_roofs(spec, ["DRAM", *names], source) if spec else [])


def main_case(manifest: Manifest) -> ResolvedCase:
    """Return the case that the ladder is about, in its first dtype, or the first where it was not measured."""
    return next((case for case in manifest.cases if case.case == manifest.main), manifest.cases[0])

"""The tables of a report that are more than a frame under the columns of `columns.py`."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from rooflift.analysis.compare import Comparison
from rooflift.analysis.sol import MEMORY
from rooflift.analysis.suite import kind
from rooflift.ncu.metrics import shown_in
from rooflift.report import cells, columns
from rooflift.report.cells import MISSING, Cell, Column, Row, Table, duration, number, words
from rooflift.schema import UNKNOWN, GpuState, Machine, Manifest

if TYPE_CHECKING:
    import pandas as pd

    from rooflift.report.data import ReportData

MOST_CASES = 12
BASELINES = {
    "torch_eager": "the reference as it stands",
    "torch_channels_last": "the reference, model and 4-D inputs converted to channels_last before the timing",
    "torch_compile": "torch.compile(reference, dynamic=False)",
}


def baselines(data: ReportData) -> dict[str, str]:
    """Return the baselines that were timed, each with what it is."""
    timed = [p for p in dict.fromkeys(data.timings["provider"]) if kind(data.manifest, p) == "baseline"]
    known = {name: text for name, text in BASELINES.items() if name in timed}
    return known | dict.fromkeys((p for p in timed if p not in known), "a function of the operator's baselines.py")


def versions_table(data: ReportData) -> Table:
    """Return the versions on the main case, each beside the one before it.

    An arrow stands where a share moved by two points or more from the version before. Spills are the executed ones that
    ncu counted, in a run without metrics those in the binary.
    """
    rows = data.stepped
    spills = data.compiled.groupby("version")["spill_instructions"].sum()
    return columns.table(
        "versions",
        rows.assign(
            **{f"{name}_before": rows[name].shift(1) for name in _compared()},
            spill_instructions=rows["version"].map(spills).fillna(rows["inst_spill"]),
            error=rows["version"].map(_largest_errors(data.manifest)),
        ),
    )


def deciding_table(data: ReportData) -> Table:
    """Return the one table that a report shows unfolded, of at most eight columns.

    Of several cases that were compared with a base, the cases, of more than twelve those whose verdict says something;
    else the versions.
    """
    found = data.comparison
    if found is None or data.is_ladder or (len(found.cases) == 1 and found.base.manifest is found.head.manifest):
        return columns.table("progress", data.stepped)
    cases = found.cases
    if len(cases) > MOST_CASES:
        order = {verdict: place for place, verdict in enumerate(("slower", "faster", "within noise"))}
        told = cases[cases["verdict"].isin(order)]
        cases = told.sort_values("verdict", key=lambda verdicts: verdicts.map(order), kind="stable")[:MOST_CASES]
    return columns.table("comparison", cases)


def _compared() -> list[str]:
    return ["excess_traffic", *(metric.name for metric in shown_in("versions"))]


def _largest_errors(manifest: Manifest) -> dict[str, float]:
    """Return the largest error of each version in units of its tolerance."""
    found: dict[str, float] = {}
    for check in manifest.checks:
        found[check.version] = max(found.get(check.version, 0.0), check.error_over_tolerance)
    return found


def suite_table(suite: pd.DataFrame) -> Table:
    """Return a suite with one row a case: for each dtype the last version and the best baseline, in SOL %.

    The term that binds is named where it is not memory; "behind" stands where the baseline is faster.
    """
    import pandas as pd

    rows = [
        {
            "case": case,
            "megabytes": ", ".join(dict.fromkeys(number(size / 1e6) for size in own["compulsory_bytes"])),
            "bytes": own["compulsory_bytes"].max(),
            **{row["dtype"]: row for row in own.to_dict("records")},
        }
        for case, own in suite.groupby("case", sort=False)
    ]
    last = str(suite["version"].iloc[-1]).split("_")[0]
    shown = [columns.CASE, Column("MB", lambda row: Cell(row["megabytes"], row["bytes"]))]
    for dtype in dict.fromkeys(suite["dtype"]):
        shown += [Column(f"{last} {dtype} SOL %", partial(_own_share, dtype))]
        shown += [Column(f"best baseline {dtype} SOL %", partial(_baseline_share, dtype))]
    return cells.table(pd.DataFrame(rows), shown)


def _own_share(dtype: str, row: Row) -> Cell:
    own = row[dtype]
    if not isinstance(own, dict):  # the case was not measured in this dtype
        return Cell(MISSING)
    binds = "" if own["sol_binds"] in ("", MEMORY) else f" {own['sol_binds']}"
    return Cell(number(own["sol_pct"], 1) + binds + (" behind" if own["lead"] < 1 else ""), own["sol_pct"])


def _baseline_share(dtype: str, row: Row) -> Cell:
    own = row[dtype]
    if not isinstance(own, dict):
        return Cell(MISSING)
    return Cell(f"{number(own['baseline_pct'], 1)} {own['baseline']}".rstrip(), own["baseline_pct"])


def _with_kind(manifest: Manifest, rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(kind=[kind(manifest, provider) for provider in rows["provider"]])


def timing_tables(data: ReportData) -> list[tuple[str, Table]]:
    """Return the times of each case and dtype; of a suite those of each case, a column a dtype."""
    import pandas as pd

    if data.suite.empty:
        return [
            (f"{name} {dtype}", columns.table("timings", _with_kind(data.manifest, rows)))
            for (name, dtype), rows in data.timings.groupby(["case", "dtype"], sort=False)
        ]
    found = []
    for name, own in data.timings.groupby("case", sort=False):
        rows: dict[str, dict[str, Any]] = {}
        for row in own.to_dict("records"):
            provider = row["provider"]
            kinds = {"provider": provider, "kind": kind(data.manifest, provider)}
            rows.setdefault(provider, kinds)[row["dtype"]] = row
        dtypes = dict.fromkeys(own["dtype"])
        shown = [columns.PROVIDER, columns.KIND, *(Column(d, partial(_median_and_spread, d)) for d in dtypes)]
        found.append((str(name), cells.table(pd.DataFrame(list(rows.values())), shown)))
    return found


def _median_and_spread(dtype: str, row: Row) -> Cell:
    times = row[dtype]
    if not isinstance(times, dict):
        return Cell(MISSING)
    text = f"{duration(times['median_us'])} ({times['q20_us']:.1f} to {times['q80_us']:.1f} µs)"
    return Cell(text, times["median_us"])


def every_timing(manifest: Manifest, timings: pd.DataFrame) -> Table:
    """Return all times of a run in one table."""
    return cells.table(_with_kind(manifest, timings), (columns.CASE, columns.DTYPE, *columns.TABLES["timings"]))


def mix_table(mix: pd.DataFrame) -> Table:
    """Return an instruction mix: versions, dtype, target, then a count a group of instructions."""
    names = ("versions", "dtype", "target")
    counts = [cells.figure(name, name) for name in mix.columns if name not in names]
    return cells.table(mix, [words("versions", "version"), *map(words, names[1:]), *counts])


def metric_changes(comparison: Comparison, case: str, dtype: str, *, moved: bool = False) -> Table:
    """Return the metrics of one case, base and head: the main ones and every stall that moved; `moved`: these alone."""
    own = comparison.metrics
    own = own[(own["case"] == case) & (own["dtype"] == dtype)]
    changed = own["moved"].astype(bool)
    main = own["metric"].isin([metric.name for metric in shown_in("comparison")])
    chosen = main | (own["metric"].str.startswith("stall_") & changed)
    return columns.table("metric changes", own[chosen & changed if moved else chosen])


def gpu_table(states: Iterable[GpuState]) -> Table:
    """Return what NVML said before, during and after each case."""
    import msgspec
    import pandas as pd

    rows = [msgspec.structs.asdict(state) | {"throttled": ", ".join(state.throttle)} for state in states]
    return columns.table("gpu states", pd.DataFrame(rows).astype(object))


def machine_table(machine: Machine) -> Table:
    """Return a machine, a row a field that was recorded."""
    told = {name.replace("_", " "): getattr(machine, name) for name in machine.__struct_fields__}
    rows = tuple((Cell(name), Cell(str(value))) for name, value in told.items() if value != "")
    return Table(("", ""), (False, False), rows)


def bottlenecks(main: pd.DataFrame) -> list[dict[str, str]]:
    """Return `version`, `bottleneck` and `evidence` a row; the versions without a known one share the last."""
    found = main[["version", "bottleneck", "evidence"]]
    unknown = found["bottleneck"] == UNKNOWN
    rows: list[dict[str, str]] = found[~unknown].to_dict("records")
    if unknown.any():
        rows.append(found[unknown].iloc[0].to_dict() | {"version": ", ".join(found["version"][unknown])})
    return rows

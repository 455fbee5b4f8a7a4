"""Comparisons in words and tables: the first line of a report, the ratios, the counters with arrows, the warnings."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rooflift.analysis.compare import Comparison, Verdict
from rooflift.report.tables import MISSING, Column, Texts, duration, number
from rooflift.schema import GpuState, Manifest

if TYPE_CHECKING:
    import pandas as pd

NAMED = 3  # of the cases that a line speaks of
CLOCKS_DIFFER = 0.02
SHOWN_METRICS = (
    *("sm_pct", "dram_pct", "l2_pct", "l2_hit_pct", "l1_hit_pct", "warps_active_pct", "issue_active_pct"),
    *("dram_read_bytes", "dram_write_bytes", "l2_bytes", "inst_executed", "grid_size", "registers", "shared_bytes"),
)


def interval(row: Mapping[str, Any]) -> str:
    """Return a ratio with its interval: "0.5021x (0.5016 to 0.5027)", a dash where there is none."""
    if math.isnan(row["time_x"]):
        return MISSING
    return f"{row['time_x']:.4f}x ({row['low']:.4f} to {row['high']:.4f})"


def _verdict(row: Mapping[str, Any]) -> str:
    return f"{row['verdict']}: {row['reason']}" if row["reason"] else str(row["verdict"])


STEP_METRICS = ("sm_pct", "dram_pct", "l2_hit_pct", "warps_active_pct")
STEP_HEADINGS = (
    *("version", "time", "time over the one before", "speedup", "roof %"),
    *("sm_pct", "dram_pct", "L2 hit %", "warps active %", "excess traffic", "registers", "spills"),
    *("error / tolerance", "bottleneck", "predictions"),
)
STEP_LEFT = ("version", "bottleneck", "predictions")

COMPARISON_COLUMNS = (
    Column("case", lambda row: row["case"], right=False),
    Column("dtype", lambda row: row["dtype"], right=False),
    Column("base", lambda row: duration(row["base_us"])),
    Column("head", lambda row: duration(row["head_us"])),
    Column("head / base", interval),
    Column("verdict", _verdict, right=False),
    Column("by the counters", lambda row: row["cause"] or MISSING, right=False),
)


def _count(value: float) -> str:
    if value != int(value) or abs(value) < 1000:
        return number(value, 0 if value == int(value) else 1 if abs(value) >= 10 else 2)
    return f"{value:,.0f}".replace(",", " ") if value < 1e8 else f"{value:.4g}"


def _change(row: Mapping[str, Any]) -> str:
    change, ratio = row["change"], row["base"] and abs(row["change"] * row["base"] - row["head"]) < 1e-9 * row["head"]
    return f"{change:.2f}x" if ratio else f"{change:+.1f}"


GATE_COLUMNS = (
    Column("rule", lambda row: row["rule"], right=False),
    Column("where", lambda row: row["where"] or MISSING, right=False),
    Column("value", lambda row: row["value"] or MISSING),
    Column("status", lambda row: row["status"], right=False),
    Column("reason", lambda row: row["reason"], right=False),
)

METRIC_CHANGE_COLUMNS = (
    Column("metric", lambda row: row["metric"], right=False),
    Column("base", lambda row: _count(row["base"])),
    Column("head", lambda row: _count(row["head"])),
    Column("change", lambda row: f"{arrow(row)}{_change(row)}"),
)


def arrow(row: Mapping[str, Any]) -> str:
    """Return an arrow for a counter that moved, "" for one that did not."""
    return ("↑ " if row["head"] > row["base"] else "↓ ") if row["moved"] else ""


def step_table(main: pd.DataFrame, manifest: Manifest, compiled: pd.DataFrame, steps: Iterable[Comparison]) -> Texts:
    """Return the report's table of the versions on the main case: the ratio to the version before, and all that counts.

    An arrow stands where a counter moved by two points or more from the version before. Spills are the executed ones
    that ncu counted, in a run without counters those in the binary.
    """
    ratios = {step.head.version: step.cases.iloc[0] for step in steps}
    errors: dict[str, list[float]] = {}
    for check in manifest.checks:
        errors.setdefault(check.version, []).append(check.error_over_tolerance)
    spills = compiled.groupby("version")["spill_instructions"].sum().to_dict()
    rows: list[list[str]] = []
    before: dict[str, Any] | None = None
    for row in main.to_dict("records"):
        version = row["version"]
        step = ratios.get(version)
        rows.append(
            [
                version,
                duration(row["time_us"]),
                MISSING if step is None else f"{interval(step)} {step['verdict']}",
                number(row["speedup"], 2, "x"),
                number(row["sol_pct"], 1),
                *(_moved(row, before, name) + number(row[name]) for name in STEP_METRICS),
                _moved(row, before, "excess_traffic", 0.02) + number(row["excess_traffic"], 3, "x"),
                number(row["registers"]),
                number(spills.get(version, row.get("inst_spill", math.nan))),
                f"{max(errors[version]):.2f}" if version in errors else MISSING,
                row["bottleneck"],
                row["predictions"],
            ]
        )
        before = row
    return Texts(STEP_HEADINGS, [heading not in STEP_LEFT for heading in STEP_HEADINGS], rows)


def _moved(row: Mapping[str, Any], before: Mapping[str, Any] | None, name: str, least: float = 2) -> str:
    if before is None or not abs(row[name] - before[name]) >= least:  # NaN is no move
        return ""
    return "↑ " if row[name] > before[name] else "↓ "


def main_metrics(comparison: Comparison, case: str, dtype: str) -> pd.DataFrame:
    """Return the counters of one case that a report shows: the main ones, and every stall that moved."""
    own = comparison.metrics
    own = own[(own["case"] == case) & (own["dtype"] == dtype)]
    stalls = own["metric"].str.startswith("stall_") & own["moved"].astype(bool)
    return own[own["metric"].isin(SHOWN_METRICS) | stalls]


def verdict_line(comparison: Comparison, case: str, dtype: str) -> str:
    """Return what a comparison comes to in one line: the main case, the others by number, the geometric mean."""
    base, head = (one.version for one in (comparison.base, comparison.head))
    if base == head:
        base, head = comparison.base.name, comparison.head.name
    cases = comparison.cases
    rows = cases[(cases["case"] == case) & (cases["dtype"] == dtype)].to_dict("records") or cases.to_dict("records")
    first = rows[0]
    if comparison.count("not comparable") == len(cases):
        return f"**{head} and {base} are not comparable**: {first['reason']}."
    what = {
        "faster": f"**{head} is faster than {base}**",
        "slower": f"**{head} is slower than {base}**",
        "within noise": f"**{head} and {base} are within noise**",
        "not comparable": f"**{head} and {base} are not comparable** ({first['reason']})",
    }[first["verdict"]]
    ratio = "" if math.isnan(first["time_x"]) else f": time ratio {interval(first)}"
    line = f"{what} on {first['case']} {first['dtype']}{ratio}"
    if first["verdict"] == "within noise" and not first["low"] <= 1 <= first["high"]:  # a change, and a small one
        line += f", and below {100 * first['min_effect']:.2g} % a change is none"
    line += f", {first['cause']}." if first["cause"] else "."
    if len(cases) == 1:
        return line
    return f"{line} {_others(comparison)}"


def _others(comparison: Comparison) -> str:
    words: tuple[Verdict, ...] = ("faster", "slower", "within noise", "not comparable")
    counts = [f"{word} in {comparison.count(word)}" for word in words if comparison.count(word)]
    text = f"Of {len(comparison.cases)} cases and dtypes: {', '.join(counts)}"
    if len(counts) == 1:
        text = f"The same in all {len(comparison.cases)} cases and dtypes"
    slower = comparison.cases[comparison.cases["verdict"] == "slower"].sort_values("time_x", ascending=False)
    if not slower.empty:
        names = [f"{row.case} {row.dtype} {row.time_x:.3f}x" for row in slower.head(NAMED).itertuples()]
        more = f" and {len(slower) - NAMED} more" if len(slower) > NAMED else ""
        text += f" (slowest against base: {', '.join(names)}{more})"
    return f"{text}. {mean_text(comparison)}"


def mean_text(comparison: Comparison) -> str:
    """Return the geometric mean of the ratios with its interval and what it is taken over."""
    mean = comparison.mean
    if mean is None:
        return "No case has a ratio."
    return (
        f"Geometric mean of the time ratios over {mean.cases}: {mean.time_x:.4f}x ({mean.low:.4f} to {mean.high:.4f}, "
        "for these cases)."
    )


def method_text(comparison: Comparison) -> str:
    """Return how the verdicts came about."""
    test = (
        "timed in the same rounds of one process: Wilcoxon's signed ranks"
        if comparison.paired
        else "timed in two processes: Mann and Whitney's ranks"
    )
    least = comparison.cases["min_effect"].dropna()
    farthest = f" to {100 * least.max():.1f} %" if not least.empty and least.max() > comparison.rule.min_effect else ""
    confidence = number(100 * (1 - comparison.rule.alpha))
    return (
        f"head / base is a time ratio with its {confidence} % interval, below 1 faster; {test}, corrected by Holm "
        f"for {len(comparison.cases)} case{'s' * (len(comparison.cases) > 1)} at level {comparison.rule.alpha:g}; a "
        f"change below {100 * comparison.rule.min_effect:g} %{farthest} (the rule, or the measured noise) is none."
    )


def warnings(manifest: Manifest, summary: pd.DataFrame, comparison: Comparison | None) -> list[str]:
    """Return what makes a reader careful: machines, dirty trees, throttling, noise, results above the roof."""
    found = _run_warnings([manifest]) if comparison is None else comparison_warnings(comparison)
    above = summary[summary["sol_pct"] > 100]
    if not above.empty:
        names = ", ".join(f"{row.version} ({row.case} {row.dtype})" for row in above.head(NAMED).itertuples())
        more = f" and {len(above) - NAMED} more" if len(above) > NAMED else ""
        found.append(f"Above the measured roof, which is suspect: {names}{more}.")
    return found


def gpu_table(states: Iterable[GpuState]) -> tuple[pd.DataFrame, list[Column]]:
    """Return what NVML said before, during and after each case, with its columns."""
    import msgspec
    import pandas as pd

    def figure(name: str) -> Callable[[Mapping[str, Any]], str]:
        return lambda row: number(math.nan if row[name] is None else row[name])

    columns = [
        Column("case", lambda row: row["case"], right=False),
        Column("dtype", lambda row: row["dtype"], right=False),
        Column("at", lambda row: row["at"], right=False),
        Column("SM MHz", figure("sm_mhz")),
        Column("memory MHz", figure("memory_mhz")),
        Column("°C", figure("temperature_c")),
        Column("W", figure("power_w")),
        Column("held back by", lambda row: ", ".join(row["throttle"]) or MISSING, right=False),
    ]
    return pd.DataFrame([msgspec.structs.asdict(state) for state in states]), columns


def comparison_warnings(comparison: Comparison) -> list[str]:
    """Return what makes a reader of a comparison careful."""
    base, head = comparison.base.manifest, comparison.head.manifest
    found = [f"Base and head differ: {difference}." for difference in comparison.differences]
    found += [] if base is head else _clocks(base.gpu_states, head.gpu_states)
    return found + _noise(comparison) + _run_warnings([head] if base is head else [base, head])


def _run_warnings(manifests: Sequence[Manifest]) -> list[str]:
    found = []
    for one in manifests:
        which = f" ({one.name})" if len(manifests) > 1 else ""
        if one.dirty:
            found.append(f"The tree held uncommitted changes{which}: the commit alone does not give these kernels.")
        found += [f"{text}{which}." for text in _throttled(one.gpu_states)]
    return found


def _throttled(states: Iterable[GpuState]) -> list[str]:
    own = [state for state in states if state.at == "during"]
    reasons: dict[str, int] = {}
    for state in own:
        for reason in state.throttle:
            reasons[reason] = reasons.get(reason, 0) + 1
    return [
        f"The GPU held its clocks back ({reason}) in {count} of {len(own)} looks" for reason, count in reasons.items()
    ]


def _clocks(base: Iterable[GpuState], head: Iterable[GpuState]) -> list[str]:
    clocks = [[s.sm_mhz for s in states if s.at == "during" and s.sm_mhz is not None] for states in (base, head)]
    if not all(clocks):
        return []
    one, other = (statistics.median(own) for own in clocks)
    if abs(other / one - 1) < CLOCKS_DIFFER:
        return []
    return [f"The SM clock was {one:.0f} MHz for base and {other:.0f} MHz for head."]


def _noise(comparison: Comparison) -> list[str]:
    """Name the cases whose noise, or drift between two runs, is above the rule's minimum effect."""
    rows = comparison.cases.dropna(subset=["min_effect"])
    loud = rows[rows["min_effect"] > comparison.rule.min_effect].sort_values("min_effect", ascending=False)
    if loud.empty:
        return []
    names = [f"{row.case} {row.dtype} {100 * row.min_effect:.1f} %" for row in loud.head(NAMED).itertuples()]
    more = f" and {len(loud) - NAMED} more" if len(loud) > NAMED else ""
    what = "the noise of the measurement" if comparison.paired else "the noise, or what unchanged providers differ by,"
    return [f"Too loud for {100 * comparison.rule.min_effect:g} %: {what} is {', '.join(names)}{more}."]

"""The sentences of a report: headline, verdict, suite, predictions, sanitizer. Computes nothing that a table shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rooflift.analysis.compare import Comparison, Rule, Verdict
from rooflift.analysis.sol import SUSPECT_PCT, rate_text
from rooflift.analysis.suite import standing
from rooflift.report.cells import Row, duration, named, number
from rooflift.report.columns import interval
from rooflift.report.data import ReportData, counted_verdicts
from rooflift.schema import UNKNOWN, SanitizerRecord

if TYPE_CHECKING:
    import pandas as pd


def headline(data: ReportData) -> str:
    """Return the first line of a report: the fastest version, its SOL %, and which are as fast."""
    timed = data.main.dropna(subset=["time_us"])
    if timed.empty:
        return "No version was timed."
    best = timed.loc[timed["time_us"].idxmin()]
    versus = f", {number(best['speedup'], 2)}x over {timed.iloc[0]['version']}" if len(timed) > 1 else ""
    above = data.summary[data.summary["sol_pct"] > SUSPECT_PCT]
    names = named([f"{row.version} ({row.case} {row.dtype})" for row in above.itertuples()])
    near = timed[(timed["time_us"] <= (1 + Rule().min_effect) * best["time_us"]) & (timed.index != best.name)]
    level = [str(versions) for versions in near.sort_values("time_us")["versions"]]
    close = f"; within {100 * Rule().min_effect:g} % of it: {named(level)}" if level else ""
    suspect = f" **Suspect: above 100 % of SOL: {names}.**" if names else ""
    verb = "is" if best["versions"] == best["version"] else "are"
    limit = "" if best["bottleneck"] == UNKNOWN else f", bottleneck {best['bottleneck']}"
    return (
        f"**{best['versions']}** {verb} the fastest: {duration(best['time_us'])}{versus}, "
        f"{_share(best)}{limit}{close}.{suspect}"
    )


def _share(row: pd.Series) -> str:
    """Return SOL %, the term that binds and what the version reaches of it."""
    reached = rate_text(row["achieved_per_s"], row["sol_binds"])
    return f"{number(row['sol_pct'], 1)} % of SOL ({row['sol_binds']}: {reached})" if reached else "SOL % unknown"


def suite_line(data: ReportData) -> str:
    """Return where the last version stands: on the main case, on those larger than an L2, and on the smaller ones."""
    rows = data.suite
    main = rows[rows["case"] == data.case.case]
    reached = [f"{number(row.sol_pct, 1)} % in {row.dtype}" for row in main.itertuples()]
    parts = [
        f"**{rows['version'].iloc[-1]}** on {data.case.case} reaches {', '.join(reached)} of SOL.",
        _standing_text(rows[rows["is_large"]], data.manifest.machine.l2_bytes, small=False),
        _standing_text(rows[~rows["is_large"]], data.manifest.machine.l2_bytes, small=True),
    ]
    return " ".join(filter(None, parts))


def _standing_text(rows: pd.DataFrame, l2_bytes: int | None, *, small: bool) -> str:
    at = standing(rows, strictly=not small)
    if at is None:
        return ""
    figures = (
        f"geometric mean {number(at.geomean_pct, 1)} %, lowest {number(at.lowest['sol_pct'], 1)} % "
        f"({at.lowest['case']} {at.lowest['dtype']})"
    )
    size = f" {'up to' if small else 'above'} {l2_bytes / 1e6:.0f} MB, the size of L2" if l2_bytes else ""
    over = f"Over {at.count} cases and dtypes{size}: {figures}, "
    ahead = f"{'as fast as the best' if small else 'faster than every'} baseline in {at.ahead} of {at.count}"
    behind = [
        f"{row.case} {row.dtype} ({number(row.lead, 2, 'x')} {row.baseline or 'no baseline'})"
        for row in at.behind.itertuples()
    ]
    return over + ahead + (f"; behind on {named(behind)}." if behind else ".")


def verdict_line(comparison: Comparison, case: str, dtype: str) -> str:
    """Return what a comparison comes to in one line: the main case, the others by number, the geometric mean."""
    cases = comparison.cases
    rows = cases[(cases["case"] == case) & (cases["dtype"] == dtype)].to_dict("records") or cases.to_dict("records")
    first = rows[0]
    what = verdict_words(comparison, first)
    if comparison.count("not comparable") == len(cases):
        return f"**{what}**: {first['reason']}."
    reason = f" ({first['reason']})" if first["verdict"] == "not comparable" else ""
    ratio = "" if math.isnan(first["time_x"]) else f": time ratio {interval(first)}"
    line = f"**{what}**{reason} on {first['case']} {first['dtype']}{ratio}{too_small(first)}"
    line += f", {first['cause']}." if first["cause"] else "."
    return line if len(cases) == 1 else f"{line} {others_text(comparison)}"


def verdict_words(comparison: Comparison, row: Row) -> str:
    """Return the verdict of a case with the names of both: "v1_grid is faster than v0_baseline"."""
    base, head = (one.version for one in (comparison.base, comparison.head))
    if base == head:
        base, head = comparison.base.name, comparison.head.name
    one_sided = f"{head} is {row['verdict']} than {base}"
    return one_sided if row["verdict"] in ("faster", "slower") else f"{head} and {base} are {row['verdict']}"


def too_small(row: Row) -> str:
    """Return why a change that the samples show is none, "" of any other."""
    if row["verdict"] != "within noise" or row["low"] <= 1 <= row["high"]:
        return ""
    return f", and below {100 * row['min_effect']:.2g} % a change is none"


def others_text(comparison: Comparison) -> str:
    """Return how many cases have which verdict, the slowest by name, and the geometric mean."""
    words: tuple[Verdict, ...] = ("faster", "slower", "within noise", "not comparable")
    counts = [f"{word} in {comparison.count(word)}" for word in words if comparison.count(word)]
    text = f"Of {len(comparison.cases)} cases and dtypes: {', '.join(counts)}"
    if len(counts) == 1:
        text = f"The same in all {len(comparison.cases)} cases and dtypes"
    slower = comparison.cases[comparison.cases["verdict"] == "slower"].sort_values("time_x", ascending=False)
    if not slower.empty:
        names = [f"{row.case} {row.dtype} {row.time_x:.3f}x" for row in slower.itertuples()]
        text += f" (slowest against base: {named(names)})"
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
    if comparison.paired:
        test = "timed in the same rounds of one process: Wilcoxon's signed ranks"
        bounds = "the rule, or the measured noise"
    else:
        test = f"timed in two processes{_cards(comparison)}: Mann and Whitney's ranks"
        bounds = "the rule, the measured noise, or what did not change between the runs differs by"
    least = comparison.cases["min_effect"].dropna()
    farthest = f" to {100 * least.max():.1f} %" if not least.empty and least.max() > comparison.rule.min_effect else ""
    confidence = number(100 * (1 - comparison.rule.alpha))
    return (
        f"head / base is a time ratio with its {confidence} % interval, below 1 faster; {test}, corrected by Holm "
        f"for {len(comparison.cases)} case{'s' * (len(comparison.cases) > 1)} at level {comparison.rule.alpha:g}; a "
        f"change below {100 * comparison.rule.min_effect:g} %{farthest} ({bounds}) is none."
    )


def _cards(comparison: Comparison) -> str:
    one, other = comparison.base.manifest.machine.card, comparison.head.manifest.machine.card
    if not (one and other):
        return ""
    return " on one card" if one == other else " on two cards"


def comparison_title(comparison: Comparison) -> str:
    """Return the heading over a comparison."""
    base, head = comparison.base, comparison.head
    if base.manifest is head.manifest:
        return f"{head.version} against {base.version}"
    return f"{head.name} against {base.name}"


def predictions_text(judged: pd.DataFrame) -> str:
    """Return how the predictions came out, in one line."""
    if judged.empty:
        return "None is judged: the versions' headers make none, or not for the cases of this run."
    told = counted_verdicts(judged["verdict"])
    return f"Written into the versions' headers before the measurement. Of {len(judged)}: {told}."


def sanitizer_text(records: Sequence[SanitizerRecord]) -> str:
    """Return one line for a report: what is clean, and each finding; "" without records."""
    if not records:
        return ""
    tools, versions = (
        list(dict.fromkeys(names)) for names in zip(*((r.tool, r.version) for r in records), strict=True)
    )
    cases, dtypes = ({name for r in records for name in r.cases}, {name for r in records for name in r.dtypes})
    over = f"{len(cases)} test case{'s' * (len(cases) > 1)} in {len(dtypes)} dtype{'s' * (len(dtypes) > 1)}"
    dirty = [f"{r.tool} found {r.errors} in {r.version} ({r.first})" for r in records if r.errors]
    which = versions[0] if len(versions) == 1 else f"{versions[0]} to {versions[-1]} ({len(versions)} versions)"
    said = "; ".join(dirty) if dirty else f"{', '.join(tools)} clean for {which}"
    return f"compute-sanitizer: {said} on {over}."

"""report.md and the figures of a run, from its tables. Writes into one folder, measures nothing."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from rooflift.analysis.compare import Comparison, Rule, Side, compare
from rooflift.analysis.suite import LARGE_BYTES, has_suite, shares, standing, suite
from rooflift.analysis.summary import judge, main_case, roofs, summarize
from rooflift.escape import Markdown, environment
from rooflift.report import tables
from rooflift.report.figures import panels
from rooflift.report.figures.roofline import roofline_figure
from rooflift.report.figures.style import save
from rooflift.report.text import in_words
from rooflift.report.verdicts import (
    COMPARISON_COLUMNS,
    METRIC_CHANGE_COLUMNS,
    gpu_table,
    main_metrics,
    mean_text,
    method_text,
    step_table,
    verdict_line,
    warnings,
)
from rooflift.schema import UNKNOWN, CaseRecord, CheckRecord, Manifest, Roofs

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


PICTURES = {
    "roofline.svg": "Roofline with the trail of the versions",
    "metrics.svg": "Counters of each version",
    "stalls.svg": "Warp stalls of each version",
}
SUITE_PICTURE = "suite.svg"
LONGEST_COMMENT = 65_000  # characters; code hosts take 65 536, and who posts it adds a mark and a link
LEFT_OUT = {  # the longest tables, the first to go first
    "timing_tables": "The times of every provider are left out of this text for its length: timings.csv has them.",
    "case_tables": "The counters of the other cases are left out for its length: metrics.csv has them.",
    "gpu_table": "The states of the GPU are left out for its length: run.json has them.",
    "suite_table": "The table of the suite is left out for its length: timings.csv has the times, suite.svg shows it.",
    "comparison_table": "The table of the comparison is left out for its length: `rooflift compare` prints it.",
    "stories": "What the versions change, and why, is left out for its length: run.json has it.",
    "prediction_table": "The table of the predictions is left out for its length: `rooflift show` prints it.",
}
NAMED = 3  # of the rows that the first lines speak of


@dataclass(frozen=True)
class ReportData:
    """A run with its meaning: what tables, figures, report and notebooks show."""

    manifest: Manifest
    summary: pd.DataFrame  # every case, with the column `predictions` for the main one
    judged: pd.DataFrame
    timings: pd.DataFrame
    compiled: pd.DataFrame
    suite: pd.DataFrame  # the last version beside the best baseline; empty for a run of one case
    comparison: Comparison | None = None  # with base: every case; without: the last version against the one before it
    steps: tuple[Comparison, ...] = ()  # every version against the one before it, on the main case

    @property
    def case(self) -> CaseRecord:
        """The case that the headers speak of."""
        return main_case(self.manifest.cases)

    @property
    def main(self) -> pd.DataFrame:
        """The summary of the main case, one row a version."""
        return self.of(self.case)

    def of(self, case: CaseRecord) -> pd.DataFrame:
        """The summary of one case and dtype."""
        return _of_case(self.summary, case)

    @property
    def provenance(self) -> str:
        """Where and with what the figures were measured, in one line."""
        m = self.manifest.machine
        ncu = f", ncu {m.ncu}" if m.ncu else ""
        clocks = "left alone" if self.manifest.clock_control == "none" else self.manifest.clock_control
        return (
            f"Measured on {m.gpu}, driver {m.driver}, CUDA {m.cuda}{ncu}, torch {m.torch}, triton {m.triton}; "
            f"{self.manifest.created[:10]}, clocks {clocks}."
        )


def tell(
    manifest: Manifest,
    metrics: pd.DataFrame,
    timings: pd.DataFrame,
    compiled: pd.DataFrame,
    samples: pd.DataFrame | None = None,
    base: Side | None = None,
    rule: Rule | None = None,
) -> ReportData:
    """Return the story of a run's tables; with its samples, also how its versions compare.

    The run's last version is compared with `base`, a version of another run, or else with the version before it.
    """
    summary = summarize(manifest, metrics, timings)
    judged = judge(manifest, summary)
    beside = suite(manifest, timings)
    return ReportData(
        manifest,
        tables.with_predictions(summary, judged),
        judged,
        timings,
        compiled,
        beside if has_suite(manifest) else beside.iloc[:0],
        *((None, ()) if samples is None else _comparisons(manifest, metrics, samples, base, rule)),
    )


def _comparisons(
    manifest: Manifest, metrics: pd.DataFrame, samples: pd.DataFrame, base: Side | None, rule: Rule | None
) -> tuple[Comparison | None, tuple[Comparison, ...]]:
    timed = set(samples["provider"])
    sides = [Side(manifest, v.version, samples, metrics) for v in manifest.versions if v.version in timed]
    case = main_case(manifest.cases)
    alone = msgspec.structs.replace(manifest, cases=[case])
    few, none = _of_case(samples, case), metrics.iloc[:0]  # of the steps the times are shown, no counters
    short = [Side(alone, side.version, few, none) for side in sides]
    steps = tuple(compare(one, other, rule) for one, other in pairwise(short))
    if base is None and len(sides) > 1:
        base = sides[-2]
    return (compare(base, sides[-1], rule) if base is not None and sides else None), steps


def _of_case(frame: pd.DataFrame, case: CaseRecord) -> pd.DataFrame:
    return frame[(frame["case"] == case.case) & (frame["dtype"] == case.dtype)]


def draw(story: ReportData, folder: Path, measured: Roofs | None = None) -> list[Path]:
    """Write the figures that the run has values for (SVG and PNG) and return their paths.

    `measured` are the GPU's roofs for the roofline, where they have been measured.
    """
    for name in (*PICTURES, SUITE_PICTURE):  # of a run that was told into this folder before
        (folder / name).unlink(missing_ok=True)
    drawn = figures(story, measured)
    return [path for name, figure in drawn.items() for path in save(figure, folder / name)]


def figures(story: ReportData, measured: Roofs | None = None) -> dict[str, Figure]:
    """Return the figures that the run has values for: roofline, metrics, stalls, suite."""
    about = f"{story.manifest.operator}, case {story.case.case}, {story.case.dtype}"
    drawn = {
        "roofline": roofline_figure(
            story.main,
            roofs(story.manifest, story.main, measured),
            title=f"Roofline trail: {about}",
            footnote=story.provenance,
        )
    }
    shown = [panel for panel in panels.DEFAULT_PANELS if story.main[panel.column].notna().any()]
    if shown:
        absent = [panel.label for panel in panels.DEFAULT_PANELS if panel not in shown]
        footnote = story.provenance + (f" Not collected: {', '.join(absent)}." if absent else "")
        drawn["metrics"] = panels.metrics_figure(
            story.main, title=f"Counters: {about}", footnote=footnote, panels=shown
        )
    if story.main.filter(like="stall_").notna().any(axis=None):
        drawn["stalls"] = panels.stalls_figure(story.main, title=f"Warp stalls: {about}", footnote=story.provenance)
    if not story.suite.empty:
        drawn["suite"] = panels.suite_figure(
            shares(story.manifest, story.timings),
            title=f"Share of the copy floor: {story.manifest.operator}",
            footnote=story.provenance,
        )
    return drawn


def headline(story: ReportData) -> str:
    """Return the first line of a report: the fastest version, how far it is from the floor, and which are as fast."""
    timed = story.main.dropna(subset=["time_us"])
    if timed.empty:
        return "No version was timed."
    best = timed.loc[timed["time_us"].idxmin()]
    versus = f", {tables.number(best['speedup'], 2)}x over {timed.iloc[0]['version']}" if len(timed) > 1 else ""
    above = story.summary[story.summary["sol_pct"] > 100]
    names = ", ".join(f"{row.version} ({row.case} {row.dtype})" for row in above.head(NAMED).itertuples())
    names += f" and {len(above) - NAMED} more" if len(above) > NAMED else ""
    near = timed[(timed["time_us"] <= (1 + Rule().min_effect) * best["time_us"]) & (timed.index != best.name)]
    level = [str(version) for version in near.sort_values("time_us")["version"]]
    close = f"; within {100 * Rule().min_effect:g} % of it: {', '.join(level[:NAMED])}" if level else ""
    close += f" and {len(level) - NAMED} more" if len(level) > NAMED else ""
    suspect = f" **Suspect: above the measured roof: {names}.**" if names else ""
    limit = "" if best["bottleneck"] == UNKNOWN else f", bottleneck {best['bottleneck']}"
    return (
        f"**{best['version']}** is the fastest: {tables.duration(best['time_us'])}{versus}, "
        f"{tables.number(best['sol_pct'], 1)} % of the measured roof{limit}{close}.{suspect}"
    )


def bottlenecks(main: pd.DataFrame) -> list[dict[str, str]]:
    """Return `version`, `bottleneck` and `evidence` a row; the versions without a known one share the last."""
    found = main[["version", "bottleneck", "evidence"]]
    unknown = found["bottleneck"] == UNKNOWN
    rows: list[dict[str, str]] = found[~unknown].to_dict("records")
    if unknown.any():
        rows.append(found[unknown].iloc[0].to_dict() | {"version": ", ".join(found["version"][unknown])})
    return rows


def first_lines(story: ReportData) -> list[str]:
    """Return what a report opens with: the verdict, of a suite where the last version stands, then the headline."""
    verdict = [] if story.comparison is None else [verdict_line(story.comparison, story.case.case, story.case.dtype)]
    return [*verdict, *([] if story.suite.empty else [suite_line(story)]), headline(story)]


def suite_line(story: ReportData) -> str:
    """Return where the last version stands: on the main case, on those larger than an L2, and on the smaller ones."""
    rows = story.suite
    main = rows[rows["case"] == story.case.case]
    reached = [f"{tables.number(row.sol_pct, 1)} % in {row.dtype}" for row in main.itertuples()]
    parts = [
        f"**{rows['version'].iloc[-1]}** on {story.case.case} reaches {', '.join(reached)} of the copy floor.",
        _standing_text(rows[rows["is_large"]], small=False),
        _standing_text(rows[~rows["is_large"]], small=True),
    ]
    return " ".join(filter(None, parts))


def _standing_text(rows: pd.DataFrame, *, small: bool) -> str:
    at = standing(rows, strictly=not small)
    if at is None:
        return ""
    figures = (
        f"geometric mean {tables.number(at.geomean_pct, 1)} %, lowest {tables.number(at.lowest['sol_pct'], 1)} % "
        f"({at.lowest['case']} {at.lowest['dtype']})"
    )
    over = f"Over {at.count} cases and dtypes {'up to' if small else 'above'} {LARGE_BYTES / 1e6:.0f} MB: {figures}, "
    ahead = f"{'as fast as the fastest' if small else 'faster than every'} baseline in {at.ahead} of {at.count}"
    behind = [
        f"{row.case} {row.dtype} ({tables.number(row.lead, 2, 'x')} {row.baseline or 'no baseline'})"
        for row in at.behind.head(NAMED).itertuples()
    ]
    more = f" and {len(at.behind) - NAMED} more" if len(at.behind) > NAMED else ""
    return over + ahead + (f"; behind on {', '.join(behind)}{more}." if behind else ".")


def write_report(story: ReportData, folder: Path) -> Path:
    """Write report.md, which shows the figures that lie in the folder, and return its path.

    It stays below `LONGEST_COMMENT`: of a run too large for that the longest tables are left out, and it says so.
    """
    template = environment("rooflift.report", markdown=True).get_template("report.md.j2")
    context = _context(story, [path.name for path in folder.glob("*.svg")])
    text = template.render(context)
    for part, told in LEFT_OUT.items():
        if len(text) < LONGEST_COMMENT:
            break
        if context[part]:
            context |= {part: context[part][:0], "left_out": [*context["left_out"], Markdown(told)]}
            text = template.render(context)
    path = folder / "report.md"
    path.write_text(text, encoding="utf-8")
    return path


def _context(story: ReportData, drawn: Sequence[str]) -> dict[str, Any]:
    manifest, case = story.manifest, story.case
    others = [c for c in manifest.cases if c is not case]
    in_terms = manifest.machine.__struct_fields__
    return {
        "manifest": manifest,
        "commands": [shlex.join(words) for words in (manifest.command, manifest.ncu_command) if words],
        "case": case,
        "init": ", ".join(f"{k}={v}" for k, v in case.init.items())
        if isinstance(case.init, dict)
        else f"init {case.init}",
        "first_lines": first_lines(story),
        "suite_table": "" if story.suite.empty else tables.markdown(*tables.suite_table(story.suite)),
        "suite_picture": SUITE_PICTURE if SUITE_PICTURE in drawn else "",
        "baselines": {name: text for name, text in tables.BASELINES.items() if name in set(story.timings["provider"])},
        "summary_table": tables.in_markdown(step_table(story.main, manifest, story.compiled, story.steps)),
        "warnings": warnings(manifest, story.summary, story.comparison),
        **_comparison_context(story),
        "left_out": [],
        "stories": manifest.versions,
        "gpu_table": tables.markdown(*gpu_table(manifest.gpu_states)) if manifest.gpu_states else "",
        "sampling": manifest.sampling,
        "gigabytes": tables.number(case.compulsory_bytes / 1e9, 3),
        "floor": tables.duration(story.main.iloc[0]["sol_us"]),
        "pictures": {text: name for name, text in PICTURES.items() if name in drawn},
        "prediction_text": tables.predictions_text(story.judged),
        "prediction_table": "" if story.judged.empty else tables.markdown(story.judged, tables.PREDICTION_COLUMNS),
        "bottlenecks": bottlenecks(story.main),
        "case_tables": [
            (f"{c.case} {c.dtype}", tables.markdown(story.of(c), tables.SUMMARY_COLUMNS[:-1]))
            for c in others
            if story.suite.empty or story.of(c)["sm_pct"].notna().any()  # a suite's other cases have times alone
        ],
        "timing_tables": _timing_tables(story),
        "samples": sorted({*story.timings["n"].agg(["min", "max"])}),
        "checked_cases": _checked(manifest.checks),
        "sanitizer": in_words(manifest.sanitizer),
        "worst_error": f"{max((c.error_over_tolerance for c in manifest.checks), default=0):.2f}",
        "compiled_table": "" if story.compiled.empty else tables.markdown(story.compiled, tables.COMPILED_COLUMNS),
        "machine": [(name.replace("_", " "), getattr(manifest.machine, name)) for name in in_terms],
    }


def _comparison_context(story: ReportData) -> dict[str, str]:
    found = story.comparison
    if found is None:
        names = ("comparison_table", "comparison_title", "comparison_text", "metric_change_table", "base_name")
        return dict.fromkeys(names, "")
    counters = main_metrics(found, story.case.case, story.case.dtype)
    mean = f" {mean_text(found)}" if len(found.cases) > 1 else ""
    return {
        "comparison_title": comparison_title(found),
        "comparison_table": tables.markdown(found.cases, COMPARISON_COLUMNS),
        "comparison_text": method_text(found) + mean,
        "metric_change_table": "" if counters.empty else tables.markdown(counters, METRIC_CHANGE_COLUMNS),
        "base_name": found.base.name,
    }


def comparison_title(comparison: Comparison) -> str:
    """Return the heading over a comparison."""
    base, head = comparison.base, comparison.head
    if base.manifest is head.manifest:
        return f"{head.version} against {base.version}"
    return f"{head.name} against {base.name}"


def _timing_tables(story: ReportData) -> list[tuple[str, str]]:
    """Return the times of each case and dtype; of a suite those of each case, a column a dtype."""
    import pandas as pd

    if story.suite.empty:
        return [
            (f"{name} {dtype}", tables.markdown(rows, tables.TIMING_COLUMNS))
            for (name, dtype), rows in story.timings.groupby(["case", "dtype"], sort=False)
        ]
    found: list[tuple[str, str]] = []
    for name, own in story.timings.groupby("case", sort=False):
        rows: dict[str, dict[str, Any]] = {}
        for row in own.to_dict("records"):
            rows.setdefault(row["provider"], {"provider": row["provider"]})[row["dtype"]] = row
        frame = pd.DataFrame(list(rows.values()))
        found.append((str(name), tables.markdown(frame, tables.provider_columns(list(dict.fromkeys(own["dtype"]))))))
    return found


def _checked(checks: Sequence[CheckRecord]) -> str:
    return ", ".join(dict.fromkeys(f"{check.case} {check.dtype}" for check in checks)) or "none"

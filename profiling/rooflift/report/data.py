"""A run with its meaning: what tables, figures, report and notebooks show. Writes nothing, measures nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from rooflift.analysis.compare import Comparison, Rule, Side, compare
from rooflift.analysis.groups import groups, one_row_a_group
from rooflift.analysis.predictions import judge
from rooflift.analysis.sol import SpeedOfLight, speed_of_light
from rooflift.analysis.suite import has_suite, kind, suite
from rooflift.analysis.summary import main_case, summarize
from rooflift.report.figures.progress import Level
from rooflift.schema import Manifest, ResolvedCase, Roofs

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ReportData:
    """What a report shows of one run."""

    manifest: Manifest
    summary: pd.DataFrame  # every case, with the column `predictions` for the main one
    judged: pd.DataFrame
    timings: pd.DataFrame
    compiled: pd.DataFrame
    suite: pd.DataFrame  # the last version beside the best baseline; empty for a run of one case
    comparison: Comparison | None = None  # with base: every case; without: the last version against the one before it
    steps: tuple[Comparison, ...] = ()  # every version against the one before it, on the main case
    measured: Roofs | None = None  # the roofs of the run's GPU
    timeline: pd.DataFrame | None = None  # metrics over the time of the launches (`ncu.timeline`)
    lines: Mapping[str, pd.DataFrame] = field(default_factory=dict)  # of the main case: a version's source lines

    @property
    def case(self) -> ResolvedCase:
        """The case that the headers speak of."""
        return main_case(self.manifest)

    @property
    def is_ladder(self) -> bool:
        """Whether the run is about a ladder of versions, and not about one version against its base."""
        found = self.comparison
        return found is None or (found.base.manifest is found.head.manifest and len(self.main) != 2)

    @property
    def main(self) -> pd.DataFrame:
        """The summary of the main case: one row a version, or a group of versions that are the same machine code.

        The column `versions` says whom a row stands for.
        """
        return one_row_a_group(self.of(self.case), groups(self.manifest, self.case))

    @property
    def stepped(self) -> pd.DataFrame:
        """The rows of `main` beside the one before each: step_x (time ratio), low, high and verdict; NaN and ""."""
        steps = {step.head.version: step.cases.iloc[0] for step in self.steps}
        main = self.main
        return main.assign(
            step_x=[steps[v]["time_x"] if v in steps else math.nan for v in main["version"]],
            **{name: [steps[v][name] if v in steps else math.nan for v in main["version"]] for name in ("low", "high")},
            verdict=[steps[v]["verdict"] if v in steps else "" for v in main["version"]],
        )

    def baseline(self, case: ResolvedCase) -> Level | None:
        """The fastest baseline of a case; None where none was timed."""
        own = _of_case(self.timings, case)
        own = own[[kind(self.manifest, provider) == "baseline" for provider in own["provider"]]]
        if own.empty:
            return None
        best = own.loc[own["median_us"].idxmin()]
        return Level(str(best["provider"]), float(best["median_us"]))

    def of(self, case: ResolvedCase) -> pd.DataFrame:
        """The summary of one case and dtype."""
        return _of_case(self.summary, case)

    @property
    def sol(self) -> SpeedOfLight:
        """The speed of light of the main case."""
        return speed_of_light(self.case, self.timings, self.measured, self.manifest.machine.gpu)

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


def report_data(
    manifest: Manifest,
    metrics: pd.DataFrame,
    timings: pd.DataFrame,
    compiled: pd.DataFrame,
    samples: pd.DataFrame | None = None,
    base: Side | None = None,
    rule: Rule | None = None,
    *,
    measured: Roofs | None = None,
) -> ReportData:
    """Return what a report shows of a run's tables; with its samples, also how its versions compare.

    `measured` are the roofs of the run's GPU, which the compute term of SOL needs.
    The run's last version is compared with `base`, a version of another run, or else with the version before it.
    """
    summary = summarize(manifest, metrics, timings, measured)
    judged = judge(manifest, summary)
    beside = suite(manifest, timings, measured)
    return ReportData(
        manifest,
        with_predictions(summary, judged),
        judged,
        timings,
        compiled,
        beside if has_suite(manifest) else beside.iloc[:0],
        *((None, ()) if samples is None else _comparisons(manifest, metrics, samples, base, rule)),
        measured=measured,
    )


def with_predictions(summary: pd.DataFrame, judged: pd.DataFrame) -> pd.DataFrame:
    """Return the summary with a column `predictions`: "3 hit, 2 missed" of each version, "" without any."""
    texts = {version: counted_verdicts(verdicts) for version, verdicts in judged.groupby("version")["verdict"]}
    return summary.assign(predictions=[texts.get(version, "") for version in summary["version"]])


def counted_verdicts(verdicts: pd.Series) -> str:
    """Return how many predictions came true: "3 hit, 2 missed, 1 not judged"."""
    counts = {"hit": (verdicts == "hit").sum(), "missed": (verdicts == "miss").sum()}
    counts["not judged"] = len(verdicts) - sum(counts.values())
    return ", ".join(f"{count} {word}" for word, count in counts.items() if count)


def _comparisons(
    manifest: Manifest, metrics: pd.DataFrame, samples: pd.DataFrame, base: Side | None, rule: Rule | None
) -> tuple[Comparison | None, tuple[Comparison, ...]]:
    timed = set(samples["provider"])
    sides = [Side(manifest, v.version, samples, metrics) for v in manifest.versions if v.version in timed]
    case = main_case(manifest)
    alone = msgspec.structs.replace(manifest, cases=[case])
    few, none = _of_case(samples, case), metrics.iloc[:0]  # of the steps the times are shown, no metrics
    first = {group[0] for group in groups(manifest, case)}  # the others of a group are no step from it
    short = [Side(alone, side.version, few, none) for side in sides if side.version in first]
    steps = tuple(compare(one, other, rule) for one, other in pairwise(short))
    if base is None and len(sides) > 1:
        base = sides[-2]
    return (compare(base, sides[-1], rule) if base is not None and sides else None), steps


def _of_case(frame: pd.DataFrame, case: ResolvedCase) -> pd.DataFrame:
    return frame[(frame["case"] == case.case) & (frame["dtype"] == case.dtype)]

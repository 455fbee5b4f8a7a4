"""What a project's pages say, gathered once: operators, runs as facts, the times of each case and GPU over its runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from rooflift.analysis.compare import MIN_EFFECT
from rooflift.analysis.sol import speed_of_light
from rooflift.analysis.suite import kind
from rooflift.api.history import History, fastest
from rooflift.errors import CatalogError, RunFault
from rooflift.project.operator import Operator, load_operator, operator_names
from rooflift.project.settings import reports_folder
from rooflift.runs.find import find_runs
from rooflift.runs.index import times
from rooflift.runs.roofs import roofs_of
from rooflift.runs.run import Run, read_run
from rooflift.runs.verify import sha256
from rooflift.site.facts import Facts

SLOWER = "slower"


@dataclass(frozen=True)
class Ladder:
    """A ladder of the project; `found` is None where its files cannot be read, and `error` says why."""

    label: str
    found: Operator | None
    error: str = ""

    @property
    def main(self) -> tuple[str, str]:
        """The case that the ladder is about, and the dtype of its metrics."""
        case = self.found.cases.get(self.found.main) if self.found else None
        return (case.name, (*case.metrics, *case.dtypes)[0]) if case else ("", "")


@dataclass(frozen=True)
class Series:
    """The runs of one case, dtype and GPU of a ladder, oldest first, by the fastest version of each."""

    label: str
    case: str
    dtype: str
    gpu: str
    steps: Sequence[Mapping[str, Any]]  # rows of runs/index.py
    best: Mapping[str, Any]  # the fastest of the versions as their files are now, or where none was timed, of all
    versions: Mapping[str, float]  # the newest time of each, in microseconds
    before: Mapping[str, Any] | None  # the best before the newest run
    verdict: str = ""  # on the newest run against it; "" where the times are too near to ask, or say nothing

    @property
    def newest(self) -> Mapping[str, Any]:
        """The fastest version of the newest run."""
        return self.steps[-1]

    @property
    def time_x(self) -> float:
        """The newest time over the best before it."""
        return float(self.newest["time_us"] / self.before["time_us"]) if self.before else 1.0


@dataclass(frozen=True)
class Standing:
    """Where a version stands in its run on one case: None for what is not known."""

    sol_pct: float | None = None
    baseline: str = ""  # the fastest one of the same run
    lead: float | None = None  # its time over the version's


@dataclass(frozen=True)
class Project:
    """Everything of a project that a site shows."""

    root: Path
    ladders: Sequence[Ladder]
    runs: Sequence[Facts]  # newest first
    series: Sequence[Series]

    @cached_property
    def operators(self) -> list[str]:
        """The operators by name: those of the project, and those that only runs know."""
        known = [ladder.label.partition("/")[0] for ladder in self.ladders]
        return sorted({*known, *(run.operator for run in self.runs)})

    @cached_property
    def main(self) -> list[Series]:
        """The series of the cases that the ladders are about; of a GPU without it, of the newest run's case there."""
        wanted = {ladder.label: ladder.main for ladder in self.ladders}
        timed = {(one.label, one.gpu, one.case, one.dtype) for one in self.series}
        cases: dict[tuple[str, str], tuple[str, str]] = {}
        for run in self.runs:
            if run.best:
                own = wanted.get(run.ladder, ("", ""))
                case = own if (run.ladder, run.gpu, *own) in timed else (run.case, run.dtype)
                cases.setdefault((run.ladder, run.gpu), case)
        return [one for one in self.series if cases.get((one.label, one.gpu)) == (one.case, one.dtype)]

    @property
    def slower(self) -> list[Series]:
        """What the newest run of a case and GPU shows slower than the best before."""
        return [one for one in self.series if one.verdict == SLOWER]

    def standing(self, one: Series) -> Standing:
        """Return where a series' best version stands in its run."""
        try:
            run = _read(Path(one.best["folder"]), self.root)
            timings, roofs = run.timings, roofs_of(run)
        except RunFault:
            return Standing()
        manifest = run.manifest
        case = next((c for c in manifest.cases if (c.case, c.dtype) == (one.case, one.dtype)), None)
        if case is None:
            return Standing()
        time_us = one.best["time_us"]
        share = speed_of_light(case, timings, roofs, manifest.machine.gpu).pct(time_us)
        own = timings[(timings["case"] == case.case) & (timings["dtype"] == case.dtype)]
        times = dict(zip(own["provider"], own["median_us"].astype(float), strict=True))
        baseline = min((p for p in times if kind(manifest, p) == "baseline"), key=times.__getitem__, default="")
        lead = times[baseline] / time_us if baseline else None
        return Standing(None if math.isnan(share) else share, baseline, lead)

    def newest_of(self) -> set[str]:
        """Return the places of the newest measured run of each ladder and GPU, and of its newest suite."""
        found: dict[tuple[str, str, bool], str] = {}
        for run in self.runs:
            if run.best and not run.origin:
                found.setdefault((run.ladder, run.gpu, run.suite), run.place)
        return set(found.values())


def place(row: Mapping[str, Any]) -> str:
    """Return OPERATOR/RUN of a row of runs/index.py."""
    folder = Path(row["folder"])
    return f"{folder.parent.name}/{folder.name}"


def gather(root: Path, read: Callable[[Path], Facts], verdicts: dict[str, str]) -> Project:
    """Return a project; `read` gives the facts of a run folder, and `verdicts` keeps what comparisons found."""
    folders = find_runs(reports_folder(root))
    found = [read(folder) for folder in folders]
    history = History(times(folders, root), verdicts)
    ladders = [_ladder(root, name) for name in operator_names(root)]
    mains = {(run.ladder, run.case, run.dtype) for run in found} | {(one.label, *one.main) for one in ladders}
    files = {sha256(v.path) for one in ladders if one.found is not None for v in one.found.versions}
    series = [_series(history, about, runs, mains, files) for about, runs in history.groups]
    ordered = sorted(found, key=lambda run: (run.created, run.place), reverse=True)
    return Project(root, ladders, ordered, series)


@lru_cache(maxsize=64)
def _read(folder: Path, root: Path) -> Run:
    return read_run(folder, root)


def _ladder(root: Path, name: str) -> Ladder:
    try:
        return Ladder(name, load_operator(root, name))
    except CatalogError as fault:
        return Ladder(name, None, fault.message.replace(f"{root}/", ""))


def _series(
    history: History,
    about: Mapping[str, Any],
    runs: Sequence[Sequence[dict[str, Any]]],
    mains: set[tuple[str, str, str]],
    files: set[str],
) -> Series:
    steps = [fastest(run) for run in runs]
    every = [row for run in runs for row in run]
    current = [row for row in every if row["sha256"] in files]
    newest = {row["version"]: row["time_us"] for run in runs for row in run}
    before = fastest(steps[:-1]) if len(steps) > 1 else None
    return Series(
        about["operator"],
        about["case"],
        about["dtype"],
        about["gpu"],
        steps,
        fastest(current or every),
        newest,
        before,
        _verdict(history, before, runs[-1], is_main=(about["operator"], about["case"], about["dtype"]) in mains),
    )


def _verdict(history: History, before: dict[str, Any] | None, run: Sequence[dict[str, Any]], *, is_main: bool) -> str:
    """Return the verdict on a newest run: where it is slower, as `History.regressions`; on a main case, faster, too."""
    now = fastest(run)
    if before is None or abs(now["time_us"] / before["time_us"] - 1) <= MIN_EFFECT:
        return ""
    reached = max(row["number"] for row in run) >= before["number"]
    slower = now["time_us"] > before["time_us"]
    return history.verdict(before, now) if (slower and reached) or (is_main and not slower) else ""

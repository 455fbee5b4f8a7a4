"""What a site says of one run, read from its manifest and its times alone: some milliseconds a run."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import msgspec

from rooflift.analysis.sol import speed_of_light
from rooflift.analysis.suite import kind
from rooflift.analysis.summary import main_case
from rooflift.errors import RunFault
from rooflift.runs.find import ladder_label
from rooflift.runs.roofs import roofs_of
from rooflift.runs.run import read_run

SHOWN = ("progress", "roofline")  # figures on a run's page; its report has all
DATA = (
    "run.json",
    "timings.csv",
    "metrics.csv",
    "samples.parquet",
    "source.parquet",
)  # what a page of a run is made of


class Timed(msgspec.Struct, frozen=True):
    """A version on the main case of a run."""

    version: str
    title: str
    time_us: float | None
    sol_pct: float | None
    sol_binds: str


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """A run; with `error` nothing else is known of it."""

    place: str  # OPERATOR/RUN: the folder below reports/
    ladder: str
    gpu: str = ""
    created: str = ""
    commit: str = ""
    dirty: bool = False
    metrics: str = ""
    suite: bool = False
    origin: str = ""  # of an imported run
    software: str = ""
    case: str = ""  # the main one
    dtype: str = ""
    versions: list[Timed] = []
    baseline: str = ""  # the fastest one on the main case
    baseline_us: float | None = None
    sol_source: str = ""
    checks: int = 0
    cases: int = 0
    notes: list[str] = []
    pictures: list[str] = []
    error: str = ""

    @property
    def run(self) -> str:
        """The name of the run."""
        return self.place.partition("/")[2]

    @property
    def operator(self) -> str:
        """The operator's folder below reports/."""
        return self.place.partition("/")[0]

    @property
    def best(self) -> Timed | None:
        """The fastest version on the main case."""
        return min((one for one in self.versions if one.time_us), key=lambda one: one.time_us or 0.0, default=None)


def stamp(folder: Path, more: str) -> str:
    """Return what changes when a run does, or when what it is seen with, `more`, does."""
    states = [more]
    for path in (*(folder / name for name in DATA), *(folder / f"{name}.svg" for name in SHOWN)):
        with suppress(OSError):
            state = path.stat()
            states.append(f"{path.name} {state.st_mtime_ns} {state.st_size}")
    return ", ".join(states)


def facts(folder: Path, root: Path) -> Facts:
    """Return what a run folder says; of one that cannot be read, why."""
    place = f"{folder.parent.name}/{folder.name}"
    try:
        run = read_run(folder, root)
        manifest = run.manifest
        timings = run.timings if manifest.cases else None
    except RunFault as fault:
        told = fault.message.replace(f"{folder}/", "").replace(str(folder), place)
        return Facts(place=place, ladder=folder.parent.name, error=told)
    machine = manifest.machine
    software = {"driver": machine.driver, "CUDA": machine.cuda, "ncu": machine.ncu, "torch": machine.torch}
    software |= {"triton": machine.triton, "Python": machine.python}
    found = Facts(
        place=place,
        ladder=ladder_label(manifest),
        gpu=machine.gpu,
        created=manifest.created,
        commit=manifest.commit or "",
        dirty=manifest.dirty,
        metrics=manifest.metric_set,
        suite=manifest.suite,
        origin=manifest.origin.kind if manifest.origin else "",
        software=", ".join(f"{name} {value}" for name, value in software.items() if value),
        checks=len(manifest.checks),
        cases=len(manifest.cases),
        notes=manifest.notes,
        pictures=[name for name in SHOWN if (folder / f"{name}.svg").exists()],
    )
    if timings is None:
        return found
    case = main_case(manifest)
    sol = speed_of_light(case, timings, roofs_of(run), machine.gpu)
    own = timings[(timings["case"] == case.case) & (timings["dtype"] == case.dtype)]
    times = dict(zip(own["provider"], own["median_us"].astype(float), strict=True))
    baselines = [name for name in times if kind(manifest, name) == "baseline"]
    fastest = min(baselines, key=times.__getitem__, default="")
    versions = []
    for record in manifest.versions:
        time_us = times.get(record.version)
        share = sol.pct(time_us) if time_us else None
        known = share if share is not None and share == share else None  # NaN: the speed of light is not known
        versions.append(Timed(record.version, record.title, time_us, known, sol.binds if known else ""))
    return msgspec.structs.replace(
        found,
        case=case.case,
        dtype=case.dtype,
        versions=versions,
        baseline=fastest,
        baseline_us=times.get(fastest),
        sol_source=sol.source,
    )

"""Runs found below reports/: by folder, name, operator, GPU; the newest first. Reads manifests alone."""

from __future__ import annotations

import datetime
import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

from rooflift.errors import NoRun, RunFault, did_you_mean
from rooflift.project.settings import reports_folder
from rooflift.runs.run import REPORTS, Run, read_run
from rooflift.runs.verify import KERNELS
from rooflift.schema import Manifest, ResolvedCase

DATA = (".csv", *REPORTS)  # of a run; samples say so themselves, texts and pictures are made of these


def find_runs(reports: Path, operator: str | None = None) -> list[Path]:
    """Return the run folders below `reports`, of one ladder of an operator or of all, as `list_runs` does."""
    return [folder for folder, _ in list_runs(reports, operator)]


def list_runs(reports: Path, operator: str | None = None) -> list[tuple[Path, Manifest | RunFault]]:
    """Return the run folders below `reports` with their manifests, or why one cannot be read; oldest first.

    `operator` names a ladder: "conv" the general one, "conv/large" another. Unreadable
    runs stand before all others. Nothing but the manifests is read.
    """
    found: list[tuple[Path, Manifest | RunFault]] = []
    name, _, ladder = (operator or "*").partition("/")
    for path in reports.glob(f"{name}/[!.]*/run.json"):  # what is being written begins with a point
        manifest = read_folder(path.parent)
        if operator is None or isinstance(manifest, RunFault) or manifest.ladder == ladder:
            found.append((path.parent, manifest))
    return sorted(found, key=lambda run: ("" if isinstance(run[1], RunFault) else run[1].created, run[0].name))


def read_folder(folder: Path) -> Manifest | RunFault:
    """Return a run's manifest, or why it cannot be read."""
    try:
        return read_run(folder).manifest
    except RunFault as fault:
        return fault


def ladder_label(manifest: Manifest) -> str:
    """Return what names the ladder of a run in commands: "conv" or "conv/large"."""
    return f"{manifest.operator}/{manifest.ladder}" if manifest.ladder else manifest.operator


def recorded_cases(reports: Path, operator: str) -> dict[tuple[str, str], tuple[ResolvedCase, Manifest]]:
    """Return, by case and dtype, what the newest run that timed it recorded of it, with that run's manifest.

    Runs of all of the operator's ladders count.
    """
    of_operator = (run for folder, run in list_runs(reports) if folder.parent.name == operator)
    measured = (run for run in of_operator if isinstance(run, Manifest) and run.origin is None)
    return {(case.case, case.dtype): (case, run) for run in measured for case in run.cases}


def newest_run(
    reports: Path,
    operator: str,
    suite: bool = False,
    gpu: str = "",
    versions: Collection[str] = (),
    *,
    with_metrics: bool = False,
    cases: Collection[str] = (),
) -> Run:
    """Return the newest run of a ladder, with `suite` the newest that timed every bench case; on a GPU of that name.

    Only a run that holds all of `versions` ("v10" or "v10_shapes") and of `cases` ("main" or "main/float16") counts,
    and `with_metrics` one that collected some, of those cases if they are named. Without `suite` a run of the suite,
    which may hold few versions, is taken only where there is no other, and one that was imported, whose times are
    ncu's, where none was measured.

    Raises:
        NoRun: the operator was not measured yet.
        RunFault: it has no such run.
    """
    other = imported = None
    listed = list_runs(reports, operator)
    if not listed:
        raise NoRun(f"{operator} has no run yet", f"`rooflift profile {operator}` makes one, on a machine with a GPU.")
    for folder, manifest in reversed(listed):
        if isinstance(manifest, RunFault):
            raise manifest
        run = Run(folder, manifest)
        if holds(run, gpu, versions, with_metrics=with_metrics, cases=cases):
            if manifest.origin is not None:
                imported = imported or run
                continue
            if manifest.suite == suite:
                return run
            other = other or run
    if not suite and (other or imported) is not None:
        return other or imported  # type: ignore[return-value]  # one of them is there
    wanted = " that timed the suite" if suite else ""
    wanted += f" with {', '.join(versions)}" if versions else ""
    wanted += " with metrics" if with_metrics else ""
    wanted += f" of {', '.join(cases)}" if cases else ""
    remedy = f"Make one with `rooflift profile{' --suite' if suite else ''}` on a machine with a GPU."
    raise RunFault(f"{reports / operator}: no run{wanted}{f' on {gpu}' if gpu else ''}", remedy)


def holds(run: Run, gpu: str, versions: Collection[str], *, with_metrics: bool, cases: Collection[str]) -> bool:
    """Tell whether a run is of such a GPU and has all the versions, metrics and cases that `newest_run` speaks of."""
    return (
        gpu in run.manifest.machine.gpu
        and _versions(run.manifest).issuperset(versions)
        and not (with_metrics and run.manifest.metric_set == "none")
        and _cases(run, with_metrics=with_metrics).issuperset(cases)
    )


def _versions(manifest: Manifest) -> set[str]:
    """Return the names by which a run's versions can be asked for."""
    names = [version.version for version in manifest.versions]
    return {*names, *(name.partition("_")[0] for name in names)}


def _cases(run: Run, *, with_metrics: bool) -> set[str]:
    """Return the names by which a run's cases, or those of them with metrics, can be asked for."""
    pairs = {(case.case, case.dtype) for case in run.manifest.cases}
    if with_metrics and run.manifest.metric_set != "none":
        pairs &= set(run.metrics[["case", "dtype"]].itertuples(index=False, name=None))
    return {name for case, dtype in pairs for name in (case, f"{case}/{dtype}")}


def resolve_run(reports: Path, wanted: str, suite: bool = False, operators: Collection[str] = ()) -> Run:
    """Return the run named by a folder, its name or OPERATOR/NAME, or by a ladder (its newest, with a suite if asked).

    Raises:
        NoRun: it is one of `operators`, the project's, and was not measured yet.
        RunFault: nothing of that name; near names are suggested. Or a table or a report of the run is gone.
    """
    run = _resolve_run(reports, wanted, suite, operators)
    for name in run.manifest.sha256:
        if name.endswith(DATA) and not name.startswith(KERNELS) and not (run.folder / name).exists():
            raise RunFault(f"{run.folder / name}: the run folder lacks it", "Restore it, or measure again.")
    return run


def _resolve_run(reports: Path, wanted: str, suite: bool, operators: Collection[str]) -> Run:
    if (Path(wanted) / "run.json").exists():
        return read_run(Path(wanted))
    found = resolve_folders(reports, wanted, operators)
    if not found or wanted not in names_of(found[0]):
        return newest_run(reports, wanted, suite)
    if len(found) > 1:
        each = ", ".join(f"{path.parent.name}/{path.name}" for path in found)
        raise RunFault(f"{wanted}: several runs have this name", f"Name one: {each}.")
    return read_run(found[0])


def resolve_folders(reports: Path, wanted: str, operators: Collection[str] = ()) -> list[Path]:
    """Return the run folders that a folder, a name or a ladder stand for, readable or not, oldest first.

    There are none of `operators`, those of the project, that were not measured yet.

    Raises:
        RunFault: nothing of that name; near names are suggested.
    """
    if (Path(wanted) / "run.json").exists():
        return [Path(wanted)]
    runs = {path: _label(path, found) for path, found in list_runs(reports)}
    found = [path for path in runs if wanted in names_of(path)] or [path for path, of in runs.items() if of == wanted]
    if found or wanted in operators:
        return found
    known = dict.fromkeys([*operators, *runs.values(), *(path.name for path in runs)])
    raise RunFault(f"{wanted}: no such run", did_you_mean(wanted, known))


def names_of(folder: Path) -> tuple[str, str]:
    """Return the names of a run: its folder's, and OPERATOR/NAME, where operators measured together share the first."""
    return folder.name, f"{folder.parent.name}/{folder.name}"


def _label(folder: Path, manifest: Manifest | RunFault) -> str:
    ladder = manifest.ladder if isinstance(manifest, Manifest) else ""
    return f"{folder.parent.name}/{ladder}" if ladder else folder.parent.name


def dated_name(gpu: str, started: datetime.datetime, commit: str | None, dirty: bool) -> str:
    """Return <date>-<gpu>-<commit>, such as 2026-11-22-h100-3d4a7f3."""
    card = re.search(r"\b(?:RTX \w+|[A-Z]{1,2}\d+\w*)\b", gpu)
    state = (commit[:7] if commit else "nocommit") + ("-dirty" if dirty else "")
    return f"{started:%Y-%m-%d}-{(card[0] if card else gpu).replace(' ', '').lower()}-{state}"


def newest_on(top: Path, operator: str, gpus: Sequence[str]) -> Run:
    """Return an operator's newest run on one of these GPUs, else its newest on any."""
    for gpu in gpus:
        with suppress(RunFault):
            return newest_run(reports_folder(top), operator, gpu=gpu)
    return newest_run(reports_folder(top), operator)

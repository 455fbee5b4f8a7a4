"""Recorded runs found by folder, name, operator and what they hold. Measures nothing, writes nothing."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from rooflift.api.project import project_of, project_root
from rooflift.api.run import Run
from rooflift.api.runs import Runs
from rooflift.errors import NoRun, RunFault
from rooflift.project.operator import load_operator, operator_names
from rooflift.project.settings import reports_folder
from rooflift.runs.find import holds, list_runs, newest_run, read_folder, resolve_folders, resolve_run


def runs(
    *what: Path | str,
    gpu: str = "",
    suite: bool = False,
    metrics: bool = False,
    versions: Collection[str] = (),
    cases: Collection[str] = (),
    root: Path | str | None = None,
) -> Runs:
    """Return the recorded runs below reports/, oldest first: all, or those that hold what is asked for, as `latest`.

    `what` names operators, ladders, runs, or run folders, which may lie anywhere; without a name all runs count.

    >>> import rooflift as rl
    >>> [run.operator for run in rl.runs("rms_norm")][:1]
    ['rms_norm']

    Raises:
        CatalogError: no project is found.
        RunFault: nothing is called that; near names are suggested.
    """
    are_folders = bool(what) and all((Path(one) / "run.json").exists() for one in what)
    top = project_of(what[0] if are_folders else "", root)
    reports = reports_folder(top) if top else Path("reports")
    listed = list_runs(reports) if top else []
    if what:
        operators = operator_names(top) if top else ()
        named = [folder for one in what for folder in resolve_folders(reports, str(one), operators)]
        below = {folder.resolve() for folder, _ in listed}
        elsewhere = {folder.resolve(): folder for folder in named if folder.resolve() not in below}
        chosen = {folder.resolve() for folder in named}
        listed = [one for one in listed if one[0].resolve() in chosen]
        listed += [(folder, read_folder(folder)) for folder in elsewhere.values()]
    read = [Run(folder, found, top) for folder, found in listed if not isinstance(found, RunFault)]
    unreadable = [(folder, found) for folder, found in listed if isinstance(found, RunFault)]
    found = [run for run in read if run.manifest.suite or not suite]
    found = [run for run in found if holds(run, gpu, versions, with_metrics=metrics, cases=cases)]
    return Runs(found, unreadable, top)


def latest(
    operator: str,
    *,
    gpu: str = "",
    suite: bool = False,
    metrics: bool = False,
    versions: Collection[str] = (),
    cases: Collection[str] = (),
    root: Path | str | None = None,
) -> Run:
    """Return the newest run of an operator, or of a ladder ("depthwise_conv2d/large_filter"), that holds what is asked.

    `gpu` is part of the GPU's name; `suite`: every bench case was timed; `metrics`: ncu collected some; `versions`:
    all of these ("v10" or "v10_shapes"); `cases`: all of these, "k7_56" or "k7_56/float16", and with `metrics` ncu's
    figures of them. Imported runs, which have no times, are passed over.

    >>> import rooflift as rl
    >>> rl.latest("depthwise_conv2d", gpu="H100", metrics=True).gpu
    'NVIDIA H100 80GB HBM3'

    Raises:
        CatalogError: no project is found, or no operator is called that.
        NoRun: the operator was not measured yet.
        RunFault: there is no such run.
    """
    top = project_root(root)
    try:
        found = newest_run(reports_folder(top), operator, suite, gpu, versions, with_metrics=metrics, cases=cases)
    except NoRun:
        load_operator(top, operator)  # which says what is near an unknown name
        raise
    return Run(found.folder, found.manifest, top)


def open(what: Path | str, *, suite: bool = False, root: Path | str | None = None) -> Run:  # noqa: A001  # rl.open, as Image.open
    """Return a run by its folder, wherever that lies, by its name, or an operator's newest.

    With `suite` an operator stands for its newest run that timed every bench case.

    >>> import rooflift as rl
    >>> rl.open("rtx4090-record").gpu
    'NVIDIA GeForce RTX 4090'

    Raises:
        NoRun: it is an operator that was not measured yet.
        RunFault: there is no such run, or one of its tables is gone.
        CatalogError: `what` is no folder, and no project is found to look for the name.
    """
    top = project_of(what, root)
    reports, name = reports_folder(top) if top else Path("reports"), str(what)
    found = resolve_run(reports, name, suite, operator_names(top) if top else ())
    return Run(found.folder, found.manifest, top)

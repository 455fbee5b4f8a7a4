"""Tuning: try the configurations of a version, write what came of them; without a GPU compile them and say so."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rooflift.analysis.search import first_of, settled_method
from rooflift.errors import CatalogError, KernelFault, NoGpu, RunFault
from rooflift.measure import environment
from rooflift.measure.checkpoint import Start, open_checkpoint, record
from rooflift.measure.children import Progress
from rooflift.measure.configurations import autotuned_space, compile_batch
from rooflift.measure.request import Request
from rooflift.measure.tune import Tuned, Wish, profile_best, tune_case
from rooflift.measure.tune_table import BEST, STATUS, TIMES, table
from rooflift.ncu.command import find_ncu
from rooflift.ncu.report import read_reports
from rooflift.pipeline import metric_request, settled
from rooflift.project.git import git_state
from rooflift.project.gpus import spec_for_name, spec_for_target
from rooflift.project.settings import reports_folder
from rooflift.project.space import Space, Value, parameters, parse_space, require_parameters
from rooflift.report.tune import TuneData, host_note, write_tune
from rooflift.runs import atomic, redact
from rooflift.runs.find import dated_name
from rooflift.runs.run import read_record, read_table, to_frame, to_json
from rooflift.runs.verify import sha256
from rooflift.schema import Machine, MetricRow, TuneManifest

if TYPE_CHECKING:
    import pandas as pd

TABLE, RECORD, METRICS = "tune.csv", "tune.json", "metrics.csv"
NUMBERS = ("registers", "spill_instructions", "shared_bytes", "occupancy_pct", *TIMES, *BEST)
FIRST_TARGET = 90  # compiled for, where neither a GPU nor --target says what for


Spaces = dict[tuple[str, str], Space]  # by case and dtype


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be tried, as the command says it."""

    values: Sequence[str]  # NAME=VALUES each; none: what @triton.autotune of the version holds
    method: str
    evaluations: int | None
    budget_s: float | None
    best: int
    target: int | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """What came of it."""

    data: TuneData
    folder: Path | None  # None: nothing was written
    measured: bool  # False: compiled alone


def tune(request: Request, asked: Asked, out: Path | None, progress: Progress) -> Made:
    """Compile, check and time the configurations of the request's version on each of its cases; leave a folder.

    Without a GPU they are compiled alone, and nothing is written but where `out` says so. What the same call had
    finished when it was interrupted is not tried again.

    Raises:
        CatalogError: a parameter is unknown, or there is nothing to try.
        KernelFault: the version as it stands is not fit, or nothing that was tried is.
        EnvironmentFault, NcuFault, CounterPermission: something is missing here.
        RunFault: `out` exists or cannot be written.
    """
    given = parse_space(asked.values) if asked.values else None
    if given is not None:
        require_parameters(given, request.versions[0].path)
    if not request.profiled:
        raise CatalogError(f"{request.operator.label}: no case to tune on", "Name one with --case.")
    if out is not None and out.exists():
        raise RunFault(f"{out} exists", "Name a folder that does not; what was measured is never overwritten.")
    try:
        driver = environment.driver()
    except NoGpu as absent:
        return _compile_alone(request, asked, given, out, absent, progress)
    if request.metric_set != "none":
        find_ncu()
    atomic.require_writable((out or _runs(request) / "one").parent)
    spec = spec_for_name(driver.gpus[0])
    target = asked.target or (spec.target if spec else FIRST_TARGET)
    commit, dirty = git_state(request.root)
    with open_checkpoint(request.root, record(request, driver, commit, dirty=dirty)) as checkpoint:
        now = datetime.datetime.now(datetime.UTC)
        checkpoint.start = start = checkpoint.start or Start(now, settled(request.options, now))
        tuned, spaces = list[Tuned](), Spaces()
        for case in request.profiled:
            space = given or autotuned_space(request, case, target, progress)
            method, evaluations = settled_method(asked.method, space, asked.evaluations)
            wish = Wish(space, method, evaluations, asked.budget_s, asked.best)
            tuned.append(tune_case(request, case, wish, target, start.sampling, progress, checkpoint))
            spaces[case.name, case.dtype] = space
        found = table(list(_values(spaces)), tuned)
        if not any(one.last for one in tuned):
            raise _nothing(request, found)
        wanted = metric_request(request.metric_set, checkpoint.report)
        profiled = profile_best(request, tuned, wanted, progress, checkpoint) if wanted else None
        manifest = TuneManifest(
            operator=request.operator.name,
            ladder=request.operator.ladder,
            version=request.versions[0].name,
            created=f"{start.at:%Y-%m-%dT%H:%M:%SZ}",
            machine=_machine(tuned, driver.version, profiled.version if profiled else None),
            command=request.command,
            commit=commit,
            dirty=dirty,
            parameters=_values(spaces),
            sizes={f"{case}/{dtype}": space.size for (case, dtype), space in spaces.items()},
            method=method,
            evaluations=evaluations,
            sampling=start.sampling,
            metric_set=request.metric_set,
            ncu_command=profiled.command if profiled else [],
            notes=[*_host_notes(request, spaces), *([checkpoint.in_words()] if checkpoint.resumed else [])],
            sha256={
                request.operator.file_name(path): sha256(path)
                for path in (request.operator.reference, request.versions[0].path)
            },
        )
        name = f"{dated_name(manifest.machine.gpu, start.at, commit, dirty)}-{manifest.version}"
        with atomic.writing_named(out or _runs(request) / name, numbered=out is None) as (staged, place):
            metrics = _metrics(request, checkpoint.report, staged) if profiled else to_frame([], MetricRow)
            data = _data(manifest, found, metrics)
            (staged / RECORD).write_bytes(to_json(manifest))
            _write(data, staged)
            redact.refuse(staged, redact.secrets(request.root))
            checkpoint.save("run", str(place.absolute()))
    return Made(data, place, measured=True)


def _compile_alone(
    request: Request, asked: Asked, given: Space | None, out: Path | None, absent: NoGpu, progress: Progress
) -> Made:
    """Compile the configurations that would be tried first, and say that nothing was run."""
    target = asked.target or FIRST_TARGET
    spec = spec_for_target(target)
    tuned, spaces = list[Tuned](), Spaces()
    for case in request.profiled:
        space = given or autotuned_space(request, case, target, progress)
        method, evaluations = settled_method(asked.method, space, asked.evaluations)
        chosen = first_of(space, evaluations, method, seed=0)
        tuned.append(Tuned(case, [compile_batch(request, case, chosen, target, progress)], None))
        spaces[case.name, case.dtype] = space
    found = table(list(_values(spaces)), tuned)
    if found["status"].isin(STATUS.values()).all():
        raise _nothing(request, found)
    triton = environment.package_version("triton")
    where = f"Compiled by triton {triton} for sm_{target} ({spec.name}), not run: {absent.message}."
    sizes = {key: space.size for key, space in spaces.items()}
    title = _title(request.operator.label, request.versions[0].name)
    notes = _host_notes(request, spaces)
    data = TuneData(title, found, _values(spaces), sizes, to_frame([], MetricRow), notes, where)
    if out is None:
        return Made(data, None, measured=False)
    with atomic.writing_named(out) as (staged, place):
        _write(data, staged)
    return Made(data, place, measured=False)


def read(folder: Path) -> TuneData:
    """Return what a tuning left in a folder.

    Raises:
        RunFault: a file is missing, or is none that a tuning leaves.
    """
    import pandas as pd

    manifest = read_record(folder / RECORD, TuneManifest)
    try:
        absent = {name: [""] for name in (*NUMBERS, *manifest.parameters)}  # the version as it stands has no values
        found = pd.read_csv(folder / TABLE, keep_default_na=False, na_values=absent)
    except (OSError, ValueError) as error:
        raise RunFault(f"{folder / TABLE}: cannot be read: {error}", "Restore the file, or tune again.") from None
    lacking = [name for name in ("case", "dtype", "configuration", *manifest.parameters, *NUMBERS) if name not in found]
    if lacking:
        raise RunFault(f"{folder / TABLE}: it has no column {', '.join(lacking)}", "Restore the file, or tune again.")
    metrics = folder / METRICS
    return _data(manifest, found, read_table(metrics, MetricRow) if metrics.exists() else to_frame([], MetricRow))


def _data(manifest: TuneManifest, found: pd.DataFrame, metrics: pd.DataFrame) -> TuneData:
    label = f"{manifest.operator}/{manifest.ladder}" if manifest.ladder else manifest.operator
    sizes = {(case, dtype): size for key, size in manifest.sizes.items() for case, _, dtype in [key.partition("/")]}
    title = _title(label, manifest.version)
    return TuneData(title, found, manifest.parameters, sizes, metrics, manifest.notes, _where(manifest))


def _title(operator: str, version: str) -> str:
    return f"{operator} {version}, configurations"


def _host_notes(request: Request, spaces: Spaces) -> list[str]:
    """Return what to know of parameters that are set in the host's code."""
    return [*filter(None, [host_note(list(_values(spaces)), parameters(request.versions[0].path)[0])])]


def _write(data: TuneData, folder: Path) -> None:
    data.table.to_csv(folder / TABLE, index=False)
    write_tune(data, folder)


def _metrics(request: Request, report: Path, folder: Path) -> pd.DataFrame:
    """Return the metrics of the best configurations and leave metrics.csv; the report itself is not kept."""
    kept = folder / "tune.ncu-rep"
    kept.write_bytes(redact.redact_bytes(report.read_bytes(), redact.secrets(request.root)))
    metrics = read_reports([kept], folder)
    kept.unlink()
    metrics.to_csv(folder / METRICS, index=False)
    return metrics


def _machine(tuned: Sequence[Tuned], driver: str, ncu: str | None) -> Machine:
    device = next(one.last.device for one in tuned if one.last is not None and one.last.device is not None)
    return Machine(driver=driver, ncu=ncu, **{name: getattr(device, name) for name in device.__struct_fields__})


def _values(spaces: Spaces) -> dict[str, list[Value]]:
    """Return the values of each parameter in all spaces."""
    found: dict[str, dict[Value, None]] = {}
    for space in spaces.values():
        for name, own in space.values.items():
            found.setdefault(name, {}).update(dict.fromkeys(own))
    return {name: list(own) for name, own in found.items()}


def _runs(request: Request) -> Path:
    return reports_folder(request.root) / request.operator.label / "tune"


def _where(manifest: TuneManifest) -> str:
    m = manifest.machine
    ncu = f", ncu {m.ncu}" if m.ncu else ""
    return (
        f"Measured on {m.gpu}, driver {m.driver}, CUDA {m.cuda}{ncu}, torch {m.torch}, triton {m.triton}; "
        f"{manifest.created[:10]}."
    )


def _nothing(request: Request, found: pd.DataFrame) -> KernelFault:
    reasons = found["reason"].value_counts()
    first = f", most often: {reasons.index[0]}" if len(reasons) else ""
    return KernelFault(
        f"{request.versions[0].name}: none of {len(found)} configurations fits{first}",
        "Give smaller tiles, fewer stages or other values with --set.",
    )

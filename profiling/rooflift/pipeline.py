"""The pipeline: measure, write the run folder, report."""

from __future__ import annotations

import datetime
import io
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from rooflift.analysis.compare import noise_of
from rooflift.analysis.hotspots import lines_by_version, with_functions
from rooflift.errors import KernelFault, ReportFault, RunFault
from rooflift.measure import environment, offline, sanitizer
from rooflift.measure.checkpoint import Start, open_checkpoint, record
from rooflift.measure.children import Measurement, Progress
from rooflift.measure.compiled import compile_tables
from rooflift.measure.offline import Offline
from rooflift.measure.request import Request
from rooflift.measure.session import MetricRequest, measure
from rooflift.ncu import metrics as registry
from rooflift.ncu.command import find_ncu
from rooflift.ncu.instructions import read_source
from rooflift.ncu.report import NOT_COLLECTED, read_reports
from rooflift.ncu.timeline import read_timeline
from rooflift.project.git import git_state
from rooflift.project.imports import imported_modules
from rooflift.project.inline import inlined_files
from rooflift.project.operator import load_operator, operator_names
from rooflift.project.settings import reports_folder
from rooflift.report.data import ReportData, report_data
from rooflift.report.figures.style import page
from rooflift.report.markdown import write_report
from rooflift.report.pictures import draw
from rooflift.runs import atomic, redact
from rooflift.runs import run as runs
from rooflift.runs.find import dated_name, recorded_cases
from rooflift.runs.roofs import newest_roofs
from rooflift.runs.verify import KERNELS, sha256, write_manifest
from rooflift.schema import (
    CompiledRow,
    LeftOutVersion,
    Machine,
    Manifest,
    MeasureOptions,
    MetricRow,
    ResolvedCase,
    Sampling,
    SanitizerRecord,
    TimingRow,
    VersionRecord,
)
from rooflift.worker.protocol import BUDGET_S, PRECISE_BUDGET_S, Device

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Rendered:
    """A run and the files of its report."""

    folder: Path  # of the run
    data: ReportData
    written: list[Path]
    resumed: str = ""  # what an interrupted call had finished, in words


def profile(request: Request, out: Path | None, progress: Progress, *, numbered: bool = False) -> Rendered:
    """Measure on this machine's GPU and leave a run folder, whole or not at all.

    `out` is the folder to make, numbered the first of `out`, `out`-2, ... that is free; by default it is numbered
    reports/<operator>/<date>-<gpu>-<commit>. With the option `sanitize` the versions also run under compute-sanitizer
    on the test cases, and the run says what it found. What the same call had finished when it was interrupted is
    not measured again. Where the request says so, versions that are wrong or do not run are left out of the run, which
    names them (`left_out`).

    Raises:
        NoGpu, NcuFault, CounterPermission, SanitizerFault, KernelFault, WrongResult: as their names say; nothing is
            left behind.
        RunFault: `out` exists or cannot be written; the next call goes on with what was measured.
    """
    driver = environment.driver()
    if request.metric_set != "none":
        find_ncu()
    if out is not None and out.exists() and not numbered:
        raise RunFault(f"{out} exists", "Name a folder that does not; a run is never overwritten.")
    atomic.require_writable((out or reports_folder(request.root) / request.operator.name / "run").parent)
    commit, dirty = (request.commit, False) if request.commit else git_state(request.root)
    draws = threading.Thread(target=_get_ready_to_draw, daemon=True)

    def prepared(text: str) -> None:
        """Import what draws once the children have imported theirs and the GPU works."""
        if draws.ident is None:
            draws.start()
        progress(text)

    about = record(request, driver, commit, dirty=dirty)
    with open_checkpoint(request.root, about) as checkpoint:
        now = datetime.datetime.now(datetime.UTC)
        checkpoint.start = start = checkpoint.start or Start(now, settled(request.options, now))
        metric_set = metric_request(request.metric_set, checkpoint.report)
        seen = measure(request, metric_set, start.sampling, prepared, known_cases(request), checkpoint)
        request = replace(request, versions=[v for v in request.versions if v.name not in seen.left_out_versions])
        findings = checkpoint.load("sanitizer", list[SanitizerRecord])
        if findings is None and request.options.sanitize:
            findings = sanitizer.sanitize(request, request.operator.select_cases([], "test"), progress)
            checkpoint.save("sanitizer", findings)
        prepared("reading the report and drawing")
        draws.join()  # matplotlib draws in one thread at a time
        wanted = out or default_folder(request, seen, start.at, commit, dirty)
        with atomic.writing_named(wanted, numbered=numbered or out is None) as (folder, place):
            manifest = _manifest(request, seen, driver.version, place.name, start.at, commit, dirty)
            notes = [*manifest.notes, *([checkpoint.in_words()] if checkpoint.resumed else [])]
            manifest = msgspec.structs.replace(manifest, sanitizer=findings or [], sampling=start.sampling, notes=notes)
            data = _write(folder, request, manifest, seen, checkpoint.report, progress)
            checkpoint.save("run", str(place.absolute()))
    files = sorted(path for path in place.rglob("*") if path.is_file())
    return Rendered(place, data, files, checkpoint.in_words())


def check_and_compile(request: Request, targets: Sequence[int], progress: Progress, *, every: bool) -> Offline:
    """Check and compile a request's versions without a GPU: `every` version, or the newest of each ladder.

    A request for a whole operator stands for all its ladders.

    Raises:
        KernelFault, WrongResult, EnvironmentFault: as `rooflift.measure.offline.check_and_compile`.
    """
    ladders = _ladders(request)
    chosen = [one if every else replace(one, versions=one.versions[-1:]) for one in ladders]
    left_out = sum(len(one.versions) for one in ladders) - sum(len(one.versions) for one in chosen)
    return replace(offline.check_and_compile(chosen, targets, progress), left_out=left_out)


def _ladders(request: Request) -> list[Request]:
    """Return a request and, where it asks for a whole operator, one for each other ladder of the operator."""
    operator = request.operator
    if operator.ladder or request.named or len(request.versions) < len(operator.versions):
        return [request]
    names = [name for name in operator_names(request.root) if name.startswith(f"{operator.name}/")]
    others = [load_operator(request.root, name) for name in names]
    return [
        request,
        *(replace(request, operator=o, versions=o.versions, cases=o.select_cases([], "bench")) for o in others),
    ]


def _write(
    folder: Path, request: Request, manifest: Manifest, seen: Measurement, report: Path, progress: Progress
) -> ReportData:
    """Fill a run folder: the report, tables, figures, report.md and, last, run.json."""
    hidden = redact.secrets(request.root)
    metrics, compiled = runs.to_frame([], MetricRow), runs.to_frame([], CompiledRow)
    source, texts = None, dict[str, str]()
    if report.exists():
        kept = folder / "ncu" / f"{request.operator.name}.ncu-rep"
        kept.parent.mkdir()
        kept.write_bytes(redact.redact_bytes(report.read_bytes(), hidden))
        metrics = of_measured(read_reports([kept], folder), manifest)
        manifest = msgspec.structs.replace(
            manifest, notes=[*manifest.notes, *_unknown_metrics(metrics, request.metric_set)]
        )
        metrics.to_csv(folder / "metrics.csv", index=False)
        if request.metric_set in ("source", "full"):
            texts = {version.path.name: version.path.read_text(encoding="utf-8") for version in request.versions}
            source, note = instructions_or_note(kept, texts)
            if source is not None:
                source = of_measured(source, manifest)
                source.to_parquet(folder / runs.SOURCE_TABLE, index=False)
            manifest = msgspec.structs.replace(manifest, notes=[*manifest.notes, *filter(None, [note])])
    else:
        try:
            compiled = compile_tables(request, [target_of(manifest)], progress)
        except KernelFault as fault:  # CUDA C++ takes no meta tensors; the times are not lost for it
            note = f"Not compiled without running: {fault.message.splitlines()[0]}"
            manifest = msgspec.structs.replace(manifest, notes=[*manifest.notes, note])
        compiled.to_csv(folder / "compiled.csv", index=False)
    timings, samples = timing_tables(seen)
    timings.to_csv(folder / "timings.csv", index=False)
    samples.to_parquet(folder / "samples.parquet", index=False)
    manifest = msgspec.structs.replace(
        manifest, noise=noise_of(samples), gpu_states=seen.states, machine_code=seen.machine_code
    )
    measured = newest_roofs(reports_folder(request.root), manifest.machine.gpu)
    data = report_data(manifest, metrics, timings, compiled, samples, measured=measured)
    if source is not None:
        data = replace(data, lines=lines_by_version(source, texts, data.case.case, data.case.dtype))
    if report.exists() and request.metric_set in registry.SAMPLED_SETS:
        timeline, note = timeline_or_note([kept])
        data = replace(data, timeline=timeline)
        manifest = msgspec.structs.replace(manifest, notes=[*manifest.notes, *filter(None, [note])])
    draw(data, folder)
    write_report(data, folder)
    write_manifest(folder, manifest)
    redact.refuse(folder, hidden)
    return data


def of_measured(table: pd.DataFrame, manifest: Manifest) -> pd.DataFrame:
    """Return a report's table without the versions that its run left out: ncu may have seen them."""
    gone = {left_out.version for left_out in manifest.left_out}
    return table[~table["version"].isin(gone)].reset_index(drop=True) if gone else table


def instructions_or_note(report: Path, texts: Mapping[str, str]) -> tuple[pd.DataFrame | None, str]:
    """Return the instructions of a report with their functions, or None and a note: the run is not lost for them."""
    try:
        source, embedded = read_source([report])
    except ReportFault as fault:
        return None, f"No source.parquet: {fault.message}."
    return with_functions(source, embedded | dict(texts)), ""


def timeline_or_note(reports: Sequence[Path]) -> tuple[pd.DataFrame | None, str]:
    """Return what reports hold over the time of their launches, or None and a note: the run is not lost for it."""
    try:
        return read_timeline(reports), ""
    except ReportFault as fault:
        return None, f"No figure over time: {fault.message}."


def _unknown_metrics(metrics: pd.DataFrame, metric_set: str) -> list[str]:
    """Return a note on what this ncu does not know; it takes seconds to say, and is asked when a value is missing."""
    missing = set(metrics.loc[metrics["missing"] == NOT_COLLECTED, "ncu_name"]).intersection(
        registry.ncu_names(metric_set)
    )
    unknown = environment.metrics_unknown_to_ncu(sorted(missing)) if missing else []
    return [f"This ncu does not know {', '.join(unknown)} (`ncu --query-metrics`)."] if unknown else []


def known_cases(request: Request) -> list[ResolvedCase]:
    """Return what the operator's newest runs have of the same cases of the same reference file."""
    operator = request.operator
    recorded = recorded_cases(reports_folder(request.root), operator.name)
    name, digest = operator.file_name(operator.reference), sha256(operator.reference)
    asked = {(case.name, case.dtype): (case.init, case.shapes or None) for case in request.timed}
    return [
        case
        for key, (case, run) in recorded.items()
        if run.sha256.get(name) == digest and asked.get(key) in ((case.init, case.inputs), (None, None))
    ]


def timing_tables(seen: Measurement) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return timings.csv and the samples behind it, which also hold the times of a version that was timed twice."""
    import numpy as np
    import pandas as pd

    rows, samples = [], []
    for s in seen.samples:
        columns = {
            "provider": s.provider,
            "repeat": s.repeat,
            "case": s.case,
            "dtype": s.dtype,
            "round": range(len(s.times_us)),
        }
        samples.append(pd.DataFrame(columns | {"position": s.positions, "time_us": s.times_us}))
        if s.repeat:
            continue
        low, middle, high = np.quantile(s.times_us, [0.2, 0.5, 0.8])
        figures = (round(float(value), 3) for value in (middle, low, high, min(s.times_us)))
        rows.append(TimingRow(s.provider, s.case, s.dtype, len(s.times_us), *figures))
    return runs.to_frame(rows, TimingRow), pd.concat(samples, ignore_index=True)


def default_folder(
    request: Request, seen: Measurement, started: datetime.datetime, commit: str | None, dirty: bool
) -> Path:
    """Return reports/<operator>/<date>-<gpu>-<commit>, with the ladder's name at the end of other ladders' runs."""
    name = dated_name(_device(seen).gpu, started, commit, dirty)
    ladder = f"-{request.operator.ladder}" if request.operator.ladder else ""
    return reports_folder(request.root) / request.operator.name / f"{name}{ladder}"


def _device(seen: Measurement) -> Device:
    assert seen.device is not None  # the timing process sends it before anything else
    return seen.device


def settled(options: MeasureOptions, started: datetime.datetime) -> Sampling:
    """Return how the samples of a measurement are taken: what its options leave open is settled when it begins."""
    budget_s = options.budget_s or (BUDGET_S if options.precision is None else PRECISE_BUDGET_S)
    return Sampling(int(started.timestamp()), options.samples, options.precision, budget_s)


def metric_request(metric_set: str, report: Path) -> MetricRequest | None:
    """Return what ncu is to collect of a metric set, and where its report goes; None for the set `none`."""
    if metric_set == "none":
        return None
    names, sections = registry.ncu_names(metric_set), registry.ncu_sections(metric_set)
    return MetricRequest(names, sections, metric_set == "full", report)


def _manifest(
    request: Request,
    seen: Measurement,
    driver: str,
    name: str,
    started: datetime.datetime,
    commit: str | None,
    dirty: bool,
) -> Manifest:
    device = _device(seen)
    kernel_files = [request.operator.reference, *(version.path for version in request.versions)]
    kernel_files += inlined_files(request.dispatch) if request.dispatch is not None else []
    kernel_files += [request.baselines] if request.baselines is not None else []
    return Manifest(
        operator=request.operator.name,
        ladder=request.operator.ladder,
        main=request.operator.main,
        name=name,
        created=f"{started:%Y-%m-%dT%H:%M:%SZ}",
        machine=Machine(
            driver=driver,
            ncu=seen.ncu_version,
            **{f: getattr(device, f) for f in device.__struct_fields__},
        ),
        clock_control="none",
        metric_set=request.metric_set,
        command=request.command,
        ncu_command=seen.ncu_command,
        commit=commit,
        dirty=dirty,
        versions=[
            VersionRecord(
                v.name, h.title, h.stage, h.change, h.why, [p.text for p in h.expect], v.name in request.trusted
            )
            for v in request.versions
            for h in [v.header]
        ],
        cases=seen.cases,
        checks=seen.checks,
        left_out=[_in_public(one, redact.secrets(request.root)) for one in seen.faulty],
        options=request.options,
        suite=request.suite and not request.named and not request.dtypes,
        notes=_notes(request, seen),
        sha256={request.operator.file_name(path): sha256(path) for path in kernel_files} | _imported(request),
    )


def _in_public(left_out: LeftOutVersion, hidden: dict[str, str]) -> LeftOutVersion:
    return msgspec.structs.replace(left_out, message=redact.redact_text(left_out.message, hidden))


def _imported(request: Request) -> dict[str, str]:
    """Return the sha256 of the project's modules that the versions import, by their place beside the kernels."""
    root, found = request.root.resolve(), dict[str, str]()
    for path in (request.operator.reference, *(version.path for version in request.versions)):
        for place, module in imported_modules(path, request.operator.folder).items():
            own = module.resolve()
            found[f"{KERNELS}../{own.relative_to(root) if own.is_relative_to(root) else place}"] = sha256(module)
    return found


def _notes(request: Request, seen: Measurement) -> list[str]:
    notes = [request.about] if request.about else []
    notes += [] if request.metric_set != "none" else ["No metrics were collected in this run (--metrics none)."]
    where: dict[tuple[str, str], list[str]] = {}
    for left_out in seen.left_out:
        where.setdefault((left_out.provider, left_out.error), []).append(f"{left_out.case} {left_out.dtype}")
    return notes + [
        f"{baseline} is left out ({error}) on {', '.join(cases)}." for (baseline, error), cases in where.items()
    ]


def target_of(manifest: Manifest) -> int:
    """Return what a run's GPU compiles for, such as 90."""
    return int(manifest.machine.compute_capability.replace(".", ""))


def _get_ready_to_draw() -> None:
    """Import what draws, and draw a little: the first figure of a process finds and loads the fonts."""
    import jinja2  # noqa: F401  # imported for the time it takes
    import pandas  # noqa: F401
    import pyarrow.parquet  # noqa: F401

    figure = page("fonts", "are found and loaded", height_in=3)
    figure.add_subplot()
    figure.savefig(io.BytesIO(), format="svg")

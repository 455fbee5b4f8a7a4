"""A report or metrics from elsewhere become a run folder; what is unknown stays unknown and says so."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from rooflift.errors import CatalogError, RunFault
from rooflift.importer.versions import Choice, by_kernel, chosen, durations, renumbered, versioned
from rooflift.ncu.content import open_report
from rooflift.ncu.files import Metrics, read_file
from rooflift.ncu.metrics import BY_NAME, METRICS, TRACED
from rooflift.ncu.reader import Device
from rooflift.ncu.units import Units
from rooflift.project.gpus import GpuSpec, overruled, spec_for_name
from rooflift.project.operator import Operator, Version
from rooflift.project.settings import reports_folder
from rooflift.runs import atomic, redact
from rooflift.runs import run as runs
from rooflift.runs.find import recorded_cases
from rooflift.runs.run import Run
from rooflift.runs.verify import sha256, write_manifest
from rooflift.schema import UNKNOWN, Machine, Manifest, Origin, ResolvedCase, TimingRow, VersionRecord

if TYPE_CHECKING:
    import pandas as pd

EVERYTHING = Choice()
KINDS: dict[str, Literal["ncu-rep", "csv", "json"]] = {"report": "ncu-rep", "csv": "csv", "json": "json"}
BY_NCU = (
    f"Times are {BY_NAME['ncu_time_ns'].ncu[0].partition('.')[0]}: kernels alone, under ncu, with its clocks"
    " and caches. They tell the versions of these files apart, and are not to be compared with times of CUDA events."
)
BY_CUPTI = (
    "Times are durations of kernels in the running program, by CUPTI's activity records; no metrics stand beside them."
)
NO_CASE = "imported"


@dataclass(frozen=True, slots=True)
class Label:
    """What the caller says of a file; None or "" is unknown."""

    operator: Operator | None
    version: Version | str
    spec: GpuSpec | None
    case: str
    dtype: str


@dataclass(frozen=True, slots=True)
class Made:
    """How the files came about, where rooflift has them from `capture`: notes, and the command of ncu."""

    notes: tuple[str, ...] = ()
    command: tuple[str, ...] = ()


ELSEWHERE = Made()


def import_files(
    paths: Sequence[Path],
    label: Label,
    root: Path,
    out: Path,
    choice: Choice = EVERYTHING,
    units: Units = "auto",
    made: Made = ELSEWHERE,
) -> Run:
    """Make the run folder `out` of files with metrics, whole or not at all, and read it back.

    Several files, or the kernels of one, are the versions of one ladder. A report of several kernels whose version
    nobody names has each of them as a version.

    Raises:
        RunFault: a text is malformed, or `out` exists or cannot be written.
        ReportFault: a file is missing, or holds no metrics of kernels.
        CatalogError: the label contradicts what a report of rooflift says of itself, the files are of several GPUs, or
            names and files are not as many.
    """
    if out.exists():
        raise RunFault(f"{out} exists", "Name a folder that does not; a run is never overwritten.")
    if choice.names and not choice.by_kernel and len(choice.names) != len(paths):
        remedy = "--as takes a name for each file; with --by-kernel for each kernel of one."
        raise CatalogError(f"{len(choice.names)} names for {len(paths)} files", remedy)
    if len(paths) > 1 and choice.by_kernel:
        raise CatalogError("--by-kernel with several files", "Take one file, or --as v0,v1 for a version a file.")
    read = [read_file(path, units) for path in paths]
    gpus = list(dict.fromkeys(one.device.gpu for one in read))
    if len(gpus) > 1:
        named = ", ".join(f"{path.name}: {one.device.gpu or 'unknown'}" for path, one in zip(paths, read, strict=True))
        raise CatalogError(f"the files are of several GPUs: {named}", "The versions of a ladder are of one GPU.")
    hidden = redact.secrets(root)
    with atomic.writing(out) as folder:
        for path, one in zip(paths, read, strict=True):
            if one.form == "report":
                _keep(path, folder, hidden)
        parts = [
            _versioned(path, one, place, label, choice)
            for place, (path, one) in enumerate(zip(paths, read, strict=True))
        ]
        metrics = renumbered(_joined(parts))
        own = any(one.frame["version"].any() for one in read)
        times, told = ([], []) if own and not choice.regions else durations(metrics)
        metrics.to_csv(folder / "metrics.csv", index=False)
        timed = times if all(metrics["version"]) else []
        runs.to_frame(timed, TimingRow).to_csv(folder / "timings.csv", index=False)
        if timed:
            _samples(metrics, timed).to_parquet(folder / "samples.parquet", index=False)
        others = {path.name: sha256(path) for path in paths[1:]}
        origin = Origin(
            paths[0].name,
            KINDS[read[0].form],
            sha256(paths[0]),
            others,
            unnamed=_is_split(label, choice) and not own,
            repeats=not own or choice.regions,
        )
        notes = [*made.notes, *(text for one in read for text in one.notes)]
        if timed:
            notes.append(BY_CUPTI if TRACED in set(metrics["ncu_name"]) else BY_NCU)
        manifest = _manifest(origin, label, read[0].device, metrics, root, out.name, [*notes, *told], timed=bool(timed))
        manifest = msgspec.structs.replace(manifest, ncu_command=[redact.redact_text(w, hidden) for w in made.command])
        write_manifest(folder, manifest)
        redact.refuse(folder, hidden)
        _require_readable(folder, origin.file)
    return runs.read_run(out)


def _require_readable(folder: Path, file: str) -> None:
    """Refuse a file whose figures make a run that nobody could open again: a duration of 10^20 ns, say."""
    try:
        made = Run(folder, runs.read_record(folder / "run.json", Manifest), None)
        _ = made.metrics, made.timings
    except RunFault as fault:
        what = fault.message.replace(f"{folder}/", "")
        raise RunFault(f"{file}: a figure that cannot be: {what}", "Look at it in the file; profile again.") from None


def _keep(path: Path, folder: Path, hidden: dict[str, str]) -> None:
    """Put a report into the run folder, unpacked and redacted, as <stem>.ncu-rep."""
    stem = path.name.removesuffix(".gz")
    for suffix in (".ncu-rep", ".nsight-cuprof-report"):
        if stem.lower().endswith(suffix):
            stem = stem[: -len(suffix)]
    kept = folder / "ncu" / f"{stem}.ncu-rep"
    if kept.exists():
        raise CatalogError(f"two files are called {stem}", "Rename one: both are kept in the run folder.")
    kept.parent.mkdir(exist_ok=True)
    with open_report(path) as file:
        kept.write_bytes(redact.redact_bytes(file.read(), hidden))


def _versioned(path: Path, read: Metrics, place: int, label: Label, choice: Choice) -> pd.DataFrame:
    """Return a file's rows under the names of their versions, where it has none of its own."""
    own = [name for name in read.frame["version"].unique() if name]
    if own and (label.version or label.case or label.dtype or choice.names or choice.by_kernel):
        remedy = f"Leave out --version, --as, --by-kernel, --case and --dtype: it holds {', '.join(own)}."
        raise CatalogError(f"{path}: this report was made by rooflift and says itself what it holds", remedy)
    source = f"ncu/{read.frame['source'].iloc[0]}" if read.form == "report" else path.name
    frame = chosen(read.frame, choice).assign(source=source)
    if own:
        return frame
    frame = frame.assign(case=label.case, dtype=label.dtype)
    name = _version_name(label)
    named = frame.assign(case=label.case or NO_CASE, dtype=label.dtype or UNKNOWN)
    if choice.names and not choice.by_kernel:
        return named.assign(version=versioned(choice.names[place], path.name.partition(".")[0]))
    if choice.by_kernel or _is_split(label, choice):
        return by_kernel(named, choice.names)
    return (named if name and not label.operator else frame).assign(version=name)


def _is_split(label: Label, choice: Choice) -> bool:
    """Tell whether kernels become versions because nobody says what the version is."""
    return not (label.version or label.operator or choice.names or choice.by_kernel)


def _joined(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of several files, one behind the other."""
    import pandas as pd

    return pd.concat(parts, ignore_index=True)


def _samples(metrics: pd.DataFrame, timed: Sequence[TimingRow]) -> pd.DataFrame:
    """Return the durations behind the times: one a launch, of a version of several kernels their sum."""
    import pandas as pd

    rows = []
    for row in timed:
        own = metrics[(metrics["version"] == row.provider) & (metrics["metric"] == "ncu_time_ns")]
        times = [float(value) / 1e3 for value in own["value"].dropna() if value > 0]
        times = times if row.n == len(times) else [row.median_us]
        rows += [(row.provider, 0, row.case, row.dtype, number, 0, time) for number, time in enumerate(times)]
    return pd.DataFrame(rows, columns=list(runs.SAMPLE_COLUMNS))


def _manifest(
    origin: Origin,
    label: Label,
    device: Device,
    metrics: pd.DataFrame,
    root: Path,
    name: str,
    more: Sequence[str],
    *,
    timed: bool,
) -> Manifest:
    machine, notes = _machine(label, device, origin)
    operator = label.operator
    cases, recorded_in = _cases(operator, metrics, root)
    if cases:
        notes.append(f"The compulsory traffic is that of run {', '.join(recorded_in)}.")
    known = {metric.name for metric in METRICS}
    foreign = [n for n in dict.fromkeys(metrics["metric"]) if n not in known]
    if foreign:
        notes.append(f"Not in rooflift's registry, kept under their ncu names: {', '.join(foreign)}.")
    if timed and not cases:
        pairs = dict.fromkeys((row.case, row.dtype) for row in metrics.itertuples())
        cases = [ResolvedCase(case, dtype, {}, [], None, None, "") for case, dtype in pairs]
    unknown = {
        "operator": operator is None,
        "version": not any(metrics["version"]),
        "GPU": machine.gpu == UNKNOWN,
        "case": set(metrics["case"]) <= {"", NO_CASE},
        "dtype": set(metrics["dtype"]) <= {"", UNKNOWN},
        "compulsory traffic": not cases or cases[0].compulsory_bytes is None,
        "software": not device.ncu,
    }
    lacking = [what for what, is_unknown in unknown.items() if is_unknown]
    files = ", ".join([origin.file, *origin.files])
    return Manifest(
        operator=operator.name if operator else UNKNOWN,
        name=name,
        created=f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}",
        machine=machine,
        clock_control=UNKNOWN,
        metric_set="imported",
        command=[],
        ncu_command=[],
        commit=None,
        dirty=False,
        versions=[_version_record(name, operator) for name in dict.fromkeys(metrics["version"]) if name],
        cases=cases,
        checks=[],
        notes=[
            f"Imported from {files}: {'' if timed else 'no times, '}no check of the results.",
            f"Unknown: {', '.join(lacking) or 'nothing'}.",
            *notes,
            *more,
        ],
        sha256={},
        gpu_figures=device.figures,
        origin=origin,
    )


def _machine(label: Label, device: Device, origin: Origin) -> tuple[Machine, list[str]]:
    """Return the machine by the report, else by the spec; and where the two, or report and caller, disagree."""
    notes: list[str] = []
    spec = spec_for_name(device.gpu) if device.gpu else label.spec
    if device.gpu and label.spec is not None and spec is not label.spec:
        notes.append(f"--gpu says {label.spec.name}, {origin.file} says {device.gpu}: the report is believed.")
    if spec is not None:
        spec, contradictions = overruled(spec, device.figures, origin.file)
        notes += [f"{text[0].upper()}{text[1:]}: the report is believed." for text in contradictions]

    def figure(field: Literal["sm_count", "l2_bytes"]) -> int | None:
        told = device.figures.get(field, getattr(spec, field, None))
        return int(told) if told is not None else None

    capability = device.figures.get("compute_capability", spec.compute_capability if spec else UNKNOWN)
    return Machine(
        gpu=device.gpu or (spec.matches[0] if spec else UNKNOWN),
        compute_capability=str(capability),
        sm_count=figure("sm_count"),
        l2_bytes=figure("l2_bytes"),
        memory_bytes=device.memory_bytes,
        **dict.fromkeys(("driver", "cuda", "torch", "triton", "python"), UNKNOWN),
        ncu=device.ncu or UNKNOWN,
    ), notes


def _cases(operator: Operator | None, metrics: pd.DataFrame, root: Path) -> tuple[list[ResolvedCase], list[str]]:
    """Return the cases as the operator's newest runs recorded them, with compulsory traffic, and those runs' names.

    None at all unless every case of the import was recorded and its versions are named: a summary has a row for each.
    """
    if operator is None or not all(metrics["version"]):
        return [], []
    recorded = recorded_cases(reports_folder(root), operator.name)
    wanted = dict.fromkeys((row.case, row.dtype) for row in metrics.itertuples())
    if not wanted.keys() <= recorded.keys():
        return [], []
    found = [recorded[key] for key in wanted]
    return [case for case, _ in found], list(dict.fromkeys(run.name for _, run in found))


def _version_record(name: str, operator: Operator | None) -> VersionRecord:
    """Return a version as its file describes it now; its predictions were not made for what is imported."""
    for version in operator.versions if operator else ():
        if version.name == name:
            header = version.header
            return VersionRecord(name, header.title, header.stage, header.change, header.why, [])
    return VersionRecord(name, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, [])


def _version_name(label: Label) -> str:
    return label.version.name if isinstance(label.version, Version) else label.version

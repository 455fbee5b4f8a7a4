"""A report or metrics from elsewhere become a run folder; what is unknown stays unknown and says so."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from rooflift.errors import CatalogError, RunFault
from rooflift.ncu.metrics import METRICS
from rooflift.ncu.report import Device, read_reports, report_device
from rooflift.project.gpus import GpuSpec, overruled, spec_for_name
from rooflift.project.operator import Operator, Version
from rooflift.runs import atomic, redact
from rooflift.runs import run as runs
from rooflift.runs.find import recorded_cases
from rooflift.runs.run import Run
from rooflift.runs.verify import sha256, write_manifest
from rooflift.schema import UNKNOWN, Machine, Manifest, MetricRow, Origin, ResolvedCase, TimingRow, VersionRecord

if TYPE_CHECKING:
    import pandas as pd

FORM = 'Metrics are JSON of the form {"kernel": {"ncu name": number}}; a report ends in .ncu-rep.'


@dataclass(frozen=True, slots=True)
class Label:
    """What the caller says of a file; None or "" is unknown."""

    operator: Operator | None
    version: Version | str
    spec: GpuSpec | None
    case: str
    dtype: str


def import_file(path: Path, label: Label, root: Path, out: Path) -> Run:
    """Make the run folder `out` of a .ncu-rep or a metrics JSON, whole or not at all, and read it back.

    Raises:
        RunFault: `path` is missing or no metrics JSON, or `out` exists or cannot be written.
        ReportFault: `path` is no report with a kernel launch.
        CatalogError: the label contradicts what a report of rooflift says of itself.
    """
    if not path.is_file():
        raise RunFault(f"{path}: no such file", "Name a .ncu-rep file or a metrics JSON.")
    if out.exists():
        raise RunFault(f"{out} exists", "Name a folder that does not; a run is never overwritten.")
    is_report = path.suffix == ".ncu-rep"
    hidden = redact.secrets(root)
    with atomic.writing(out) as folder:
        if is_report:
            device = report_device(path)
            kept = folder / "ncu" / path.name
            kept.parent.mkdir()
            kept.write_bytes(redact.redact_bytes(path.read_bytes(), hidden))
            metrics = _labelled(read_reports([kept], folder), label, path)
        else:
            device = Device("", None, {})
            metrics = runs.to_frame(read_metrics(path, label), MetricRow)
        metrics.to_csv(folder / "metrics.csv", index=False)
        runs.to_frame([], TimingRow).to_csv(folder / "timings.csv", index=False)
        origin = Origin(path.name, "ncu-rep" if is_report else "json", sha256(path))
        write_manifest(folder, _manifest(origin, label, device, metrics, root, out.name))
        redact.refuse(folder, hidden)
    return runs.read_run(out)


def read_metrics(path: Path, label: Label) -> list[MetricRow]:
    """Return the rows of a metrics JSON: the registry's metrics by short name, every other one under its ncu name.

    Raises:
        RunFault: the file is no JSON of this form, or names no kernel; with the place.
    """
    try:
        kernels = msgspec.json.decode(path.read_bytes(), type=dict[str, dict[str, float | None]])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RunFault(f"{path}: {error}", FORM) from None
    if not kernels or not all(kernels.values()):
        raise RunFault(f"{path}: {'a kernel without a metric' if kernels else 'no kernel'}", FORM)
    key = (_version_name(label), label.case, label.dtype)
    rows: list[MetricRow] = []
    for launch, (kernel, values) in enumerate(kernels.items()):
        left = dict(values)
        for metric in METRICS:
            name = next((n for n in metric.ncu if n in values), metric.ncu[0])
            value = left.pop(name, None)
            missing = "" if value is not None else "null in the file" if name in values else "not in the file"
            rows.append(MetricRow(*key, kernel, launch, metric.name, value, metric.unit, name, path.name, missing))
        for name, value in left.items():
            missing = "" if value is not None else "null in the file"
            rows.append(MetricRow(*key, kernel, launch, name, value, UNKNOWN, name, path.name, missing))
    return rows


def _labelled(metrics: pd.DataFrame, label: Label, path: Path) -> pd.DataFrame:
    """Return a report's rows under the caller's names, where the report has none of its own."""
    own = [name for name in metrics["version"].unique() if name]
    if own and (label.version or label.case or label.dtype):
        remedy = f"Leave out --version, --case and --dtype: it holds {', '.join(own)}."
        raise CatalogError(f"{path}: this report was made by rooflift and says itself what it holds", remedy)
    if own:
        return metrics
    return metrics.assign(version=_version_name(label), case=label.case, dtype=label.dtype)


def _manifest(origin: Origin, label: Label, device: Device, metrics: pd.DataFrame, root: Path, name: str) -> Manifest:
    machine, notes = _machine(label, device, origin)
    operator = label.operator
    cases, recorded_in = _cases(operator, metrics, root)
    if cases:
        notes.append(f"The compulsory traffic is that of run {', '.join(recorded_in)}.")
    known = {metric.name for metric in METRICS}
    foreign = [n for n in dict.fromkeys(metrics["metric"]) if n not in known]
    if foreign:
        notes.append(f"Not in rooflift's registry, kept under their ncu names: {', '.join(foreign)}.")
    unknown = {
        "operator": operator is None,
        "version": not any(metrics["version"]),
        "GPU": machine.gpu == UNKNOWN,
        "case": not any(metrics["case"]),
        "dtype": not any(metrics["dtype"]),
        "compulsory traffic": not cases,
    }
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
            f"Imported from {origin.file}: no times, no check of the results.",
            f"Unknown: {', '.join([what for what, is_unknown in unknown.items() if is_unknown] + ['software'])}.",
            *notes,
        ],
        sha256={},
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
        ncu=UNKNOWN,
    ), notes


def _cases(operator: Operator | None, metrics: pd.DataFrame, root: Path) -> tuple[list[ResolvedCase], list[str]]:
    """Return the cases as the operator's newest runs recorded them, with compulsory traffic, and those runs' names.

    None at all unless every case of the import was recorded and its versions are named: a summary has a row for each.
    """
    if operator is None or not all(metrics["version"]):
        return [], []
    recorded = recorded_cases(root / "reports", operator.name)
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

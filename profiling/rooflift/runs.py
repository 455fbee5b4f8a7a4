"""Run folders and roof files: found, read with every field checked, verified byte by byte. Draws nothing."""

from __future__ import annotations

import contextlib
import csv
import datetime
import hashlib
import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from rooflift import store
from rooflift.errors import RunFault, did_you_mean
from rooflift.records import SCHEMA_VERSION, CaseRecord, CompiledRow, Manifest, MetricRow, Roofs, TimingRow

if TYPE_CHECKING:
    import pandas as pd

Row = TypeVar("Row", bound=msgspec.Struct)
KERNELS = "kernels/"  # the sha256 of a file of the project, not of the run folder, is under such a name
DATA = (".csv", ".ncu-rep")  # of a run; samples say so themselves, texts and pictures are made of these
SAMPLE_COLUMNS = ("subject", "case", "dtype", "round", "position", "time_us")


@dataclass(frozen=True)
class Run:
    """A run folder that has been read: its manifest at once, its tables when they are asked for."""

    folder: Path
    manifest: Manifest

    @property
    def reports(self) -> list[Path]:
        """The run's .ncu-rep files, in the order of their names."""
        return sorted((self.folder / "ncu").glob("*.ncu-rep"))

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """metrics.csv; empty for a run without counters."""
        return self._table("metrics.csv", MetricRow, required=self.manifest.counters != "none")

    @cached_property
    def timings(self) -> pd.DataFrame:
        """timings.csv."""
        return self._table("timings.csv", TimingRow, required=True)

    @cached_property
    def compiled(self) -> pd.DataFrame:
        """compiled.csv; empty when the run has none."""
        return self._table("compiled.csv", CompiledRow, required=False)

    @cached_property
    def samples(self) -> pd.DataFrame:
        """samples.parquet: every time that stands behind timings.csv, columns as SAMPLE_COLUMNS.

        A run from before the places were recorded timed the subjects in the order in which they stand.

        Raises:
            RunFault: the file cannot be read, lacks a column, or holds what is no time.
        """
        import pandas as pd

        path = self.folder / "samples.parquet"
        if not path.exists() and self.timings.empty:  # a report from elsewhere holds counters alone
            return pd.DataFrame(columns=list(SAMPLE_COLUMNS))
        try:
            frame = pd.read_parquet(path).rename(columns={"sample": "round"})
        except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
            raise RunFault(f"{path}: cannot be read: {error}", "Restore the file.") from None
        if "position" not in frame and {"case", "dtype", "round"} <= {*frame.columns}:
            frame["position"] = frame.groupby(["case", "dtype", "round"]).cumcount()
        lacking = [column for column in SAMPLE_COLUMNS if column not in frame]
        if lacking:
            raise RunFault(f"{path}: it has no column {', '.join(lacking)}", "Restore the file.")
        times = pd.to_numeric(frame["time_us"], errors="coerce")
        wrong = ~((times > 0) & (times < float("inf")))
        if wrong.any():
            row = int(wrong.to_numpy().argmax())
            what = f"time_us of row {row} is {frame['time_us'].iloc[row]}"
            raise RunFault(f"{path}: {what}", "A time is above 0; rows are counted from 0. Measure again.")
        return frame[list(SAMPLE_COLUMNS)]

    def _table(self, name: str, row: type[Row], *, required: bool) -> pd.DataFrame:
        path = self.folder / name
        if not path.exists() and not required:
            return to_frame([], row)
        return read_table(path, row)


def to_frame(rows: Sequence[Row], row: type[Row]) -> pd.DataFrame:
    """Return the frame whose columns are the fields of `row`, also when there are no rows."""
    import pandas as pd

    return pd.DataFrame.from_records(
        [msgspec.structs.astuple(r) for r in rows], columns=[field.name for field in msgspec.structs.fields(row)]
    )


def read_table(path: Path, row: type[Row]) -> pd.DataFrame:
    """Read a CSV and check every row against `row`.

    Raises:
        RunFault: the file is missing or empty, or a row lacks a field or holds a value of another type.
    """
    columns = [field.name for field in msgspec.structs.fields(row)]
    optional = {field.name for field in msgspec.structs.fields(row) if field.type == float | None}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *lines = list(csv.reader(file)) or [[]]
    except FileNotFoundError:
        raise RunFault(f"{path}: the run folder lacks it", "Restore it, or measure again.") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise RunFault(f"{path}: not a table: {error}", "Restore the file, or measure again.") from None
    if header != columns:
        raise RunFault(f"{path}: its columns are {', '.join(header)}", f"A run has {', '.join(columns)}.")
    records = []
    for number, cells in enumerate(lines):
        if len(cells) != len(columns):
            what = f"not a table: row {number} has {len(cells)} of {len(columns)} fields"
            raise RunFault(f"{path}: {what}", "Rows are counted from 0. Restore the file.")
        pairs = zip(columns, cells, strict=True)
        records.append({name: None if name in optional and cell == "" else cell for name, cell in pairs})
    try:
        rows = msgspec.convert(records, list[row], strict=False)  # type: ignore[valid-type]  # a list of the given row type
    except msgspec.ValidationError as error:
        raise RunFault(f"{path}: {error}", "The number in $[...] is the row, from 0. Restore the file.") from None
    frame = to_frame(rows, row)
    for name in (field.name for field in msgspec.structs.fields(row) if field.type is float or field.name in optional):
        for number, value in enumerate(getattr(record, name) for record in rows):
            if value is not None and not math.isfinite(value):
                raise RunFault(f"{path}: {name} of row {number} is {value}", "Rows are counted from 0. Measure again.")
    return frame


def read_run(folder: Path) -> Run:
    """Read a run folder.

    Raises:
        RunFault: there is no run.json, it is of another schema version, or a field is missing or wrong.
    """
    path = folder / "run.json"
    if folder.name.startswith(store.PREFIX):
        raise RunFault(f"{folder}: it is being written, or was left by a killed process", "Take a whole one.")
    if not path.is_file():
        raise RunFault(f"{folder}: not a run folder, it has no run.json", "`rooflift list` shows the runs.")
    return Run(folder, _read_record(path, Manifest))


class _Schema(msgspec.Struct):
    """What is read first; all else is passed over."""

    schema: object = None


def _read_record(path: Path, record: type[Row]) -> Row:
    try:
        data = path.read_bytes()
        schema = msgspec.json.decode(data, type=_Schema).schema
        if schema != SCHEMA_VERSION:
            remedy = f"This rooflift reads version {SCHEMA_VERSION}: use the rooflift that wrote it."
            raise RunFault(f"{path}: schema is {schema!r}", remedy)
        return msgspec.json.decode(data, type=record)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RunFault(f"{path}: {error}", "Restore the file, or measure again.") from None


def find_runs(reports: Path, family: str | None = None) -> list[Path]:
    """Return the run folders below `reports`, oldest first; unreadable ones before all others."""
    return [folder for folder, _ in list_runs(reports, family)]


def list_runs(reports: Path, family: str | None = None) -> list[tuple[Path, Manifest | RunFault]]:
    """Return the run folders below `reports` with their manifests, or why one cannot be read; oldest first.

    Unreadable ones stand before all others. Nothing but the manifests is read.
    """
    found: list[tuple[Path, Manifest | RunFault]] = []
    for path in reports.glob(f"{family or '*'}/[!.]*/run.json"):  # what is being written begins with a point
        try:
            found.append((path.parent, read_run(path.parent).manifest))
        except RunFault as fault:
            found.append((path.parent, fault))
    return sorted(found, key=lambda run: ("" if isinstance(run[1], RunFault) else run[1].created, run[0].name))


def recorded_cases(reports: Path, family: str) -> dict[tuple[str, str], tuple[CaseRecord, Manifest]]:
    """Return, by case and dtype, what the newest run that timed it recorded of it, with that run's manifest."""
    measured = (run for _, run in list_runs(reports, family) if isinstance(run, Manifest) and run.origin is None)
    return {(case.case, case.dtype): (case, run) for run in measured for case in run.cases}


def newest_run(
    reports: Path,
    family: str,
    suite: bool = False,
    gpu: str = "",
    versions: Collection[str] = (),
    *,
    with_counters: bool = False,
) -> Run:
    """Return the newest run of a family, with `suite` the newest that timed every bench case; on a GPU of that name.

    Only a run that holds all of `versions` counts, and `with_counters` one that collected some. Without `suite` a run
    of the suite, which may hold few versions, is taken only where there is no other. A run that was imported is passed
    over: it has no times.

    Raises:
        RunFault: the family has no such run.
    """
    other = None
    for folder, manifest in reversed(list_runs(reports, family)):
        if isinstance(manifest, RunFault):
            raise manifest
        held = {version.version for version in manifest.versions}
        asked = gpu in manifest.machine.gpu and held.issuperset(versions)
        if manifest.origin is None and asked and not (with_counters and manifest.counters == "none"):
            if manifest.suite == suite:
                return Run(folder, manifest)
            other = other or Run(folder, manifest)
    if other is not None and not suite:
        return other
    wanted = " that timed the suite" if suite else ""
    wanted += f" with {', '.join(versions)}" if versions else ""
    wanted += " with counters" if with_counters else ""
    remedy = f"Make one with `rooflift profile{' --suite' if suite else ''}` on a machine with a GPU."
    raise RunFault(f"{reports / family}: no run{wanted}{f' on {gpu}' if gpu else ''}", remedy)


def resolve_run(reports: Path, wanted: str, suite: bool = False) -> Run:
    """Return the run named by a folder, by its name, or by a family (its newest, or its newest with a suite).

    Raises:
        RunFault: nothing of that name; near names are suggested. Or a table or a report of the run is gone.
    """
    run = _resolve_run(reports, wanted, suite)
    for name in run.manifest.sha256:
        if name.endswith(DATA) and not name.startswith(KERNELS) and not (run.folder / name).exists():
            raise RunFault(f"{run.folder / name}: the run folder lacks it", "Restore it, or measure again.")
    return run


def _resolve_run(reports: Path, wanted: str, suite: bool) -> Run:
    if (Path(wanted) / "run.json").exists():
        return read_run(Path(wanted))
    found = resolve_folders(reports, wanted)
    if found[0].name != wanted:
        return newest_run(reports, wanted, suite)
    if len(found) > 1:
        raise RunFault(f"{wanted}: several runs have this name", f"Name one: {', '.join(map(str, found))}.")
    return read_run(found[0])


def resolve_folders(reports: Path, wanted: str) -> list[Path]:
    """Return the run folders that a folder, a name or a family stand for, readable or not, oldest first.

    Raises:
        RunFault: nothing of that name; near names are suggested.
    """
    if (Path(wanted) / "run.json").exists():
        return [Path(wanted)]
    runs = find_runs(reports)
    found = [path for path in runs if path.name == wanted] or [path for path in runs if path.parent.name == wanted]
    if found:
        return found
    known = dict.fromkeys([*(path.parent.name for path in runs), *(path.name for path in runs)])
    raise RunFault(f"{wanted}: no such run", did_you_mean(wanted, known))


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write run.json: the manifest, the sha256 of every other file of the folder, and its own."""
    digests = {name: digest for name, digest in manifest.sha256.items() if name.startswith(KERNELS)}
    digests |= {name: sha256(path) for name, path in _files(folder).items() if name != "run.json"}
    data = _json(msgspec.structs.replace(manifest, sha256=digests, sha256_self=""))
    own = hashlib.sha256(data).hexdigest()
    (folder / "run.json").write_bytes(data.replace(_own_line(""), _own_line(own), 1))


def _json(record: msgspec.Struct) -> bytes:
    return msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"


def _own_line(digest: str) -> bytes:
    """Return how a run.json spells its own sha256, which is that of the file with "" in its place."""
    return f'  "sha256_self": "{digest}"'.encode()


def _files(folder: Path) -> dict[str, Path]:
    """Return all that lies in a folder and is no folder, by its name, in order."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_symlink() or not path.is_dir())
    return {path.relative_to(folder).as_posix(): path for path in paths}


@dataclass(frozen=True, slots=True)
class Verified:
    """What a run folder is found to be: what is wrong with it, and what cannot be told."""

    folder: Path
    faults: list[tuple[str, str]]  # a file of the folder, and what is wrong with it
    notes: list[str]

    @property
    def whole(self) -> bool:
        """Nothing is wrong with it."""
        return not self.faults


def verify(folder: Path, root: Path | None = None) -> Verified:
    """Hold every byte of a run folder against the sha256 in its run.json.

    With the project's folder a note says whether its kernel files still are those that were measured. Who alters a
    run on purpose may alter the sha256 with it; version control tells.

    Raises:
        RunFault: `folder` has no run.json.
    """
    try:
        manifest = read_run(folder).manifest
    except RunFault as fault:
        if not (folder / "run.json").exists():
            raise
        return Verified(folder, [("run.json", fault.message.removeprefix(f"{folder / 'run.json'}: "))], [])
    faults, notes = [], []
    data = (folder / "run.json").read_bytes()
    if manifest.sha256_self is None:
        notes.append("run.json does not hold its own sha256: whether it was altered cannot be told")
    elif _own_digest(data, manifest.sha256_self) != manifest.sha256_self:
        faults.append(("run.json", "altered"))
    there = _files(folder)
    there.pop("run.json")
    own = {name: digest for name, digest in manifest.sha256.items() if not name.startswith(KERNELS)}
    for name in sorted(own.keys() | there.keys()):
        wrong = _wrong(there.get(name), own.get(name))
        faults += [(name, wrong)] if wrong else []
    if root is not None:
        notes += _kernels_since(manifest, root)
    return Verified(folder, faults, notes)


def _wrong(path: Path | None, digest: str | None) -> str:
    """Return what is wrong with a file of a run folder, "" when nothing is."""
    if path is None:
        return "missing"
    if digest is None:
        return "additional"
    if path.is_symlink() or not path.is_file():  # a pipe is never opened
        return "no regular file"
    try:
        return "" if sha256(path) == digest else "altered"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _own_digest(data: bytes, digest: str) -> str:
    return hashlib.sha256(data.replace(_own_line(digest), _own_line(""), 1)).hexdigest()


def _kernels_since(manifest: Manifest, root: Path) -> list[str]:
    measured = {name: digest for name, digest in manifest.sha256.items() if name.startswith(KERNELS)}
    changed = [n for n, digest in measured.items() if not (root / n).is_file() or sha256(root / n) != digest]
    return [f"changed since it was measured, or gone: {', '.join(changed)}"] if changed else []


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def dated_name(gpu: str, started: datetime.datetime, commit: str | None, dirty: bool) -> str:
    """Return <date>-<gpu>-<commit>, such as 2026-11-22-h100-3d4a7f3."""
    card = re.search(r"\b(?:RTX \w+|[A-Z]{1,2}\d+\w*)\b", gpu)
    state = (commit[:7] if commit else "nocommit") + ("-dirty" if dirty else "")
    return f"{started:%Y-%m-%d}-{(card[0] if card else gpu).replace(' ', '').lower()}-{state}"


def roofs_path(reports: Path, roofs: Roofs) -> Path:
    """Return the file below reports/roofs that is named after the measurement."""
    created = datetime.datetime.fromisoformat(roofs.created)
    return reports / "roofs" / f"{dated_name(roofs.machine.gpu, created, roofs.commit, roofs.dirty)}.json"


def write_roofs(path: Path, roofs: Roofs, *, force: bool = False) -> None:
    """Write measured roofs, whole or not at all.

    Raises:
        RunFault: `path` exists and `force` is not given, or it cannot be written.
    """
    if path.exists() and not force:
        raise RunFault(f"{path} exists", "Name another file with --out, or replace it with --force.")
    store.write_file(path, _json(roofs), replace=force)


def read_roofs(path: Path) -> Roofs:
    """Read measured roofs.

    Raises:
        RunFault: the file is missing, of another schema version, or a field is missing or wrong.
    """
    return _read_record(path, Roofs)


def newest_roofs(reports: Path, gpu: str) -> Roofs | None:
    """Return the newest roofs below `reports` that were measured on a GPU of this name, None when there are none.

    A file that cannot be read hinders no measurement: it is as if it were not there.
    """
    found: list[Roofs] = []
    for path in (reports / "roofs").glob("[!.]*.json"):
        with contextlib.suppress(RunFault):
            found.append(read_roofs(path))
    return max((roofs for roofs in found if roofs.machine.gpu == gpu), key=lambda roofs: roofs.created, default=None)

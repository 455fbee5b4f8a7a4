"""Run folders and roof files: found, read with every field checked, verified byte by byte. Draws nothing."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from rooflift.errors import RunFault
from rooflift.runs import atomic
from rooflift.schema import SCHEMA_VERSION, CompiledRow, Manifest, MetricRow, TimingRow

if TYPE_CHECKING:
    import pandas as pd

Row = TypeVar("Row", bound=msgspec.Struct)
REPORTS = (".ncu-rep", ".ncu-rep.gz")
SOURCE_TABLE = "source.parquet"  # the instructions of a run with the metric set source or full
SAMPLE_COLUMNS = ("provider", "repeat", "case", "dtype", "round", "position", "time_us")


@dataclass(frozen=True)
class Run:
    """A run folder that has been read: its manifest at once, its tables when they are asked for."""

    folder: Path
    manifest: Manifest
    root: Path | None = None  # the project, whose measured roofs count where none lie above the folder

    @property
    def reports(self) -> list[Path]:
        """The run's reports, in the order of their names: .ncu-rep files, in gzip where the run was compressed."""
        found = sorted(path for suffix in REPORTS for path in (self.folder / "ncu").glob(f"*{suffix}"))
        return list({path.name.removesuffix(".gz"): path for path in found}.values())

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """metrics.csv; empty for a run without metrics."""
        return self._table("metrics.csv", MetricRow, required=self.manifest.metric_set != "none")

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

        Raises:
            RunFault: the file cannot be read, lacks a column, or holds what is no time.
        """
        import pandas as pd

        path = self.folder / "samples.parquet"
        if not path.exists() and self.timings.empty:  # a report from elsewhere holds metrics alone
            return pd.DataFrame(columns=list(SAMPLE_COLUMNS))
        try:
            frame = pd.read_parquet(path)
        except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
            raise RunFault(f"{path}: cannot be read: {error}", "Restore the file.") from None
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


def read_run(folder: Path, root: Path | None = None) -> Run:
    """Read a run folder; `root` is the project, where the run does not lie in it.

    Raises:
        RunFault: there is no run.json, it is of another schema version, or a field is missing or wrong.
    """
    path = folder / "run.json"
    if folder.name.startswith(atomic.PREFIX):
        raise RunFault(f"{folder}: it is being written, or was left by a killed process", "Take a whole one.")
    if not path.is_file():
        raise RunFault(f"{folder}: not a run folder, it has no run.json", "`rooflift runs` lists the runs.")
    return Run(folder, read_record(path, Manifest), root)


class _Schema(msgspec.Struct):
    """What is read first; all else is passed over."""

    schema: object = None


def read_record(path: Path, record: type[Row]) -> Row:
    """Read a JSON file of this schema version.

    Raises:
        RunFault: it cannot be read, is of another schema version, or a field is missing or wrong.
    """
    try:
        data = path.read_bytes()
        schema = msgspec.json.decode(data, type=_Schema).schema
        if schema != SCHEMA_VERSION:
            script = "`python scripts/migrate_runs.py FOLDER` rewrites version 1"
            remedy = f"This rooflift reads version {SCHEMA_VERSION}: {script}."
            raise RunFault(f"{path}: schema is {schema!r}", remedy)
        return msgspec.json.decode(data, type=record)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RunFault(f"{path}: {error}", "Restore the file, or measure again.") from None


def to_json(record: msgspec.Struct) -> bytes:
    """Return a record as it is written: JSON, indented, with an end of line."""
    return msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"

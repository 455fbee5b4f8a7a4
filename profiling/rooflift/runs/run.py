"""Run folders and roof files: found, read with every field checked, verified byte by byte. Draws nothing."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, get_args

import msgspec

from rooflift.dtypes import UNITS
from rooflift.errors import RunFault
from rooflift.escape import plain
from rooflift.files import read_regular
from rooflift.runs import atomic
from rooflift.runs.parquet import read_parquet
from rooflift.schema import LONGEST_US, SCHEMA_VERSION, SHORTEST_US, CompiledRow, Manifest, MetricRow, TimingRow, reason

if TYPE_CHECKING:
    import pandas as pd

Row = TypeVar("Row", bound=msgspec.Struct)
REPORTS = (".ncu-rep", ".ncu-rep.gz")
SOURCE_TABLE = "source.parquet"  # the instructions of a run with the metric set source or full
SAMPLES = {"provider": "text", "repeat": "whole", "case": "text", "dtype": "text"}
SAMPLES |= {"round": "whole", "position": "whole", "time_us": "number"}
SAMPLE_COLUMNS = tuple(SAMPLES)
TIMED = ("provider", "case", "dtype")  # what a row of timings.csv is of
COUNTED = ("version", "case", "dtype", "launch", "metric")  # what a row of metrics.csv is of
SAME, ROUNDED_US = 1e-3, 0.0006  # medians: less than any verdict needs, and timings.csv has three places


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
        return self._table("metrics.csv", MetricRow, COUNTED, required=self.manifest.metric_set != "none")

    @cached_property
    def timings(self) -> pd.DataFrame:
        """timings.csv."""
        return self._table("timings.csv", TimingRow, TIMED, required=True)

    @cached_property
    def compiled(self) -> pd.DataFrame:
        """compiled.csv; empty when the run has none."""
        return self._table("compiled.csv", CompiledRow, (), required=False)

    @cached_property
    def samples(self) -> pd.DataFrame:
        """samples.parquet: every time that stands behind timings.csv, columns as SAMPLE_COLUMNS.

        Raises:
            RunFault: the file cannot be read, lacks a column, holds what is no time, or has other medians than
                timings.csv.
        """
        import pandas as pd

        path = self.folder / "samples.parquet"
        if not path.exists() and self.timings.empty:  # a report from elsewhere holds metrics alone
            return pd.DataFrame(columns=list(SAMPLE_COLUMNS))
        frame = read_parquet(path, SAMPLES)
        wrong = ~frame["time_us"].between(SHORTEST_US, LONGEST_US)  # NaN is not between
        if wrong.any():
            row = int(wrong.to_numpy().argmax())
            what = f"time_us of row {row} is {frame['time_us'].iloc[row]}"
            remedy = f"A time is from {SHORTEST_US:g} to {LONGEST_US:g} us; rows are counted from 0. Measure again."
            raise RunFault(f"{path}: {what}", remedy)
        first = frame[frame["repeat"] == 0].groupby(list(TIMED), sort=False)["time_us"].median()
        stated = self.timings.set_index(list(TIMED))["median_us"]
        for key, median_us in first.items():
            if key in stated.index and abs(stated[key] - median_us) > ROUNDED_US + SAME * median_us:
                what = f"the median of {' '.join(key)} is {median_us:.3f} us, in timings.csv {stated[key]:.3f} us"
                raise RunFault(f"{path}: {what}", "One of the two was altered: restore them from version control.")
        return frame[list(SAMPLE_COLUMNS)]

    def _table(self, name: str, row: type[Row], key: Sequence[str], *, required: bool) -> pd.DataFrame:
        path = self.folder / name
        if not required and not path.exists() and not path.is_symlink():
            return to_frame([], row)
        return read_table(path, row, key)


def to_frame(rows: Sequence[Row], row: type[Row]) -> pd.DataFrame:
    """Return the frame whose columns are the fields of `row`, also when there are no rows."""
    import pandas as pd

    return pd.DataFrame.from_records(
        [msgspec.structs.astuple(r) for r in rows], columns=[field.name for field in msgspec.structs.fields(row)]
    )


def read_table(path: Path, row: type[Row], key: Sequence[str] = ()) -> pd.DataFrame:
    """Read a CSV and check every row against `row`; no two have the same `key`.

    Raises:
        RunFault: the file is missing, empty or no regular file, a row lacks a field or holds a value of another type
            or out of its range, or one stands twice.
    """
    fields = msgspec.structs.fields(row)
    columns = [field.name for field in fields]
    optional = {field.name for field in fields if type(None) in get_args(field.type)}
    try:
        text = read_regular(path, within=path.parent).decode("utf-8")
        header, *lines = list(csv.reader(io.StringIO(text, newline=""))) or [[]]
    except FileNotFoundError:
        raise RunFault(f"{path}: the run folder lacks it", "Restore it, or measure again.") from None
    except OSError as error:
        raise RunFault(f"{path}: {error.strerror}", "Restore the file, or measure again.") from None
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
        raise RunFault(
            f"{path}: {reason(error)}", "The number in $[...] is the row, from 0. Restore the file."
        ) from None
    frame = to_frame(rows, row)
    if key and frame.duplicated(list(key)).any():
        number = int(frame.duplicated(list(key)).to_numpy().argmax())
        what = f"row {number} is a second one of {' '.join(map(str, frame.loc[number, list(key)]))}"
        raise RunFault(f"{path}: {what}", "Rows are counted from 0. Restore the file.")
    return frame


def read_run(folder: Path, root: Path | None = None) -> Run:
    """Read a run folder; `root` is the project, where the run does not lie in it.

    Raises:
        RunFault: there is no run.json, it is of another schema version, or a field is missing or wrong.
    """
    path = folder / "run.json"
    if folder.name.startswith(atomic.PREFIX):
        raise RunFault(f"{folder}: it is being written, or was left by a killed process", "Take a whole one.")
    if not path.exists() and not path.is_symlink():
        raise RunFault(f"{folder}: not a run folder, it has no run.json", "`rooflift runs` lists the runs.")
    manifest = read_record(path, Manifest)
    for case in manifest.cases:
        unknown = [unit for unit in case.flop_by_unit if unit not in UNITS]
        if unknown:
            remedy = f"The units are {', '.join(UNITS)}."
            raise RunFault(f"{path}: {case.case}: flop_by_unit names no unit: {plain(unknown[0])[:40]}", remedy)
    return Run(folder, manifest, root)


class _Schema(msgspec.Struct):
    """What is read first; all else is passed over."""

    schema: object = None


def read_record(path: Path, record: type[Row]) -> Row:
    """Read a JSON file of this schema version.

    Raises:
        RunFault: it cannot be read, is of another schema version, or a field is missing or wrong.
    """
    try:
        data = read_regular(path, within=path.parent)
        schema = msgspec.json.decode(data, type=_Schema).schema
        if schema != SCHEMA_VERSION or type(schema) is not int:
            script = "`python scripts/migrate_runs.py FOLDER` rewrites version 1"
            remedy = f"This rooflift reads version {SCHEMA_VERSION}: {script}."
            raise RunFault(f"{path}: schema is {_short(schema)}", remedy)
        return msgspec.json.decode(data, type=record)
    except OSError as error:
        raise RunFault(f"{path}: {error.strerror}", "Restore the file, or measure again.") from None
    except RecursionError:
        raise RunFault(
            f"{path}: its tables are too many in each other", "Restore the file, or measure again."
        ) from None
    except (msgspec.DecodeError, ValueError) as error:  # no UTF-8, or a number of too many digits
        raise RunFault(f"{path}: {reason(error)}", "Restore the file, or measure again.") from None


def _short(value: object) -> str:
    return f"{value!r:.40}" if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"


def to_json(record: msgspec.Struct) -> bytes:
    """Return a record as it is written: JSON, indented, with an end of line."""
    return msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"

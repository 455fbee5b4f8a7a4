"""Any file with metrics of kernels: a report, what `ncu --csv` printed, JSON. Its content says which."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from rooflift.errors import ReportFault
from rooflift.ncu.cells import NOT_A_NUMBER
from rooflift.ncu.content import HEAD_BYTES, Content, open_file, recognize
from rooflift.ncu.csv_metrics import read_csv
from rooflift.ncu.held import Held, held_rows
from rooflift.ncu.json_metrics import read_json
from rooflift.ncu.metrics import DEVICE_ATTRIBUTES, DEVICE_NAME
from rooflift.ncu.reader import Device, described
from rooflift.ncu.report import read_reports, report_device
from rooflift.ncu.units import Units
from rooflift.schema import MetricRow

if TYPE_CHECKING:
    import pandas as pd

MOST_TEXT_BYTES = 2**28  # a text is read whole


@dataclass(frozen=True, slots=True)
class Metrics:
    """What a file holds: one row a metric of a launch, columns as MetricRow, and what it says of its GPU."""

    frame: pd.DataFrame
    device: Device
    form: str  # report, csv or json
    notes: tuple[str, ...]  # what was assumed


def form_of(path: Path) -> Content:
    """Return what a file is; of one in gzip what is in it.

    Raises:
        ReportFault: it is missing, empty, no regular file, too large or damaged.
    """
    with open_file(path) as file:
        return recognize(os.pread(file.fileno(), HEAD_BYTES, 0), path.name.removesuffix(".gz"))


def read_file(path: Path, units: Units = "auto") -> Metrics:
    """Read a file with metrics of kernels, whatever its name.

    Raises:
        ReportFault: it is nothing that holds such metrics, which is named with what to do; or no whole report.
        RunFault: a text is malformed, with the place; or a value has no unit and could be of two.
    """
    found = form_of(path)
    if found.form == "report":
        return Metrics(read_reports([path], path.parent), report_device(path), "report", ())
    if not found.form:
        raise ReportFault(f"{path}: {found.what}", found.remedy)
    launches = (read_csv if found.form == "csv" else read_json)(_text(path), str(path), units)
    return Metrics(_frame(held_rows(launches, path.name)), _device(launches[0]), found.form, _notes(launches))


def _device(held: Held) -> Device:
    """Return what a launch of a text says of its GPU, as a raw page and the JSON of a whole report do."""
    name = held.values.get(DEVICE_NAME)
    found = {}
    for field, (ncu_name, factor) in DEVICE_ATTRIBUTES.items():
        one = held.values.get(ncu_name)
        if one is not None and one.value is not None:
            found[field] = int(one.value) * (1 if one.unit == "hz" else factor)
    return described(name.missing.removeprefix(NOT_A_NUMBER) if name else "", found)


def _text(path: Path) -> str:
    with open_file(path) as file:
        if os.fstat(file.fileno()).st_size > MOST_TEXT_BYTES:
            what = f"more than {MOST_TEXT_BYTES >> 20} MiB of text"
            raise ReportFault(f"{path}: {what}", "Print fewer metrics or launches, or keep the report: `ncu -o`.")
        data = file.read()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ReportFault(f"{path}: no text in UTF-8, at byte {error.start}", "Write it in UTF-8.") from None


def _notes(launches: Sequence[Held]) -> tuple[str, ...]:
    assumed = {name: unit for held in launches for name, unit in held.assumed.items()}
    names = ", ".join(f"{name} in {unit}" for name, unit in assumed.items())
    averages = sorted({held.launches for held in launches if held.launches > 1})
    return (
        *([f"Without a unit in the file, taken as ncu prints it: {names}."] if assumed else []),
        *(
            [f"Values are averages of {', '.join(map(str, averages))} launches, as ncu prints a summary."]
            if averages
            else []
        ),
    )


def _frame(rows: Sequence[MetricRow]) -> pd.DataFrame:
    import pandas as pd

    frame = pd.DataFrame.from_records(
        [msgspec.structs.astuple(row) for row in rows], columns=list(MetricRow.__struct_fields__)
    )
    return frame.astype({"value": float})

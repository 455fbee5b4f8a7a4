"""From .ncu-rep files to the tidy frame, through the program `reader.py`. Judges nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar

import msgspec

from rooflift.errors import EnvironmentFault, ReportFault
from rooflift.ncu.cells import NOT_COLLECTED
from rooflift.ncu.content import REMEDY, open_report
from rooflift.ncu.metrics import METRICS
from rooflift.ncu.pm_sampling import Sampled
from rooflift.ncu.reader import NO_READER, REFUSED, VALUES, Device, Launch, Question, RuleResult, Value
from rooflift.ncu.source import Instructions
from rooflift.process import ask
from rooflift.schema import MetricRow

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "NOT_COLLECTED",
    "Device",
    "Limits",
    "RuleResult",
    "Value",
    "read_instructions",
    "read_reports",
    "read_rules",
    "read_sampled",
    "read_values",
    "report_device",
    "report_gpu",
]

Record = TypeVar("Record")
MOST_PROCESSES = 4  # that read parts of one file, up to 0.4 GB each


@dataclass(frozen=True, slots=True)
class Limits:
    """What a process that reads a part of a file may take, and, twice its processor time, all of them together."""

    memory_bytes: int  # of address space; 0.3 GB of it are Python and the reader's libraries
    cpu_s: int

    @classmethod
    def of(cls, size: int) -> Limits:
        """Return the limits for a file of so many bytes: several times what a sound one takes."""
        return cls(memory_bytes=2**31 + 2 * size, cpu_s=30 + size // 2**20)


def read_reports(paths: Sequence[Path], folder: Path) -> pd.DataFrame:
    """Read reports into one tidy frame, columns as MetricRow.

    `source` is relative to `folder` where it lies inside, and without the .gz of a report in gzip.

    Raises:
        ReportFault: a file is missing, no whole report, or holds no kernel launch; or reading it took too much.
        EnvironmentFault: ncu_report cannot be imported.
    """
    launches = [
        (
            (path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name).removesuffix(".gz"),
            launch,
        )
        for path in paths
        for name in [path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name]
        for launch in _ask(path, "launches", Launch)
    ]
    return _frame(launches)


def report_gpu(path: Path) -> str:
    """Return the name of the GPU that a report was made on, "" when the report does not say."""
    return report_device(path).gpu


def report_device(path: Path) -> Device:
    """Read the attributes of the GPU that a report was made on."""
    return _ask(path, "device", Device)[0]


def read_rules(paths: Sequence[Path]) -> list[RuleResult]:
    """Return the results of ncu's rules; none for a report that was made with metrics alone, where no rule ran."""
    return [rule for path in paths for rule in _ask(path, "rules", RuleResult)]


def read_instructions(path: Path) -> list[Instructions]:
    """Return what a report holds of each instruction, launch by launch.

    ncu's disassembler takes about 2 s to start and 0.25 ms an instruction (H100 report, ncu_report 2025.3).

    Raises:
        ReportFault: as `read_reports`.
    """
    return _ask(path, "instructions", Instructions)


def read_sampled(path: Path) -> list[Sampled]:
    """Return the metrics that a report holds over the time of its launches, launch by launch.

    Raises:
        ReportFault: as `read_reports`.
    """
    return _ask(path, "sampled", Sampled)


def read_values(path: Path, pattern: str) -> list[Value]:
    """Return all that a report holds under the ncu names that a regular expression finds, launch by launch.

    Raises:
        ReportFault: as `read_reports`.
    """
    return _ask(path, f"{VALUES}{pattern}", Value)


def _frame(launches: Sequence[tuple[str, Launch]]) -> pd.DataFrame:
    """Return the rows of launches, each with the source it is from; launches count on from one source to the next."""
    import pandas as pd

    columns: dict[str, list[object]] = {field: [] for field in MetricRow.__struct_fields__}
    counted: dict[tuple[str, str, str], int] = {}
    names = [metric.name for metric in METRICS]
    for source, launch in launches:
        number = counted[launch.measured] = counted.get(launch.measured, -1) + 1
        shared = (*launch.measured, launch.kernel, number)
        for field, value in zip(("version", "case", "dtype", "kernel", "launch"), shared, strict=True):
            columns[field] += [value] * len(METRICS)
        values, units, ncu_names, missing = zip(*launch.cells, strict=True)
        columns["metric"] += names
        columns["value"] += values
        columns["unit"] += units
        columns["ncu_name"] += ncu_names
        columns["source"] += [source] * len(METRICS)
        columns["missing"] += missing
    return pd.DataFrame(columns).astype({"value": float})


def _ask(path: Path, question: Question, record: type[Record], limits: Limits | None = None) -> list[Record]:
    """Let processes of their own read a file part by part, and return the records they answer with."""
    decoder = msgspec.json.Decoder(record)
    with open_report(path) as file:
        limits = limits or Limits.of(os.fstat(file.fileno()).st_size)
        deadline = time.monotonic() + 2 * limits.cpu_s
        first = _read_part(path, file, question, limits, deadline)
        try:
            line, _, rest = first.partition(b"\n")
            cuts = msgspec.json.decode(line, type=list[int])
            records = decoder.decode_lines(rest)
            if question != "device" and len(cuts) > 2:
                with ThreadPoolExecutor(MOST_PROCESSES) as pool:
                    read = partial(_read_part, path, file, question, limits, deadline)
                    for answer in pool.map(read, pairwise(cuts[1:])):
                        records += decoder.decode_lines(answer)
        except msgspec.DecodeError as error:
            raise ReportFault(f"{path}: damaged: {error}", REMEDY) from None
    promised = {"launches": cuts[-1] if cuts else 0, "device": 1}.get(question)
    if promised is not None and len(records) != promised:
        raise ReportFault(f"{path}: damaged: {len(records)} of {promised} answers about its {question}", REMEDY)
    return records


def _read_part(
    path: Path, file: IO[bytes], question: Question, limits: Limits, deadline: float, part: Sequence[int] = ()
) -> bytes:
    words = [question, str(limits.memory_bytes), str(limits.cpu_s), *map(str, part)]
    # -P: no module of the working directory is taken for one of ours
    command = [sys.executable, "-P", "-m", "rooflift.ncu.reader", *words]
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    environment |= {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    try:
        ended = ask(command, file, environment, timeout_s=max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise _too_long(path, limits) from None
    said = ended.stdout.decode(errors="replace")
    match ended.returncode:
        case 0:
            return ended.stdout
        case code if code == NO_READER:
            raise EnvironmentFault(f"ncu_report cannot be imported: {said}", "Run `pip install ncu-report`.")
        case code if code == REFUSED:
            raise ReportFault(f"{path}: {said}", REMEDY)
        case code if code in (-signal.SIGXCPU, -signal.SIGKILL):
            raise _too_long(path, limits)
        case code:
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
            raise ReportFault(f"{path}: damaged: the program that reads it {how}", REMEDY)


def _too_long(path: Path, limits: Limits) -> ReportFault:
    return ReportFault(f"{path}: damaged, or not read within {limits.cpu_s} s of processor time", REMEDY)

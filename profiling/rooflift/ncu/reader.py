"""The program that reads one .ncu-rep file with NVIDIA's native reader and says what it holds; it writes no file.

A report comes from anywhere and is untrusted: `reports.py` hands it over as standard input, this program limits its own
time and memory before it looks at a byte, and answers one question with a JSON line a record on standard output. Its
exit code is REFUSED, with the reason on standard output, for a file that is no whole report.
"""

from __future__ import annotations

import math
import os
import re
import resource
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import IO, Any, Literal, NoReturn

import msgspec

from rooflift.ncu.cells import NO_VALUE, Cell, Given, cells, given
from rooflift.ncu.content import MAGIC
from rooflift.ncu.metrics import DEVICE_ATTRIBUTES, DEVICE_NAME, SOL_BREAKDOWNS
from rooflift.ncu.pm_sampling import Sampled, sampled
from rooflift.ncu.source import Instructions, instructions
from rooflift.region import RANGE, SEPARATOR

REFUSED, NO_READER = 3, 4  # exit codes
WORDS = 4  # of the command line, before BEGIN and END
MOST_OF_ANYTHING = 2**53  # of an attribute of a GPU: a report is untrusted
LONGEST_TEXT = 10_000  # characters of a name; a report may hold any
PART_BYTES = 8 * 2**20
CHUNK_BYTES = 2**20
Question = (
    Literal["launches", "device", "rules", "instructions", "sampled"] | str
)  # or "values:" and a regular expression of ncu names
VALUES = "values:"
_NCU = re.compile(rb"\b(20[12]\d\.\d+\.\d+\.\d+) \(build \d+\)")


class Launch(msgspec.Struct, frozen=True, array_like=True):
    """One launch, range or graph: what NVTX says of it, and a cell for each metric of the registry, in its order."""

    measured: tuple[str, str, str]  # version, case and dtype
    kernel: str  # demangled, whole
    cells: list[Cell]
    others: int = 0  # metrics of the launch that no entry of the registry takes


class Value(msgspec.Struct, frozen=True, array_like=True):
    """One metric of one launch under its ncu name, as the report holds it."""

    launch: int
    kernel: str
    name: str
    value: float | str | None  # None: see `missing`
    unit: str
    missing: str


@dataclass(frozen=True, slots=True)
class Device:
    """What a report says of its GPU: `figures` by the fields of a GPU spec, in base units."""

    gpu: str  # "" when it does not say
    memory_bytes: int | None
    figures: dict[str, float | str]
    ncu: str = ""  # its version, "" when the report does not say


def described(gpu: str, found: dict[str, int], ncu: str = "") -> Device:
    """Return a GPU by its attributes, in base units, by the names of DEVICE_ATTRIBUTES; what cannot be is left out."""
    left = {name: value for name, value in found.items() if 1 <= value <= MOST_OF_ANYTHING or name == "minor"}
    figures = dict[str, float | str]()
    major, minor = left.pop("major", 0), left.pop("minor", 0)
    if 1 <= major < 100 and 0 <= minor < 100:
        figures["compute_capability"] = f"{major}.{minor}"
    if "memory_clock_hz" in left and "memory_bus_bits" in left:
        figures["dram_bytes_per_s"] = 2.0 * left.pop("memory_clock_hz") * left.pop("memory_bus_bits") / 8
    return Device(" ".join(gpu.split()), left.pop("memory_bytes", None), figures | left, ncu)


@dataclass(frozen=True, slots=True)
class RuleResult:
    """What one of ncu's own rules says of a launch; `speedup_pct` is its estimate, None without one."""

    version: str
    case: str
    dtype: str
    kernel: str
    rule: str
    section: str
    kind: str  # ok, optimization, warning, error, none
    title: str
    message: str
    speedup_pct: float | None
    scope: str  # global: of the kernel's time; local: of the part that the rule looks at; "" without an estimate


class NoReportError(Exception):
    """The file is no report, or not a whole one; the text says why."""


def main() -> NoReturn:
    """Answer the question of the command line, `QUESTION MEMORY_BYTES CPU_S [BEGIN END]`, about standard input.

    With BEGIN and END the answer is about these launches, counted from 0. Without, the file is looked through, its
    first part is answered for, and the line in front of the records says where the parts begin and end.
    """
    question, memory_bytes, cpu_s = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the native reader prints is no answer
    try:
        import ncu_report
    except ImportError as error:
        _leave(answer, NO_READER, str(error).encode(errors="replace"))
    limit(memory_bytes, cpu_s)
    try:
        lines: list[bytes] = []
        if len(sys.argv) > WORDS:
            begin, end = int(sys.argv[WORDS]), int(sys.argv[WORDS + 1])
        else:
            with os.fdopen(0, "rb", closefd=False) as file:
                cuts = parts(launch_sizes(file))
            begin, end = cuts[0], cuts[1]
            lines.append(msgspec.json.encode(cuts))
        actions = _actions(ncu_report.load_report("/dev/stdin"), begin, end)
        if question.startswith(VALUES):
            records = answer_values(actions, begin, re.compile(question.removeprefix(VALUES), re.IGNORECASE))
        else:
            records = ANSWERS[question](actions)
        lines += [msgspec.json.encode(record) for record in records]
    except NoReportError as error:
        _leave(answer, REFUSED, str(error).encode())
    except MemoryError:
        _leave(answer, REFUSED, b"damaged, or it takes more memory to read than its size allows for")
    except Exception as error:  # noqa: BLE001  # whatever the native reader raises on a damaged file
        _leave(answer, REFUSED, f"damaged: {type(error).__name__}: {str(error)[:200]}".encode(errors="replace"))
    _leave(answer, 0, b"\n".join(lines))


def _leave(answer: IO[bytes], code: int, said: bytes) -> NoReturn:
    answer.write(said)
    answer.flush()
    os._exit(code)  # the native reader's destructors walk through what a damaged file has made


def limit(memory_bytes: int, cpu_s: int) -> None:
    """Limit this process: address space, CPU time; no file may be written, no core dumped."""
    for what, most in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        with suppress(ValueError):  # a lower limit is set already
            resource.setrlimit(what, (most, most))


def launch_sizes(file: IO[bytes]) -> list[int]:
    """Walk through the blocks of a report and return the bytes of each launch's result; no result is looked into.

    The native reader gives of a report that is cut off the launches before the cut, and says nothing. The layout is the
    one in NVIDIA's Customization Guide of Nsight Compute, Report File Format: a magic, a file header, and blocks of a
    header and a payload; sizes are 4 bytes, little-endian, in front of every header and every entry of a payload.

    Raises:
        NoReportError: the sizes do not add up to the file, or no launch is listed; with the place.
    """
    size = os.fstat(file.fileno()).st_size
    if _part(file, len(MAGIC), size) != MAGIC:
        raise NoReportError("no Nsight Compute report")
    _sized(file, size)
    launches: list[int] = []
    while (at := file.tell()) < size:
        header = _varints(_sized(file, size))
        if not header:
            raise NoReportError(f"damaged at byte {at}: a block without a header")
        end = file.tell() + header.get(5, 0)
        if end > size:
            raise NoReportError(f"cut off: the block at byte {at} ends at byte {end}, the file at {size}")
        sources, *results = (header.get(field, 0) for field in (1, 2, 7, 9))  # of kernels, ranges and graphs
        for number in range(sources + sum(results)):
            entry = int.from_bytes(_part(file, 4, end), "little")
            if file.seek(entry, os.SEEK_CUR) > end:
                raise NoReportError(f"damaged: an entry of the block at byte {at} is longer than the block")
            if number >= sources:
                launches.append(entry)
        if file.tell() != end:
            raise NoReportError(f"damaged: the block at byte {at} holds more than it lists")
    if not launches:
        raise NoReportError("no Nsight Compute report with a kernel launch in it")
    return launches


def parts(sizes: Sequence[int]) -> list[int]:
    """Return where the parts of a report begin, and its number of launches: a process reads about PART_BYTES of it.

    The native reader needs up to forty times the bytes of a launch, and gives none of it back.
    """
    cuts, part = [0], 0
    for launch, size in enumerate(sizes):
        if part + size > PART_BYTES and launch > cuts[-1]:
            cuts.append(launch)
            part = 0
        part += size
    return [*cuts, len(sizes)]


def _sized(file: IO[bytes], size: int) -> bytes:
    return _part(file, int.from_bytes(_part(file, 4, size), "little"), size)


def _part(file: IO[bytes], length: int, end: int) -> bytes:
    at = file.tell()
    if at + length > end:
        raise NoReportError(f"cut off, or damaged at byte {at}")
    return file.read(length)


def _varints(message: bytes) -> dict[int, int]:
    """Return the whole-number fields of a protobuf message, by their numbers; the last of a field counts."""
    at, found = 0, dict[int, int]()

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while shift < 64:  # bits
            byte = message[at]
            at, value, shift = at + 1, value | (byte & 127) << shift, shift + 7
            if byte < 128:  # the last one of a number
                return value
        raise IndexError

    try:
        while at < len(message):
            key = varint()
            match key & 7:
                case 0:
                    found[key >> 3] = varint()
                case 2:
                    length = varint()
                    at += length
                case fixed:
                    at += {1: 8, 5: 4}[fixed]
    except (IndexError, KeyError):
        raise NoReportError("damaged: a block's header is no protobuf message") from None
    return found


def _actions(context: Any, begin: int, end: int) -> Iterator[Any]:
    """Yield the launches from `begin` to before `end`, counted through all ranges of the report."""
    ranges = [context.range_by_idx(index) for index in range(context.num_ranges())]
    launches = [(ncu_range, index) for ncu_range in ranges for index in range(ncu_range.num_actions())]
    if len(launches) < end:
        raise NoReportError(f"damaged: it lists {end} launches or more, and the reader finds {len(launches)}")
    for number, (ncu_range, index) in enumerate(launches[begin:end], start=begin):
        action = ncu_range.action_by_idx(index)
        if action is None or action.name() is None:
            raise NoReportError(f"damaged: launch {number} cannot be read")
        yield action


def answer_launches(actions: Iterable[Any]) -> Iterator[Launch]:
    """Read the registry's metrics of every launch."""
    for action in actions:
        names = action.metric_names()
        found = cells(_finder(action), names, _breakdown(action))
        used = {name for cell in found if cell[0] is not None for name in re.split(r" [x+] ", cell[2])}
        yield Launch(_measured(action), _kernel(action), found, len(names) - len(used.intersection(names)))


def answer_values(actions: Iterable[Any], begin: int, wanted: re.Pattern[str]) -> Iterator[Value]:
    """Read whatever the report holds under the names that a pattern finds."""
    for launch, action in enumerate(actions, start=begin):
        for name in sorted(action.metric_names()):
            if not wanted.search(name):
                continue
            metric = action.metric_by_name(name)
            if metric is None or not metric.has_value():
                yield Value(launch, _kernel(action), _text(name), None, "", NO_VALUE)
                continue
            value, unit = metric.value(), _text(metric.unit())
            if isinstance(value, int | float):
                found = given(value, unit)
                yield Value(launch, _kernel(action), _text(name), found.value, unit, found.missing)
            else:
                yield Value(launch, _kernel(action), _text(name), _text(str(value)), unit, "")


def answer_device(actions: Iterable[Any]) -> Iterator[Device]:
    """Read the GPU's attributes of the first launch; DRAM bandwidth is two transfers a memory clock."""
    action = next(iter(actions))
    found: dict[str, int] = {}
    for field, (name, factor) in DEVICE_ATTRIBUTES.items():
        metric = action.metric_by_name(name)
        value = metric.value() if metric is not None and metric.has_value() else None
        if isinstance(value, int | float) and math.isfinite(value):
            found[field] = int(value) * factor
    name = action.metric_by_name(DEVICE_NAME)
    gpu = _text(str(name.value())) if name is not None and name.has_value() else ""
    yield described(gpu, found, _ncu_version())


def answer_rules(actions: Iterable[Any]) -> Iterator[RuleResult]:
    """Read what ncu's rules said of every launch."""
    from ncu_report import MsgType, SpeedupType

    for action in actions:
        for found in action.rule_results_as_dicts():
            said = found["rule_message"]
            estimate = found.get("speedup_estimation")
            message = re.sub(r"@\w+:([^:@]+):[^@]+@", r"\1", re.sub(r"@section:\w+:([^@]+)@", r"\1", said["message"]))
            yield RuleResult(
                *_measured(action),
                kernel=_kernel(action),
                rule=_text(found["rule_identifier"]),
                section=_text(found["section_identifier"]),
                kind={"err": "error"}.get(kind := MsgType(said["type"]).name.lower(), kind),
                title=_text(said["title"] or found["name"]),
                message=_text(message),
                speedup_pct=float(estimate["speedup"]) if estimate else None,
                scope=SpeedupType(estimate["type"]).name.lower() if estimate else "",
            )


def answer_instructions(actions: Iterable[Any]) -> Iterator[Instructions]:
    """Read what the report holds of each instruction of every launch."""
    for action in actions:
        yield instructions(action, _measured(action), _kernel(action))


def answer_sampled(actions: Iterable[Any]) -> Iterator[Sampled]:
    """Read the metrics that were sampled over the time of every launch."""
    for action in actions:
        yield sampled(action, _measured(action), _kernel(action))


ANSWERS: dict[str, Callable[[Iterable[Any]], Iterator[Any]]] = {
    "launches": answer_launches,
    "device": answer_device,
    "rules": answer_rules,
    "instructions": answer_instructions,
    "sampled": answer_sampled,
}


def _measured(action: Any) -> tuple[str, str, str]:
    """Return version, case and dtype from the NVTX range, three empty strings in a foreign report."""
    state = action.nvtx_state()
    for domain in state.domains() if state is not None else ():
        ranges = state.domain_by_id(domain).push_pop_ranges()
        for outer, inner in pairwise(ranges):
            parts = inner.split(SEPARATOR)
            if outer == RANGE and len(parts) == 3:  # version, case, dtype
                return _text(parts[0]), _text(parts[1]), _text(parts[2])
    return "", "", ""


def _kernel(action: Any) -> str:
    """Return the demangled name; of a range or graph, which has none, its plain one."""
    return _text(action.name(action.NameBase_DEMANGLED) or action.name())


def _finder(action: Any) -> Callable[[str], Given | None]:
    """Return what looks up one launch.

    `IMetric.value()` gives 0.0 for a metric without a value, so `has_value()` is asked first.
    """

    def find(name: str) -> Given | None:
        metric = action.metric_by_name(name)
        if metric is None:
            return None
        return given(metric.value(), _text(metric.unit())) if metric.has_value() else Given(None, "", NO_VALUE)

    return find


def _breakdown(action: Any) -> frozenset[str]:
    """Return the names of the metrics that ncu's Speed Of Light is made of; none in a report without that section."""
    held = (action.metric_by_name(name) for name in SOL_BREAKDOWNS)
    texts = (str(metric.value()) for metric in held if metric is not None and metric.has_value())
    return frozenset(name.strip() for text in texts for name in text.split(","))


def _ncu_version() -> str:
    """Return the version of ncu, which stands as text in every report from 2020 on."""
    for at in range(0, os.fstat(0).st_size, CHUNK_BYTES):
        found = _NCU.search(os.pread(0, CHUNK_BYTES + 100, at))
        if found:
            return found[1].decode()
    return ""


def _text(text: str) -> str:
    """Return a text of a report as one that can be written: whole characters, and not without end."""
    if len(text) > LONGEST_TEXT:
        text = f"{text[:LONGEST_TEXT]}... ({len(text)} characters)"
    return text.encode(errors="replace").decode()


if __name__ == "__main__":
    main()

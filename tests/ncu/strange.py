"""Strange reports made from real ones, and what NVIDIA's reader says of them with nothing of rooflift in between.

`python tests/ncu/strange.py NAMES REPORT...` prints one JSON line a report: of every launch the kernel and the
values of the metrics in the JSON list NAMES, as NVIDIA's reader gives them.
"""

from __future__ import annotations

import json
import math
import random
import re
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

HEADER_BYTES = 8  # the magic and the size of the file header


class Block(NamedTuple):
    """Where a block of a report begins, its payload begins and ends, and the fields of its header."""

    begin: int
    payload: int
    end: int
    fields: dict[int, int | bytes]


def varint(value: int) -> bytes:
    """Encode as protobuf does: seven bits a byte, the lowest first, the high bit where more follow."""
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number at a place, and the place behind it."""
    value = shift = 0
    while True:
        value, shift, at = value | (data[at] & 127) << shift, shift + 7, at + 1
        if data[at - 1] < 128:
            return value, at


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def blocks(report: bytes) -> Iterator[Block]:
    at = HEADER_BYTES + int.from_bytes(report[4:8], "little")
    while at < len(report):
        payload = at + 4 + int.from_bytes(report[at : at + 4], "little")
        fields: dict[int, int | bytes] = {}
        inside = at + 4
        while inside < payload:
            key, inside = read_varint(report, inside)
            number, inside = read_varint(report, inside)
            fields[key >> 3] = number
            if key & 7 == 2:
                fields[key >> 3] = report[inside : inside + number]
                inside += number
        size = fields.get(5, 0)
        assert isinstance(size, int)
        yield Block(at, payload, payload + size, fields)
        at = payload + size


def block(fields: Mapping[int, int | bytes], payload: bytes) -> bytes:
    header = b"".join(field(number, value) for number, value in sorted({**fields, 5: len(payload)}.items()))
    return len(header).to_bytes(4, "little") + header + payload


def repeat(report: bytes, times: int) -> bytes:
    """Return a report that holds the launches of another so many times, each result as it was written."""
    again = [
        block({**found.fields, 4: b""}, report[found.payload : found.end])  # its strings are known
        for found in blocks(report)
        if found.fields.get(2)
    ]
    return report + b"".join(again) * (times - 1)


def rename(report: bytes, name: bytes) -> bytes:
    """Return a report of one launch whose kernel has another name."""
    parts = [report[: next(blocks(report)).begin]]
    for found in blocks(report):
        payload = report[found.payload : found.end]
        if found.fields.get(2):
            result, at = b"", 4
            while at < len(payload):
                key, behind = read_varint(payload, at)
                number, behind = read_varint(payload, behind)
                if key & 7 == 2:
                    behind += number
                result += field(key >> 3, name) if key >> 3 in (5, 6, 7) else payload[at:behind]
                at = behind
            payload = len(result).to_bytes(4, "little") + result
        parts.append(block(found.fields, payload))
    return b"".join(parts)


def mutant(  # noqa: C901  # one branch a kind
    reports: Sequence[bytes], values: Sequence[Sequence[float]], seed: int
) -> tuple[int, str, bytes]:
    """Return which report was taken, what was done to it, and what came of it; the same for the same seed.

    `values` are values of each report's metrics: one kind of mutant has another number in the place of one of them.
    """
    chance = random.Random(seed)
    taken = chance.randrange(len(reports))
    report = bytearray(reports[taken])
    found = list(blocks(bytes(report)))
    anywhere = chance.randrange(len(report))
    one = chance.choice(found)
    result = chance.choice([b for b in found if b.fields.get(2)])
    at = chance.choice(
        [
            anywhere,
            chance.randrange(200),
            chance.randrange(one.begin, one.payload),
            chance.randrange(result.begin, result.end),
            min(result.payload + chance.randrange(300), result.end - 1),
        ]
    )
    length = min(chance.choice([1, 1, 2, 4, 8, 64, 1000, 20_000]), len(report) - at)
    kind = chance.choice(
        ["bit", "bytes", "zeros", "ones", "cut", "drop", "insert", "double", "size", "block", "splice", "value"]
    )
    match kind:
        case "value":
            old = forms(chance.choice(values[taken]))[0]
            spots = [match.start() for match in re.finditer(re.escape(old), bytes(report))]
            new = struct.pack("<d", chance.choice([chance.random(), 1e300, -1.0, math.nan, math.inf, 5e-324]))
            for spot in chance.sample(spots, min(len(spots), chance.choice([1, 100]))):
                report[spot + 1 : spot + len(old)] = (
                    new if len(old) == 9 else varint(chance.randrange(128)) * (len(old) - 1)
                )
        case "bit":
            for _ in range(chance.choice([1, 1, 1, 5, 50])):
                spot = chance.choice([at, chance.randrange(len(report))])
                report[spot] ^= 1 << chance.randrange(8)
        case "bytes":
            report[at : at + length] = chance.randbytes(length)
        case "zeros":
            report[at : at + length] = bytes(length)
        case "ones":
            report[at : at + length] = b"\xff" * length
        case "cut":
            del report[chance.choice([at, one.begin, one.payload, one.end]) :]
        case "drop":
            del report[at : at + length]
        case "insert":
            report[at:at] = chance.randbytes(length)
        case "double":
            report[at:at] = report[at : at + length]
        case "size":
            spot = chance.choice([one.begin, one.payload, 4])
            report[spot : spot + 4] = struct.pack("<I", chance.choice([0, 1, 2**31 - 1, 2**32 - 1, length]))
        case "block":
            if chance.random() < 0.5:
                del report[one.begin : one.end]
            else:
                report += report[one.begin : one.end]
        case "splice":
            other = reports[chance.randrange(len(reports))]
            begin = chance.randrange(len(other))
            report[at : at + length] = other[begin : begin + length]
    return taken, kind, bytes(report)


def forms(value: float) -> list[bytes]:
    """Return the forms in which ncu writes a metric's value, with its tag: whole, or in 8 or 4 bytes."""
    whole = value == int(value) and 0 <= value < 2**64
    written = [b"(" + varint(int(value)), b" " + varint(int(value))] if whole else []
    written.append(b"\x19" + struct.pack("<d", value))
    return [*written, b"\x15" + struct.pack("<f", value)] if abs(value) < 3e38 else written


def holds(report: bytes, value: float) -> bool:
    return any(form in report for form in forms(value))


def bare(paths: Sequence[Path], names: Sequence[str]) -> list[list[dict[str, Any]]]:
    """Return what each report holds, launch by launch, read in one process by a bare loop."""
    command = [sys.executable, __file__, json.dumps(list(names)), *map(str, paths)]
    ended = subprocess.run(command, capture_output=True, timeout=600, check=True)
    return [json.loads(line) for line in ended.stdout.splitlines() if line.startswith(b"[")]


def launches(path: str, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    import ncu_report

    context = ncu_report.load_report(path)
    for range_index in range(context.num_ranges()):
        for action in context.range_by_idx(range_index):
            found = [(name, action.metric_by_name(name)) for name in names]
            values = {name: metric.value() for name, metric in found if metric is not None and metric.has_value()}
            yield {"kernel": action.name(), "values": values}


if __name__ == "__main__":
    for report in sys.argv[2:]:
        sys.stdout.write(json.dumps(list(launches(report, json.loads(sys.argv[1])))) + "\n")

"""What a report holds of each instruction of a launch, read inside the limited child; makes no frame."""

from __future__ import annotations

import math
import ntpath
from typing import Any

import msgspec

from rooflift.ncu.metrics import INSTRUCTION_METRICS, SAMPLES

LONGEST_LINE, LONGEST_FILE = 1000, 2**20  # characters of an instruction, of an embedded source file


class Instructions(msgspec.Struct, frozen=True, array_like=True):
    """The instructions of one launch; the lists are as long as there are instructions, by address.

    `files` are base names: a report holds the paths of the machine that compiled, which are nobody's business.
    `values` are by the names of INSTRUCTION_METRICS; what the launch has none of is absent.
    """

    measured: tuple[str, str, str]  # version, case and dtype
    kernel: str
    collected: bool  # whether the report holds samples of this launch
    texts: dict[str, str]  # of embedded source files, by base name
    offsets: list[int]  # bytes from the first instruction
    files: list[str]  # "" without line information
    lines: list[int]  # 0 without line information
    sass: list[str]
    ptx: list[str]
    values: dict[str, list[float]]


def instructions(action: Any, measured: tuple[str, str, str], kernel: str) -> Instructions:
    """Read one launch: every address that a metric has a value for."""
    found: dict[str, dict[int, float]] = {}
    for name, ncu_names in INSTRUCTION_METRICS.items():
        metric = next((m for n in ncu_names if (m := action.metric_by_name(n)) is not None), None)
        if metric is not None and metric.num_instances() and metric.has_correlation_ids():
            addresses = metric.correlation_ids()
            read = ((addresses.as_uint64(i), metric.as_double(i)) for i in range(metric.num_instances()))
            # a sum of 0 has no instance above it
            found[name] = dict(read) if name in ("instructions", SAMPLES) or metric.value() != 0 else {}
    # the samples of an address behind the kernel's last instruction have neither text nor line
    pcs = sorted({pc for values in found.values() for pc in values})
    sass = {pc: (action.sass_by_pc(pc) or "").strip()[:LONGEST_LINE] for pc in pcs}
    pcs = [pc for pc in pcs if sass[pc] or any(values.get(pc) for values in found.values())]
    places = [action.source_info(pc) for pc in pcs]
    return Instructions(
        measured,
        kernel,
        SAMPLES in found,
        {_base(name): _whole(text[:LONGEST_FILE]) for name, text in action.source_files().items() if text},
        [pc - pcs[0] for pc in pcs],
        [_base(place.file_name()) if place else "" for place in places],
        [int(place.line()) if place else 0 for place in places],
        [_whole(sass[pc]) for pc in pcs],
        [_whole((action.ptx_by_pc(pc) or "").strip()[:LONGEST_LINE]) for pc in pcs],
        {name: [_finite(values.get(pc, 0.0)) for pc in pcs] for name, values in found.items() if values},
    )


def _base(path: str) -> str:
    return _whole(ntpath.basename(path)[:LONGEST_LINE])  # splits at both kinds of slash


def _whole(text: str) -> str:
    return text.encode(errors="replace").decode()


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0

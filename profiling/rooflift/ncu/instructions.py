"""The tidy frame of instructions, one row each, from the reports that hold samples. Judges nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rooflift.errors import ReportFault
from rooflift.ncu.metrics import INSTRUCTION_METRICS, SOURCE_SECTION
from rooflift.ncu.report import read_instructions
from rooflift.ncu.source import Instructions

if TYPE_CHECKING:
    import pandas as pd

KEY = ("version", "case", "dtype", "kernel", "launch")
COLUMNS = (*KEY, "file", "line", "function", "offset", "opcode", "sass", "ptx", *INSTRUCTION_METRICS, "spills")
TEXTS = ("version", "case", "dtype", "kernel", "file", "function", "opcode")
REMEDY = (
    f"Profile with `rooflift profile --metrics source`, or pass to ncu `--section {SOURCE_SECTION} --import-source yes`"
    "; compile CUDA C++ with -lineinfo, numba with lineinfo=True."
)
_OPCODE = re.compile(r"(?:@!?U?P\w+\s+)?([A-Z][\w.]*)")
_SPILL = re.compile(r"(LDL|STL)(\.|$)")


def read_source(paths: Sequence[Path]) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return the instructions of all launches, columns as COLUMNS, and the embedded source files by base name.

    `offset` is in bytes from the first instruction of the kernel; `line` is 0 without line information. `samples` are
    warp samples, `stall_*` those of a reason (`stall_selected`: the warp issued); `instructions` are executed by warps
    and `thread_instructions` by threads whose predicate was on; `sectors` go between L1 and L2, `wavefronts` through
    shared memory, and `*_ideal` is the least that these accesses can take. `spills` are executed loads and stores of
    local memory.

    Raises:
        ReportFault: as `read_reports`; or no launch has samples, with what to pass to ncu.
    """
    launches = [launch for path in paths for launch in read_instructions(path)]
    collected = [launch for launch in launches if launch.collected]
    if not collected:
        names = ", ".join(path.name for path in paths) or "the run has no report"
        raise ReportFault(f"{names}: no samples of the instructions", REMEDY)
    texts = {name: text for launch in collected for name, text in launch.texts.items()}
    return frame(collected), texts


def frame(launches: Sequence[Instructions]) -> pd.DataFrame:
    """Return the rows of launches, columns as COLUMNS; the launches of a version, case and dtype are numbered."""
    import pandas as pd

    counted: dict[tuple[str, str, str], int] = {}
    parts = []
    for launch in launches:
        number = counted[launch.measured] = counted.get(launch.measured, -1) + 1
        opcodes = [match[1] if (match := _OPCODE.match(text)) else "" for text in launch.sass]
        part = pd.DataFrame({"offset": launch.offsets, "file": launch.files, "line": launch.lines})
        part = part.assign(**dict(zip(KEY, (*launch.measured, launch.kernel, number), strict=True)))
        part = part.assign(function="", opcode=opcodes, sass=launch.sass, ptx=launch.ptx)
        for name in INSTRUCTION_METRICS:
            part[name] = launch.values.get(name, 0.0)
        is_spill = pd.Series([bool(_SPILL.match(opcode)) for opcode in opcodes], dtype=bool)
        parts.append(part.assign(spills=part["instructions"].where(is_spill, 0.0)))
    whole = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS))
    return whole[list(COLUMNS)].astype(dict.fromkeys(TEXTS, "category"))

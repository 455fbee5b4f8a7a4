"""Lessons: what a step changed in the metrics, by operator class and GPU; kept across loops, told in later prompts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from rooflift.escape import bounded

MOST = 8  # lessons in a prompt
MOST_TITLE = 200  # characters
LEAST_CHANGE = 0.03  # of a metric, relative, that is worth telling
LOOKED_AT = (
    "dram_bytes",
    "l2_bytes",
    "inst_executed",
    "registers",
    "warps_active_pct",
    "dram_pct",
    "sm_pct",
    "tensor_pct",
    "inst_spill",
)


class Lesson(msgspec.Struct, frozen=True, kw_only=True):
    """One step that was timed: the time relative to its base, and metrics before and after."""

    operator_class: str
    gpu: str
    operator: str
    stage: str
    title: str
    kept: bool
    time_x: float
    metrics: dict[str, tuple[float, float]]


def changes(before: Mapping[str, object], after: Mapping[str, object]) -> dict[str, tuple[float, float]]:
    """Return the metrics that moved between two rows of figures.

    >>> changes({"dram_bytes": 2e9, "registers": 32.0}, {"dram_bytes": 1e9, "registers": 32.0})
    {'dram_bytes': (2000000000.0, 1000000000.0)}
    """
    found = {}
    for name in LOOKED_AT:
        a, b = _number(before.get(name)), _number(after.get(name))
        if abs(b - a) > LEAST_CHANGE * max(abs(a), abs(b)):  # never true of NaN
            found[name] = (a, b)
    return found


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def read_lessons(path: Path) -> list[Lesson]:
    """Return the lessons of a file; lines that are none, as a killed process leaves, are passed over."""
    found = []
    for line in path.read_bytes().splitlines() if path.exists() else []:
        try:
            found.append(msgspec.json.decode(line, type=Lesson))
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    return found


def add_lesson(path: Path, lesson: Lesson) -> None:
    """Append a lesson to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(msgspec.json.encode(lesson) + b"\n")


def lessons_text(lessons: Sequence[Lesson], operator_class: str, gpu: str) -> str:
    """Return what a prompt says of the lessons of a class on a GPU, "" where there is none.

    The steps that changed the time most come first, whatever their direction.
    """
    own = {one.title: one for one in lessons if (one.operator_class, one.gpu) == (operator_class, gpu)}
    ranked = sorted(own.values(), key=lambda one: -abs(math.log(max(one.time_x, 1e-9))))
    if not ranked:
        return ""
    lines = ["", f"## Lessons: other steps of {operator_class} operators on this GPU", ""]
    for one in ranked[:MOST]:
        moved = "; ".join(f"{name} {a:.4g} to {b:.4g}" for name, (a, b) in one.metrics.items())
        title = bounded(" ".join(one.title.split()), MOST_TITLE)
        end = f" ({moved})" if moved else ""
        lines.append(f"- {one.operator}, {one.stage}: {title}: {one.time_x:.3f}x the time{end}")
    if len(ranked) > MOST:
        lines.append(f"- {len(ranked) - MOST} lessons with smaller changes are left out")
    return "\n".join(lines) + "\n"

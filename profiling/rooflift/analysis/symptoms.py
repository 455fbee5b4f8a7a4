"""Faults of a version in the field's words: symptoms.toml held against its metrics and instructions. No files.

A symptom needs all of its conditions. Its gain is a bound: the time without the samples that it can explain,
1 / (1 - share) (Amdahl), as if nothing else came in their place; and never more than the distance to the speed of
light.
"""

from __future__ import annotations

import math
import operator
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import msgspec

from rooflift.analysis.hotspots import ISSUES
from rooflift.compile.sass import sass_mix
from rooflift.ncu.metrics import SAMPLES, STALL_REASONS

if TYPE_CHECKING:
    import pandas as pd

MOST_GAIN = 20.0  # as in advice: a larger bound says nothing
LANES = 32  # of a warp
_COMPARE = {">=": operator.ge, ">": operator.gt, "<": operator.lt}
GROUPS = {"atomic": "atomic", "fp64": "fp64", "integer": "integer", "tensor": "tensor"}  # figure -> group of SASS


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One table of symptoms.toml."""

    title: str
    when: list[str]  # "figure >= number"
    evidence: str  # a format of figures
    remedy: str
    stage: str
    share: list[str] = []  # figures `<name>_pct` of samples
    bound: str = ""  # a figure that is the bound itself, in place of `share`
    line: str = ""  # the column whose largest source line is named


@dataclass(frozen=True, slots=True)
class Symptom:
    """What was found; `line` is 0 where no line stands out, `gain_at_most` a factor of the time."""

    name: str
    title: str
    evidence: str
    remedy: str
    stage: str
    gain_at_most: float
    file: str
    line: int

    def __str__(self) -> str:
        where = f", most on {self.file}:{self.line}" if self.line else ""
        gain = f"at most {self.gain_at_most:.2f}x"
        return f"{self.title}: {self.evidence}{where}. {self.remedy} Stage {self.stage}, {gain}."


@cache
def rules() -> dict[str, Rule]:
    """Return symptoms.toml by name, in its order."""
    text = resources.files("rooflift.analysis").joinpath("symptoms.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), dict[str, Rule])


def find_symptoms(frame: pd.DataFrame, metrics: Mapping[str, Any]) -> list[Symptom]:
    """Return the symptoms of a version, those with the largest bound first.

    `frame` holds the instructions of its launches, columns as `rooflift.ncu.instructions`, and `metrics` the values of
    the registry's metrics by name, NaN where missing.
    """
    frame = _with_groups(frame)
    known = figures(frame, metrics)
    found = [
        _symptom(name, rule, known, frame)
        for name, rule in rules().items()
        if all(holds(condition, known) for condition in rule.when)
    ]
    return sorted(found, key=lambda symptom: -symptom.gain_at_most)


def holds(condition: str, known: Mapping[str, float]) -> bool:
    """Tell whether "figure >= number" holds; of a figure that is not known it does not."""
    name, sign, number = condition.split()
    return bool(_COMPARE[sign](known.get(name, math.nan), float(number)))


def figures(frame: pd.DataFrame, metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures that symptoms.toml names: the metrics, and those of the instructions.

    `<stall>_pct`, `waiting_pct` and `<group>_pct` are of all samples, `<group>_instruction_pct` and `spill_pct` of all
    executed instructions; `sectors_x` and `wavefronts_x` are over ideal; `threads_per_instruction` of 32;
    `tail_x` is whole waves / waves.
    """
    known = {name: float(value) for name, value in metrics.items() if isinstance(value, int | float)}
    total, executed = frame[SAMPLES].sum(), frame["instructions"].sum()
    for reason in STALL_REASONS:
        known[f"{reason}_pct"] = _pct(frame[f"stall_{reason}"].sum(), total)
    known["waiting_pct"] = _pct(total - sum(frame[f"stall_{reason}"].sum() for reason in ISSUES), total)
    for name, group in GROUPS.items():
        known[f"{name}_pct"] = _pct(frame.loc[frame["group"] == group, SAMPLES].sum(), total)
        known[f"{name}_instructions"] = frame.loc[frame["group"] == group, "instructions"].sum()
        known[f"{name}_instruction_pct"] = _pct(known[f"{name}_instructions"], executed)
    known["tensor_pct"] = float(metrics.get("tensor_pct", math.nan))  # the pipe's share, not the samples'
    known["spill_pct"] = _pct(frame["spills"].sum(), executed)
    for name in ("sectors", "wavefronts"):
        ideal = frame[f"{name}_ideal"].sum()
        known[f"{name}_x"] = frame[name].sum() / ideal if ideal else math.nan
    threads = frame["thread_instructions"].sum() / executed if executed else math.nan
    known["threads_per_instruction"] = threads
    known["predicated_off_pct"] = 100 * (1 - threads / LANES)
    waves = known.get("waves", math.nan)
    if waves > 0:
        known |= {"whole_waves": math.ceil(waves), "tail_x": math.ceil(waves) / waves, "small_grid_x": 1 / waves}
    return known


def _pct(part: float, whole: float) -> float:
    return 100 * part / whole if whole else math.nan


def _with_groups(frame: pd.DataFrame) -> pd.DataFrame:
    opcodes = {opcode: next(iter(sass_mix({opcode: 1}))) for opcode in frame["opcode"].astype(str).unique()}
    found = frame.assign(group=frame["opcode"].astype(str).map(opcodes))
    return found.assign(
        **{f"{name}_samples": found[SAMPLES].where(found["group"] == group, 0.0) for name, group in GROUPS.items()}
    )


def _symptom(name: str, rule: Rule, known: Mapping[str, float], frame: pd.DataFrame) -> Symptom:
    share = min(sum(known[f"{one}_pct"] for one in rule.share) / 100, 1.0)
    gain = known[rule.bound] if rule.bound else 1 / max(1 - share, 1 / MOST_GAIN)
    sol_pct = known.get("sol_pct", math.nan)
    gain = min(float(gain), MOST_GAIN, *([] if math.isnan(sol_pct) else [max(100 / sol_pct, 1.0)]))
    file, line = "", 0
    if rule.line:
        column = frame[rule.line] - frame.get(f"{rule.line}_ideal", 0.0)
        sums = column.groupby([frame["file"].astype(str), frame["line"]]).sum()
        if sums.max() > 0:
            file, line = sums.idxmax()
    return Symptom(
        name, rule.title, rule.evidence.format_map(known), rule.remedy, rule.stage, gain, str(file), int(line)
    )

"""Symptoms: on an H100 run where it shows some, else on made frames, each beside its repaired twin that shows none."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import rooflift as rl
from rooflift.analysis.symptoms import MOST_GAIN, find_symptoms, holds, rules
from rooflift.ncu.instructions import COLUMNS
from rooflift.project.stages import stages

ROOT = Path(__file__).parents[2]
SOUND = {
    "occupancy_pct": 75.0,
    "issue_active_pct": 70.0,
    "dram_pct": 85.0,
    "l2_pct": 60.0,
    "waves": 30.0,
    "grid_size": 3960.0,
    "registers": 40.0,
    "shared_bytes": 0.0,
    "tensor_pct": 60.0,
}


def made(line_2: dict[str, Any], others: dict[str, float] | None = None) -> pd.DataFrame:
    """A sound kernel of three lines, ten samples each; line 2 has a fault, and `others` go to every line."""
    frame = pd.DataFrame(dict.fromkeys(COLUMNS, 0.0), index=range(3))
    named = {"file": "v0.py", "line": [1, 2, 3], "opcode": "FFMA", "samples": 10.0, "stall_selected": 10.0}
    frame = frame.assign(**named, instructions=100.0, thread_instructions=3200.0, sectors=40.0, sectors_ideal=40.0)
    frame = frame.assign(wavefronts=8.0, wavefronts_ideal=8.0, **(others or {}))
    for name, value in line_2.items():
        frame.loc[1, name] = value
    return frame


# symptom: what is wrong with line 2, with every line, with the metrics; and the line and bound that must be told
FAULTS: dict[str, tuple[dict[str, Any], dict[str, float], dict[str, float], int, float]] = {
    "uncoalesced": ({"sectors": 320.0, "stall_long_scoreboard": 6.0}, {}, {}, 2, 30 / 24),
    "partial_sectors": ({"sectors": 60.0, "stall_long_scoreboard": 6.0}, {}, {}, 2, 30 / 24),
    "bank_conflicts": ({"wavefronts": 64.0, "stall_short_scoreboard": 10.0}, {}, {}, 2, 30 / 20),
    "spills": ({"spills": 30.0, "stall_long_scoreboard": 3.0}, {}, {}, 2, 30 / 27),
    "low_occupancy": (
        {"stall_selected": 0.0, "stall_wait": 10.0},
        {},
        {"occupancy_pct": 12.5, "issue_active_pct": 20.0},
        0,
        30 / 20,
    ),
    "small_grid": ({}, {}, {"waves": 0.25}, 0, 4.0),
    "tail": ({}, {}, {"waves": 1.25}, 0, 1.6),
    "latency": ({}, {"stall_long_scoreboard": 5.0}, {"dram_pct": 30.0, "l2_pct": 30.0}, 1, 2.0),
    "barrier": ({"stall_barrier": 8.0}, {}, {}, 2, 30 / 22),
    "tensor_idle": (
        {"opcode": "HGMMA.64x128x16.F32", "stall_selected": 0.0, "stall_gmma": 10.0},
        {},
        {"tensor_pct": 10.0},
        0,
        30 / 20,
    ),
    "atomics": ({"opcode": "RED.E.ADD.F32"}, {}, {}, 2, 30 / 20),
    "fp64": ({"opcode": "DFMA", "instructions": 10.0, "thread_instructions": 320.0}, {}, {}, 2, 30 / 20),
    "index_arithmetic": ({"opcode": "IMAD", "instructions": 300.0, "thread_instructions": 9600.0}, {}, {}, 2, 30 / 20),
    "divergence": ({}, {"thread_instructions": 1600.0}, {}, 0, 2.0),
    "instruction_cache": ({"stall_no_instruction": 6.0}, {}, {}, 2, 30 / 24),
    "math_pipe": ({"stall_math_pipe_throttle": 9.0}, {}, {}, 2, 30 / 21),
    "shared_queue": ({"stall_mio_throttle": 9.0}, {}, {}, 2, 30 / 21),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_kernel_with_one_fault_has_its_symptom_and_the_repaired_twin_none(name: str) -> None:
    line_2, others, metrics, line, bound = FAULTS[name]
    (found,) = find_symptoms(made(line_2, others), SOUND | metrics)
    assert (found.name, found.line) == (name, line)
    assert found.gain_at_most == pytest.approx(bound)  # doubles
    assert "nan" not in str(found)
    assert find_symptoms(made({}), SOUND) == []


def test_every_symptom_has_a_kernel_here_and_a_stage_that_there_is() -> None:
    assert set(rules()) == set(FAULTS)
    assert {rule.stage for rule in rules().values()} <= set(stages())


def test_no_gain_is_above_the_distance_to_the_speed_of_light_or_the_most_that_says_anything() -> None:
    small = made({})
    assert find_symptoms(small, SOUND | {"waves": 0.25, "sol_pct": 80.0})[0].gain_at_most == pytest.approx(1.25)
    assert find_symptoms(small, SOUND | {"waves": 0.01})[0].gain_at_most == MOST_GAIN


def test_what_nobody_measured_is_no_symptom() -> None:
    assert find_symptoms(made({}), {}) == []
    assert not holds("waves < 1", {"waves": math.nan})


def test_on_the_h100_v1_is_index_arithmetic_and_v7_loads_partial_sectors() -> None:
    run = rl.open(ROOT / "tests" / "fixtures" / "h100_source", root=ROOT)
    assert [(one.name, one.line) for one in run.advice("v1").symptoms] == [
        ("index_arithmetic", 55),
        ("partial_sectors", 54),
    ]
    (found,) = run.advice("v7").symptoms
    assert str(found).startswith("Partial sectors: 1.43x the sectors that the bytes need, most on v7_sectors.py:60.")
    assert found.gain_at_most < 1.03  # the version is at 97.8 % of its speed of light

"""The table of docs/reliability.md is the one that its script writes, and the scales in it hold.

benchmarks/scale.py and benchmarks/read_report.py measure them again.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from rooflift.compile.module import load_module

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def reliability() -> ModuleType:
    return load_module(ROOT / "scripts" / "reliability.py")


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("| ")]


def test_committed_table_has_the_rows_of_the_script_and_nothing_wrong(reliability: ModuleType) -> None:
    page = reliability.PAGE.read_text(encoding="utf-8")
    committed = cells(page.partition(reliability.BEGIN)[2].partition(reliability.END)[0])
    seconds = {"launches": 10_000, "bare": 1.0, "rooflift": 1.0, "ours_mib": 1, "bare_mib": 1}
    killed = [{"command": name, "kills": 1, "finished": 1, "wrong": []} for name in reliability.COMMANDS]
    made = cells(reliability.table(reliability.Fuzzed(reliability.MUTANTS), seconds, 0.1, 0.1, killed))
    assert [row[0] for row in committed] == [row[0] for row in made]
    reached = dict(committed)
    assert reached["mutants of two real reports"].startswith("2,000,")
    assert reached["wrong values, hangs, crashes of rooflift"] == "0"
    assert float(reached["its speed relative to the bare loop"].removesuffix("x")) >= 0.5
    assert float(reached["`rooflift runs` of 1,000 runs"].removesuffix(" s")) < 2
    assert float(reached["`rooflift compare` over 500 cases"].removesuffix(" s")) < 10
    assert sum(int(reached[f"`rooflift {name}` killed"].split()[0]) for name in reliability.COMMANDS) >= 200
    assert reached["runs that were shown and not whole, ends unlike an unkilled call's"] == "0"

"""docs/kernelbench.md: it is what its records say, and bytes and FLOP are those that one finds by hand."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from rooflift.project.formula import whole


def script() -> ModuleType:
    path = Path(__file__).parents[1] / "scripts" / "kernelbench_page.py"
    spec = importlib.util.spec_from_file_location("kernelbench_page", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PAGE = script()
RECORDED = {one["problem"]: one for one in PAGE.read("cpu.json")["problems"]}


def test_the_page_is_what_the_records_say() -> None:
    assert PAGE.PAGE.read_text(encoding="utf-8") == PAGE.page(PAGE.read("cpu.json"), PAGE.read("h100.json"))


def test_every_problem_of_the_three_levels_is_there() -> None:
    counts = {1: 100, 2: 100, 3: 50}
    assert list(RECORDED) == [f"{level}/{n}" for level, count in counts.items() for n in range(1, count + 1)]


@pytest.mark.parametrize("problem", PAGE.HAND)
def test_bytes_and_flop_are_those_found_by_hand(problem: str) -> None:
    read, written, flop = PAGE.HAND[problem]
    one = RECORDED[problem]
    assert one["read_bytes"] == 4 * whole(read, {})
    assert one["written_bytes"] == 4 * whole(written, {})
    assert one["flop"] == (whole(flop, {}) if flop else None)


def test_a_gpu_moves_the_bytes_that_the_meta_device_counts() -> None:
    for one in PAGE.read("h100.json")["problems"]:
        counted = RECORDED[one["problem"]]
        if "read_bytes" in counted:
            assert (one["read_bytes"], one["written_bytes"]) == (counted["read_bytes"], counted["written_bytes"])

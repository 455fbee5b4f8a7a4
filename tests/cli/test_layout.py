"""Tables fitted into a terminal: nothing is cut off, whatever its width."""

from __future__ import annotations

import io
import re

import pandas as pd
import pytest
from rich.console import Console

from rooflift.api.shown import Titled
from rooflift.cli.console import drawn
from rooflift.cli.layout import blocks
from rooflift.report.cells import figure, table, words

COLUMNS = [
    words("version"),
    words("term"),
    *(figure(name, f"{name} Throughput %", 1) for name in ("DRAM", "L2", "L1", "SM")),
    figure("grid", "Grid Size"),
    words("bottleneck"),
]
ROWS = pd.DataFrame(
    [
        {"version": f"v{n}_name", "term": "memory", "DRAM": 88.1, "L2": 7.0, "L1": n, "SM": 3.0, "grid": 1040400}
        | {"bottleneck": "Issue Slots" if n else "DRAM"}
        for n in range(3)
    ]
)
SUMMARY = Titled("A run", table(ROWS, COLUMNS))


def lines(part: Titled, width: int) -> list[str]:
    printed = io.StringIO()
    for block in blocks(part, width):
        Console(file=printed, width=width).print(drawn(block))
    return printed.getvalue().splitlines()


def test_table_that_fits_is_one_block_with_every_column() -> None:
    [block] = blocks(SUMMARY, 200)
    assert block.title == "A run"
    assert [column.heading for column in block.columns] == list(SUMMARY.table.headings)


@pytest.mark.parametrize("width", [50, 60, 80, 100, 120])
def test_narrow_terminal_shows_every_number_and_word(width: int) -> None:
    shown = lines(SUMMARY, width)
    assert max(map(len, shown)) <= width
    text = " ".join(shown)
    assert "…" not in text
    for word in ("v0_name", "v2_name", "88.1", "1 040 400", "Issue", "Throughput", "memory"):
        assert word in text


def test_further_blocks_begin_with_the_columns_that_name_the_rows() -> None:
    narrow = blocks(SUMMARY, 50)
    assert len(narrow) > 1
    assert all(block.columns[0].heading == "version" for block in narrow)
    assert [bool(block.title) for block in narrow] == [True] + [False] * (len(narrow) - 1)


def test_text_that_is_the_same_in_all_rows_goes_into_the_title_where_room_is_short() -> None:
    assert blocks(SUMMARY, 80)[0].title == "A run, term memory"


def test_last_column_of_long_names_is_folded() -> None:
    name = "sm__throughput.avg.pct_of_peak_sustained_elapsed"
    frame = pd.DataFrame([{"metric": "sm_pct", "value": 1.0, "ncu name": name}])
    shown = lines(Titled("Metrics", table(frame, [words("metric"), figure("value", "value"), words("ncu name")])), 60)
    assert max(map(len, shown)) <= 60
    assert name in "".join(re.findall(r"│ ([^│]+?) *│$", "\n".join(shown), re.MULTILINE))


def test_empty_table_is_its_headings() -> None:
    assert "version" in " ".join(lines(Titled("None", table(ROWS.iloc[:0], COLUMNS)), 40))


def test_narrow_terminal_has_one_block_of_what_matters_and_names_the_rest() -> None:
    (block,) = blocks(SUMMARY, 60, wide=False)
    shown = [column.heading for column in block.columns]
    assert shown == [heading for heading in SUMMARY.table.headings if heading in shown]  # in the table's order
    assert {"version", "bottleneck", "DRAM Throughput %"} <= {*shown}
    assert block.left_out
    assert {*shown, *block.left_out, "term"} == {*SUMMARY.table.headings}  # the same in all rows, which the title names


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_what_is_chosen_fits(width: int) -> None:
    printed = io.StringIO()
    for block in blocks(SUMMARY, width, wide=False):
        Console(file=printed, width=width).print(drawn(block))
    assert max(map(len, printed.getvalue().splitlines())) <= width
    assert "…" not in printed.getvalue()


def test_a_wide_terminal_leaves_nothing_out() -> None:
    (block,) = blocks(SUMMARY, 200, wide=False)
    assert (len(block.columns), block.left_out) == (len(COLUMNS), [])

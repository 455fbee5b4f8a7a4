"""The header of a version file: what an author may write, and that every slip is named with its file and line."""

from __future__ import annotations

import ast
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rooflift.errors import CatalogError
from rooflift.project.header import FIELDS, Header, parse_header, parse_prediction

GOOD = '''"""Grid: a 3-D grid replaces the flat one.

Stage:   grid
Change:  n, c, h, w come from program ids.
Why:     v0 on the H100: integer arithmetic is the limit.
Expect:  time_x 0.40..0.55, sm_pct < 60, dram_pct >= 60
"""

import torch
'''
FINITE = st.floats(allow_nan=False, allow_infinity=False)


def parse(text: str) -> Header:
    return parse_header(ast.parse(text), Path("v1_grid.py"))


def expecting(predictions: str) -> str:
    return GOOD.replace("time_x 0.40..0.55, sm_pct < 60, dram_pct >= 60", predictions)


def test_good_header_gives_title_fields_and_predictions() -> None:
    header = parse(GOOD)
    assert header.title == "Grid: a 3-D grid replaces the flat one."
    assert header.stage == "grid"
    assert header.change == "n, c, h, w come from program ids."
    assert header.why == "v0 on the H100: integer arithmetic is the limit."
    assert [(p.metric, p.low, p.high, p.strict, p.text) for p in header.expect] == [
        ("time_x", 0.40, 0.55, False, "time_x 0.40..0.55"),
        ("sm_pct", -math.inf, 60, True, "sm_pct < 60"),
        ("dram_pct", 60, math.inf, False, "dram_pct >= 60"),
    ]


def test_lines_that_open_no_field_continue_the_one_above() -> None:
    header = parse(
        GOOD.replace("from program ids.", "from program ids,\n         no longer from division.\n\n  Half the work.")
        .replace("0.55, sm_pct", "0.55,\n         sm_pct")
        .replace(">= 60", "\n  >= 60")
    )
    assert header.change == "n, c, h, w come from program ids, no longer from division. Half the work."
    assert [p.text for p in header.expect] == ["time_x 0.40..0.55", "sm_pct < 60", "dram_pct >= 60"]


def test_field_may_begin_on_the_line_below_its_name() -> None:
    header = parse(expecting("\n    none").replace("Why:     v0", "Why:\n    v0"))
    assert header.why == "v0 on the H100: integer arithmetic is the limit."
    assert header.expect == ()


def test_fields_may_stand_in_any_order() -> None:
    title, blank, *fields = GOOD.split('"""')[1].splitlines()
    assert parse('"""' + "\n".join([title, blank, *reversed(fields)]) + '"""') == parse(GOOD)


def test_none_expects_nothing() -> None:
    assert parse(expecting("none")).expect == ()


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        pytest.param("", 1, "must open with a docstring", id="empty file"),
        pytest.param("import torch\n" + GOOD, 1, "must open with a docstring", id="docstring after code"),
        pytest.param('""""""\n', 1, "title", id="empty docstring"),
        pytest.param(GOOD.replace('"""Grid', '"""\nGrid'), 1, "title, and it is empty", id="title on the second line"),
        pytest.param('"""Grid."""\n', 1, "'Stage' is missing", id="title alone"),
        pytest.param("# licence\n\n" + GOOD.replace("Why: ", "Wy: "), 7, "'Wy' is unknown", id="unknown field"),
        pytest.param(GOOD.replace("Why: ", "Stage: "), 5, "'Stage' stands twice", id="double field"),
        pytest.param(
            GOOD.replace("v0 on the H100: integer arithmetic is the limit.", ""), 5, "'Why'", id="empty field"
        ),
        pytest.param(
            GOOD.replace("one.\n", "one.\nIt is faster.\n"), 2, "text before the first field", id="title of two lines"
        ),
    ],
)
def test_malformed_header_names_file_and_line(text: str, line: int, what: str) -> None:
    with pytest.raises(CatalogError) as caught:
        parse(text)
    assert caught.value.message.startswith(f"v1_grid.py:{line}: ")
    assert what in caught.value.message
    assert all(f"{name}:" in caught.value.remedy for name in FIELDS)


@pytest.mark.parametrize("field", FIELDS)
def test_missing_field_is_named_at_the_docstring(field: str) -> None:
    kept = [line for line in GOOD.splitlines() if not line.startswith(field)]
    with pytest.raises(CatalogError, match=rf"^v1_grid\.py:3: field '{field}' is missing"):
        parse("#!/usr/bin/env python\n# licence\n" + "\n".join(kept))


@pytest.mark.parametrize(
    "prediction",
    [
        "sm_pct",
        "sm_pct 60",
        "sm_pct <",
        "sm_pct == 60",
        "sm_pct < 60 %",
        "sm_pct < sixty",
        "SM < 60",
        "60 > sm_pct",
        "time_x 0.4..",
        "time_x ..0.5",
        "time_x 0.4...0.5",
        "time_x 0.4-0.5",
        "sm_pct < 60,",
        "none, sm_pct < 60",
        "sm_pct < 60 dram_pct > 60",
    ],
)
def test_prediction_that_cannot_be_read_is_named_with_its_line(prediction: str) -> None:
    with pytest.raises(CatalogError, match=r"^v1_grid\.py:6: Expect: .* is not of the form `metric low\.\.high`"):
        parse(expecting(prediction))


def test_upside_down_range_is_named_with_its_line() -> None:
    with pytest.raises(CatalogError, match=r"^v1_grid\.py:6: Expect: 'time_x 0\.55\.\.0\.40': the range ends below"):
        parse(expecting("time_x 0.55..0.40"))


def test_bad_prediction_on_a_continuation_line_is_named_with_that_line() -> None:
    with pytest.raises(CatalogError, match=r"^v1_grid\.py:7: Expect: 'dram_pct about 60'"):
        parse(expecting("sm_pct < 60,\n         dram_pct about 60"))


@pytest.mark.parametrize(
    ("prediction", "inside", "outside"),
    [
        ("time_x 0.40..0.55", [0.40, 0.5, 0.55], [0.399, 0.551]),
        ("time_x 1..1", [1], [0.999, 1.001]),
        ("balance -2..-1.5", [-2, -1.5], [-2.1, 0]),
        ("dram_bytes 2.1e9..2.2e+9", [2.1e9, 2.2e9], [2.0e9]),
        ("sm_pct < 60", [59.9, -1], [60, 61]),
        ("sm_pct <= 60", [60], [60.1]),
        ("sm_pct > 60", [60.1], [60, 59]),
        ("sm_pct >= 60", [60], [59.9]),
        ("sm_pct>=60", [60], [59.9]),
    ],
)
def test_ranges_include_their_ends_and_less_and_greater_do_not(
    prediction: str, inside: list[float], outside: list[float]
) -> None:
    parsed = parse_prediction(prediction)
    assert [value for value in inside + outside if parsed.holds(value)] == inside


@pytest.mark.parametrize(
    ("text", "case", "dtype"),
    [
        ("k7_56/float16: time_x 0.65..0.80", "k7_56", "float16"),
        ("k7_56: time_x 0.65..0.80", "k7_56", ""),
        ("time_x 0.65..0.80", "", ""),
    ],
)
def test_prediction_may_name_its_case_and_dtype(text: str, case: str, dtype: str) -> None:
    parsed = parse_prediction(text)
    assert (parsed.case, parsed.dtype, parsed.metric, parsed.text) == (case, dtype, "time_x", text)
    assert (parsed.low, parsed.high) == (0.65, 0.80)


@given(low=FINITE, high=FINITE, value=FINITE)
def test_any_range_is_read_as_it_is_written(low: float, high: float, value: float) -> None:
    if low > high:
        with pytest.raises(ValueError, match="the range ends below its start"):
            parse_prediction(f"time_x {low!r}..{high!r}")
    else:
        assert parse_prediction(f"time_x {low!r}..{high!r}").holds(value) == (low <= value <= high)


@given(limit=FINITE, operator=st.sampled_from(["<", "<=", ">", ">="]))
def test_missing_figure_meets_no_prediction(limit: float, operator: str) -> None:
    assert not parse_prediction(f"time_x {operator} {limit!r}").holds(math.nan)

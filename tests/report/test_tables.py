"""Tables: numbers with their units, a dash for what is missing, the same cells on the terminal and in Markdown."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from rooflift.cli.console import drawn
from rooflift.cli.layout import blocks
from rooflift.ncu.metrics import METRICS, shown_in
from rooflift.ncu.report import read_reports
from rooflift.report import columns, tables
from rooflift.report.cells import MISSING, duration, figure, markdown, number, table, words
from rooflift.report.data import ReportData, with_predictions
from rooflift.report.terminal import Titled
from rooflift.runs.run import Run, to_frame
from rooflift.schema import CompiledRow

TEXT = words("text")


@pytest.mark.parametrize(
    ("value", "digits", "unit", "text"),
    [
        (86.319, 0, "", "86"),
        (70.783, 1, "", "70.8"),
        (1.9924, 2, "x", "1.99x"),
        (0.99423, 3, "x", "0.994x"),
        (1_040_400.0, 0, "", "1 040 400"),
        (12_345.678, 1, "", "12 345.7"),
        (0.0, 0, "", "0"),
        (-3.25, 1, "", "-3.2"),
    ],
)
def test_number_has_its_decimals_and_unit(value: float, digits: int, unit: str, text: str) -> None:
    assert number(value, digits, unit) == text


def test_number_that_is_missing_is_a_dash_and_has_no_unit() -> None:
    assert number(math.nan, 2, "x") == MISSING
    assert number(None, 2, "x") == MISSING  # type: ignore[arg-type]  # a frame of objects holds None
    assert duration(math.nan) == MISSING
    assert "0" not in MISSING


@pytest.mark.parametrize(
    ("time_us", "text"),
    [(5.04, "5.0 µs"), (715.92, "715.9 µs"), (999.9, "999.9 µs"), (1000, "1.000 ms"), (2015.152, "2.015 ms")],
)
def test_duration_has_a_unit_that_keeps_its_digits(time_us: float, text: str) -> None:
    assert duration(time_us) == text


@given(st.floats(0.1, 1e5))
def test_duration_is_the_time_that_was_given(time_us: float) -> None:
    value, unit = duration(time_us).split()
    assert float(value) * {"µs": 1, "ms": 1e3}[unit] == pytest.approx(time_us, abs=0.051 if unit == "µs" else 0.51)


def test_summary_of_the_h100_run(story: ReportData) -> None:
    assert columns.table("summary", story.main).texts == [
        [
            *(
                "v0_baseline",
                "2.015 ms",
                "1.00x",
                "35.5",
                "memory",
                "1062 GB/s",
                "82",
                "31",
                "67",
                "70",
                "1 040 400",
                "40",
            ),
            *("0.994x", "Issue Slots", "4 hit"),
        ],
        [
            *(
                "v1_grid",
                "1.011 ms",
                "1.99x",
                "70.8",
                "memory",
                "2115 GB/s",
                "86",
                "63",
                "61",
                "69",
                "524 288",
                "40",
                "0.993x",
            ),
            *("Issue Slots", "3 hit, 2 missed"),
        ],
    ]


def test_metric_that_is_missing_is_a_dash_in_the_summary(h100: Run, told_with: Callable[..., ReportData]) -> None:
    metrics = h100.metrics.assign(value=h100.metrics["value"].where(h100.metrics["metric"] != "l2_hit_pct"))
    shown = columns.table("summary", told_with(metrics=metrics).main)
    column = shown.headings.index("L2 Hit Rate %")
    assert [row[column] for row in shown.texts] == [MISSING, MISSING]
    assert [row[column - 1] for row in shown.texts] == ["31", "63"]


def test_prediction_without_a_figure_is_a_dash() -> None:
    judged = pd.DataFrame(
        [
            ("v0_a", "speed > 2", "speed", math.nan, "not judged: no figure is called speed"),
            ("v0_a", "time_x 0.40..0.55", "time_x", 0.50191, "hit"),
            ("v0_a", "sm_pct > 80", "sm_pct", 82.145, "hit"),
        ],
        columns=["version", "prediction", "metric", "value", "verdict"],
    )
    assert [row[2] for row in columns.table("predictions", judged).texts] == [MISSING, "0.502", "82.1"]


def test_verdicts_are_counted_by_version() -> None:
    judged = pd.DataFrame({"version": ["v0"] * 4 + ["v1"], "verdict": ["hit", "miss", "hit", "not judged: why", "hit"]})
    summary = pd.DataFrame({"version": ["v0", "v1", "v2"]})
    assert list(with_predictions(summary, judged)["predictions"]) == ["2 hit, 1 missed, 1 not judged", "1 hit", ""]


def test_run_without_any_prediction_has_none_of_a_version() -> None:
    judged = pd.DataFrame([], columns=["version", "prediction", "metric", "value", "verdict"])
    summary = pd.DataFrame({"version": ["v0", "v1"]})
    assert list(with_predictions(summary, judged)["predictions"]) == ["", ""]


def test_metrics_of_a_report_say_why_a_value_is_missing(h100: Run) -> None:
    foreign = h100.folder.parent / "h100_flat_depthwise.ncu-rep"
    rows = {row[0]: row[1:] for row in columns.table("metrics", read_reports([foreign], foreign.parent)).texts}
    assert rows["stall_wait"][:2] == ["Stall Wait", "missing"]
    assert rows["stall_wait"][3] == "not collected in this report"
    assert re.fullmatch(r"\d+\.\d\d", rows["sm_pct"][1])
    assert rows["sm_pct"][2] == "%"


def test_compiled_kernels_have_their_resources() -> None:
    row = CompiledRow("v0_a", "main", "float32", "sm_90", "twice", 40, 72, 3, 49_152, 62.5, "registers")
    assert columns.table("compiled", to_frame([row], CompiledRow)).texts == [
        ["v0_a", "twice", "float32", "sm_90", "72", "3", "62", "40", "49 152", "registers"]
    ]


def test_instruction_mix_has_a_column_for_every_group() -> None:
    mix = pd.DataFrame([{"versions": "v0_a", "dtype": "float32", "target": "sm_90", "fma": 1200.0, "memory": 8.0}])
    shown = tables.mix_table(mix)
    assert shown.headings == ("version", "dtype", "target", "fma", "memory")
    assert shown.texts == [["v0_a", "float32", "sm_90", "1 200", "8"]]
    assert shown.right == (False, False, False, True, True)


def test_markdown_table_is_headings_sides_and_rows() -> None:
    frame = pd.DataFrame({"text": ["a", "b"], "n": [1, math.nan]})
    assert markdown(table(frame, [TEXT, figure("n", "n")])).splitlines() == [
        "| text | n |",
        "| --- | ---: |",
        "| a | 1 |",
        f"| b | {MISSING} |",
    ]


def test_pipe_in_a_cell_is_escaped_in_markdown() -> None:
    assert markdown(table(pd.DataFrame({"text": ["v0|main|float32"]}), [TEXT])).endswith("| v0\\|main\\|float32 |")


def test_markup_in_a_cell_is_no_markup_on_the_terminal() -> None:
    printed = io.StringIO()
    shown = table(pd.DataFrame({"text": ["[bold]a[/bold] | b"]}), [TEXT])
    Console(file=printed, width=80).print(drawn(blocks(Titled("A title", shown), 80)[0]))
    assert "[bold]a[/bold] | b" in printed.getvalue()
    assert printed.getvalue().startswith("A title")


@pytest.mark.parametrize("name", ["summary", "compiled", "predictions", "timings"])
def test_headings_are_unique(name: str) -> None:
    headings = [column.heading for column in columns.TABLES[name]]
    assert len(set(headings)) == len(headings)


def test_every_metric_that_a_place_shows_stands_in_its_table_and_no_other_does() -> None:
    labels = {metric.heading for metric in METRICS}
    for place in ("summary", "versions", "estimate", "compiled"):
        headings = [column.heading for column in columns.TABLES[place]]
        assert [heading for heading in headings if heading in labels] == [m.heading for m in shown_in(place)]

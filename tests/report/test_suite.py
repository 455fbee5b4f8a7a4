"""The suite as people read it: first lines, table, figure; and runs without one stay as they were."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pytest

from rooflift.analysis.suite import shares
from rooflift.report import tables
from rooflift.report.data import ReportData, report_data
from rooflift.report.figures.style import save
from rooflift.report.figures.suite import suite_figure
from rooflift.report.markdown import write_report
from rooflift.report.opening import opening
from rooflift.report.text import headline, suite_line
from rooflift.runs.run import read_run

LONGEST_COMMENT = 65_536  # characters that GitHub takes in the text of a pull request


def told(folder: Path, faster: dict[tuple[str, str], float] | None = None, cases: int | None = None) -> ReportData:
    """The story of a run, some times of v1 multiplied: (case, dtype) -> factor; of its first cases alone."""
    run = read_run(folder)
    timings = run.timings.copy()
    for (case, dtype), factor in (faster or {}).items():
        own = (timings[["provider", "case", "dtype"]] == ["v1_grid", case, dtype]).all(axis=1)
        assert own.sum() == 1
        timings.loc[own, "median_us"] *= factor
    manifest = msgspec.structs.replace(run.manifest, cases=run.manifest.cases[:cases])
    return report_data(manifest, run.metrics, timings, run.compiled)


def test_where_a_suite_stands_is_computed_from_the_times(suite_run: Path) -> None:
    found = dict(opening(told(suite_run)))
    line = found["Where"]
    assert line == (
        "**v1_grid** on main reaches 80.0 % in float32, 62.5 % in float16, 80.0 % in bfloat16 of SOL. "
        "Over 26 cases and dtypes above 52 MB, the size of L2: geometric mean 73.5 %, "
        "lowest 58.5 % (k5_large float16), "
        "faster than every baseline in 18 of 26; behind on k5_large float16 (0.88x torch_compile), "
        "k7_56 float16 (0.89x torch_compile), planes_14 float16 (0.91x torch_compile) and 5 more. "
        "Over 10 cases and dtypes up to 52 MB, the size of L2: geometric mean 71.1 %, lowest 58.8 % (k7_14 float16), "
        "as fast as the best baseline in 6 of 10; behind on k7_14 float16 (0.88x torch_compile), "
        "k5_14_stride_2 float16 (0.89x torch_compile), k5_28 float16 (0.90x torch_compile) and 1 more."
    )
    assert found["Verdict"] == headline(told(suite_run))


def test_version_that_is_ahead_everywhere_is_behind_on_nothing(suite_run: Path) -> None:
    story = told(suite_run, {(case.case, "float16"): 0.7 for case in read_run(suite_run).manifest.cases[::3]})
    line = suite_line(story)
    assert "faster than every baseline in 26 of 26. " in line
    assert line.endswith("as fast as the best baseline in 10 of 10.")


def test_lowest_share_is_named(suite_run: Path) -> None:
    assert "lowest 40.0 % (k7_56 bfloat16)" in suite_line(told(suite_run, {("k7_56", "bfloat16"): 2.0}))


def test_suite_of_large_cases_alone_says_nothing_of_small_ones(suite_run: Path) -> None:
    line = suite_line(told(suite_run, cases=6))
    assert "above 52 MB" in line
    assert "up to 52 MB" not in line


def test_many_results_above_sol_are_counted_and_some_named(suite_run: Path) -> None:
    story = told(suite_run, {(case.case, "float32"): 0.7 for case in read_run(suite_run).manifest.cases[::3]})
    assert headline(story).endswith(
        "v1_grid (main float32), v1_grid (padded float32), v1_grid (planes_112 float32) and 9 more.**"
    )


def test_table_has_a_row_a_case_and_two_columns_a_dtype(suite_run: Path) -> None:
    table = tables.suite_table(told(suite_run).suite)
    assert list(table.headings) == [
        *("case", "MB", "v1 float32 SOL %", "best baseline float32 SOL %"),
        *("v1 float16 SOL %", "best baseline float16 SOL %", "v1 bfloat16 SOL %", "best baseline bfloat16 SOL %"),
    ]
    rows = table.texts
    assert len(rows) == 12
    assert rows[0] == [
        *("main", "2 147, 1 074", "80.0", "66.7 torch_compile", "62.5 behind", "66.7 torch_compile"),
        *("80.0", "50.0 torch_eager"),
    ]


def test_case_that_was_not_measured_in_a_dtype_has_dashes(suite_run: Path) -> None:
    table = tables.suite_table(told(suite_run, cases=5).suite)  # the second case lacks bfloat16
    assert table.texts[1][-2:] == [tables.MISSING] * 2


def test_report_of_a_suite_is_whole_and_fits_into_a_comment(suite_run: Path, tmp_path: Path) -> None:
    (tmp_path / "suite.svg").touch()
    report = write_report(told(suite_run), tmp_path).read_text(encoding="utf-8")
    assert report.splitlines()[3].startswith("- **Where:** **v1_grid** on main reaches 80.0 % in float32")
    assert "## Suite\n\n![SOL % in every case and dtype](suite.svg)\n" in report
    assert "| k5_large | 4 228, 2 114 | 80.0 | 66.7 torch_compile |" in report
    assert "- `torch_eager`: the reference as it stands\n- `torch_compile`: " in report
    assert "torch_channels_last" not in report  # this run has not timed it
    assert "\nk7_14:\n\n| provider | kind | float32 | float16 | bfloat16 |" in report
    assert "of 50 samples" in report
    assert len(report) < LONGEST_COMMENT


def test_report_without_a_suite_has_none_of_it(story: ReportData, tmp_path: Path) -> None:
    (tmp_path / "suite.svg").touch()
    report = write_report(story, tmp_path).read_text(encoding="utf-8")
    assert dict(opening(story))["Where"] == "main float32, the only case and dtype timed."
    assert "uite" not in report


def test_slow_baselines_of_one_case_are_explained(suite_run: Path, tmp_path: Path) -> None:
    report = write_report(told(suite_run, cases=1), tmp_path).read_text(encoding="utf-8")
    assert "### Timings\n\n- `torch_eager`: the reference as it stands\n- `torch_compile`: " in report
    assert "## Suite" not in report


def figure_of(folder: Path) -> Any:
    run = read_run(folder)
    return suite_figure(shares(run.manifest, run.timings), title="SOL %", footnote="Measured on a GPU.")


def columns_of(panel: Any) -> dict[str, list[str]]:
    """The texts of a panel's cells from the top, by the heading of the column."""
    found: dict[str, list[str]] = {label.get_text(): [] for label in panel.get_xticklabels()}
    for text in sorted(panel.texts, key=lambda text: text.get_position()[1]):
        found[[*found][round(text.get_position()[0])]].append(text.get_text())
    return found


def test_figure_has_a_panel_a_dtype_and_every_share_in_its_cell(suite_run: Path) -> None:
    panels = figure_of(suite_run).axes
    assert [panel.get_title("left") for panel in panels] == ["float32", "float16", "bfloat16"]
    float16 = columns_of(panels[1])
    assert list(float16) == ["v0", "v1", "best baseline"]
    assert float16["v1"] == [f"{100 / (1.6 + 0.01 * place):.0f}" for place in range(12)]
    assert float16["best baseline"] == ["67"] * 12
    assert columns_of(panels[0])["v1"] == ["80"] * 12


def test_figure_frames_the_cells_of_the_fastest_version_where_a_baseline_is_faster(suite_run: Path) -> None:
    float32, float16, _ = figure_of(suite_run).axes
    framed = [[patch.get_linewidth() for patch in panel.patches].count(2) for panel in (float32, float16)]
    assert framed == [0, 12]


def test_figure_of_many_versions_shows_the_last_and_those_that_are_the_fastest_somewhere(suite_run: Path) -> None:
    run = read_run(suite_run)
    frame = shares(run.manifest, run.timings)
    own = frame[frame["provider"] == "v1_grid"]
    many = [own.assign(provider=f"v{n}_more", sol_pct=own["sol_pct"] - n) for n in range(2, 12)]
    figure = suite_figure(pd.concat([frame, *many]), title="", footnote="")
    assert list(columns_of(figure.axes[0])) == ["v1", "v11", "best baseline"]


def test_panel_has_only_the_rows_of_cases_that_have_its_dtype(suite_run: Path) -> None:
    run = read_run(suite_run)
    frame = shares(run.manifest, run.timings)
    many = [frame.assign(provider=frame["provider"] + f"_{n}") for n in range(3)]  # wide: a dtype a line of panels
    frame = pd.concat([frame, *many])
    frame = frame[(frame["dtype"] != "float16") | frame["case"].isin(["k7_56", "k5_28"])]
    panels = suite_figure(frame, title="", footnote="").axes
    rows = {panel.get_title("left"): [label.get_text() for label in panel.get_yticklabels()] for panel in panels}
    assert {dtype: len(names) for dtype, names in rows.items()} == {"float32": 12, "bfloat16": 12, "float16": 2}
    assert {name.replace(" ", "_") for name in rows["float16"]} == {"k7_56", "k5_28"}


def test_figure_fits_its_names_and_is_small(suite_run: Path, tmp_path: Path) -> None:
    figure = figure_of(suite_run)
    figure.draw_without_rendering()
    for panel in figure.axes:
        for label in panel.get_xticklabels():
            assert label.get_window_extent().x1 <= figure.bbox.x1
    assert any("torch_eager, torch_compile" in text.get_text().replace("\n", " ") for text in figure.texts)
    assert save(figure, tmp_path / "suite")[0].stat().st_size < 100_000


# --- the commands


@pytest.fixture
def project(tmp_path: Path, checkout: Path, h100_run: Path, suite_run: Path) -> Path:
    """A project whose newest run is an everyday one, with a suite before it."""
    root = tmp_path / "project"
    shutil.copytree(checkout / "kernels" / "depthwise_conv2d", root / "kernels" / "depthwise_conv2d")
    for source, created in ((suite_run, "2026-11-21T08:00:00Z"), (h100_run, "2026-11-22T08:00:00Z")):
        folder = root / "reports" / "depthwise_conv2d" / source.name
        shutil.copytree(source, folder)
        manifest = read_run(folder).manifest
        (folder / "run.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(manifest, created=created)))
    return root


def test_show_finds_the_suite_that_a_newer_run_would_hide(rooflift: Callable[..., Any], project: Path) -> None:
    assert "Suite" not in rooflift("show", "depthwise_conv2d", folder=project).out
    said = rooflift("show", "depthwise_conv2d", "--suite", folder=project)
    assert said.code == 0
    for words in ("Suite: SOL %", "62.5 behind", "faster than every baseline in 18 of 26"):
        assert words in said.out
    found = json.loads(rooflift("show", "suite_run", "--json", folder=project).out)["suite"]
    assert len(found) == 36
    assert found[1]["baseline"] == "torch_compile"


def test_suite_of_a_family_without_one_says_how_to_make_it(rooflift: Callable[..., Any], project: Path) -> None:
    shutil.rmtree(project / "reports" / "depthwise_conv2d" / "suite_run")
    said = rooflift("show", "depthwise_conv2d", "--suite", folder=project)
    assert said.code == 2
    assert "no run that timed the suite" in said.err
    assert "rooflift profile --suite" in said.err


def test_report_writes_the_run_again_and_prints_its_first_lines(rooflift: Callable[..., Any], project: Path) -> None:
    said = rooflift("report", "suite_run", folder=project)
    assert said.code == 0, said.err
    assert "Verdict: v1_grid is faster than v0_baseline." in said.out
    written = project / "build" / "depthwise_conv2d" / "suite_run"
    assert {path.name for path in written.iterdir()} == {
        "report.md",
        "report.html",
        *(f"{name}.svg" for name in ("progress", "roofline", "bottleneck", "stalls", "suite")),
    }
    assert "build/depthwise_conv2d/suite_run/report.md" in said.out


def test_report_does_not_write_into_a_run(rooflift: Callable[..., Any], project: Path) -> None:
    run = project / "reports" / "depthwise_conv2d" / "suite_run"
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    said = rooflift("report", "suite_run", "--out", run, folder=project)
    assert said.code == 2
    assert "is a run" in said.err
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before

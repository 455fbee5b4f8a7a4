"""report.md as a reviewer reads it: every version, verdict and command, and links that lead somewhere."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2.meta
import msgspec
import pandas as pd
import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from rooflift.escape import environment
from rooflift.ncu.metrics import METRICS
from rooflift.report.cells import MISSING
from rooflift.report.data import ReportData, report_data
from rooflift.report.markdown import _context, write_report
from rooflift.report.pictures import draw
from rooflift.report.tables import deciding_table
from rooflift.report.text import headline
from rooflift.runs.run import Run, read_run, to_frame
from rooflift.schema import CheckRecord, CompiledRow, Roofs, SanitizerRecord

LONGEST_COMMENT = 65_536  # characters that GitHub takes in the text of a pull request
UNESCAPED_PIPE = re.compile(r"(?<!\\)\|")
LINK = re.compile(r"!\[(?P<text>[^]]*)\]\((?P<target>[^)]*)\)")


@pytest.fixture
def written(tmp_path: Path) -> Callable[[ReportData], str]:
    """Return a function that writes a story's report and reads it."""

    def text(story: ReportData) -> str:
        path = write_report(story, tmp_path)
        assert path == tmp_path / "report.md"
        return path.read_text(encoding="utf-8")

    return text


@pytest.fixture
def report(story: ReportData, written: Callable[[ReportData], str]) -> str:
    return written(story)


Written = Callable[[ReportData], str]
ToldWith = Callable[..., ReportData]


def section(report: str, heading: str) -> str:
    """The text under a heading, up to the next one."""
    assert report.count(f"\n{heading}\n") == 1
    return re.split(r"\n#+ ", report.split(f"\n{heading}\n")[1])[0]


def rows(text: str) -> list[list[str]]:
    """The cells of the tables in a text, without headings and rules."""
    lines = [line.strip("| ") for line in text.splitlines() if line.startswith("| ")]
    return [line.split(" | ") for line in lines if not set(line) <= set("-:| ")][1:]


# --- what a reader finds


def test_report_opens_with_what_was_measured_and_the_result(report: str) -> None:
    title, _, first, *_ = report.splitlines()
    assert title == "# depthwise_conv2d on NVIDIA H100 80GB HBM3"
    assert first == (
        "- **Verdict:** **v1_grid** is the fastest: 1.011 ms, 1.99x over v0_baseline, 70.8 % of SOL "
        "(memory: 2115 GB/s), bottleneck Issue Slots."
    )


def test_every_version_has_its_row_its_bound_and_its_story(report: str, story: ReportData) -> None:
    limits = section(report, "## Bottlenecks")
    stories = section(report, "## Versions")
    for version, row in zip(story.manifest.versions, rows(report), strict=False):
        assert row[0] == version.version
        assert f"- **{version.version}**: " in limits
        assert f"- **{version.version}** ({version.stage}). {version.title}" in stories
        assert f"Change: {version.change}" in stories
        assert f"Why: {version.why}" in stories


def test_without_counters_one_line_says_that_no_limit_is_known(
    h100: Run, told_with: ToldWith, written: Written
) -> None:
    uncounted = told_with(metrics=h100.metrics.iloc[:0])
    assert section(written(uncounted), "## Bottlenecks").strip() == (
        "- **v0_baseline, v1_grid**: unknown (no metrics were collected of memory and compute)"
    )
    assert headline(uncounted).endswith("GB/s).")


def test_every_prediction_has_its_figure_and_verdict(report: str) -> None:
    assert rows(section(report, "## Predictions")) == [
        ["v0_baseline", "sm_pct > 80", "82.1", "hit"],
        ["v0_baseline", "dram_pct < 40", "31.5", "hit"],
        ["v0_baseline", "alu_pct > 70", "79.7", "hit"],
        ["v0_baseline", "excess_traffic < 1.05", "0.994", "hit"],
        ["v1_grid", "time_x 0.40..0.55", "0.502", "hit"],
        ["v1_grid", "sm_pct < 60", "86.3", "miss"],
        ["v1_grid", "dram_pct > 60", "62.5", "hit"],
        ["v1_grid", "alu_pct < 50", "66.3", "miss"],
        ["v1_grid", "excess_traffic < 1.05", "0.993", "hit"],
    ]


def test_predictions_are_counted(report: str) -> None:
    assert "before the measurement. Of 9: 7 hit, 2 missed.\n" in section(report, "## Predictions")


def test_machine_is_told_in_full(report: str, story: ReportData) -> None:
    machine = story.manifest.machine
    told = dict(row for row in rows("| | |\n" + section(report, "### Machine")) if len(row) == 2)
    expected = {name.replace("_", " "): str(value) for name, value in msgspec.structs.asdict(machine).items()}
    expected = {name: value for name, value in expected.items() if value}
    assert told.items() >= dict(itertools.islice(expected.items(), 1, None)).items()
    assert f"| gpu | {machine.gpu} |" in report


def test_timings_of_every_subject_are_told(report: str, story: ReportData) -> None:
    told = rows(section(report, "### Timings"))
    assert [row[0] for row in told] == list(story.timings["provider"])
    assert ["copy", "memory", "715.9 µs", "714.9 µs", "717.0 µs", "100"] in told


def test_commands_are_exact(report: str, story: ReportData) -> None:
    console = section(report, "### Command")
    assert f"$ {shlex.join(story.manifest.command)}\n$ {shlex.join(story.manifest.ncu_command)}\n" in console
    assert "$ rooflift profile depthwise_conv2d " in console
    assert f"Commit {story.manifest.commit}, with uncommitted changes; measured 2026-11-22T08:40:49Z." in console


def test_command_can_be_typed_as_it_stands(told_with: ToldWith, written: Written) -> None:
    command = ["rooflift", "profile", "my operator", "--case", "$main"]
    assert f"$ {shlex.join(command)}\n" in written(told_with(command=command))


def test_correctness_tells_checks_and_the_largest_error(report: str) -> None:
    text = " ".join(section(report, "### Correctness").split())
    assert "in 4 comparisons (main float32)" in text
    assert "largest error was 0.04 of the tolerance" in text


def test_case_and_sol_are_told(report: str) -> None:
    text = " ".join(report.split())
    assert "Case `main` in float32: inputs [16, 64, 512, 512], in_channels=64, kernel_size=3." in text
    assert "SOL time is 715.9 µs: a device copy of the compulsory bytes, in this run. Compulsory" in text
    assert "Compulsory traffic is 2.139 GB." in text


def test_clean_and_unknown_commits_are_told(told_with: ToldWith, written: Written) -> None:
    assert "Commit abc; measured" in written(told_with(commit="abc", dirty=False))
    assert "Commit unknown; measured" in written(told_with(commit=None, dirty=False))


def test_notes_stand_out(told_with: ToldWith, written: Written) -> None:
    report = written(told_with(notes=["The counters were refused.", "Another note."]))
    assert "\n> **Note** The counters were refused.\n\n> **Note** Another note.\n\n" in report


# --- form


FORMS = ["as it is", "compiled", "two dtypes", "bare"]


@pytest.fixture(scope="session")
def form_of(h100: Run, told_with: ToldWith) -> Callable[[str], ReportData]:
    """Return a function: the run as it is, or a form in which other parts of the template show."""
    compiled = CompiledRow("v0_a", "main", "float32", "sm_90", "twice", 40, 0, 0, 1024, 75.0, "registers")
    case = h100.manifest.cases[0]
    half = h100.timings.assign(dtype="float16")
    changes: dict[str, dict[str, Any]] = {
        "as it is": {},
        "compiled": {"compiled": to_frame([compiled], CompiledRow)},
        "two dtypes": {
            "timings": pd.concat([h100.timings, half], ignore_index=True),
            "cases": [case, msgspec.structs.replace(case, dtype="float16", init=[64, 3])],
        },
        "bare": {"ncu_command": [], "checks": [], "notes": ["A note."], "commit": None},
    }
    return lambda form: told_with(**changes[form])


@pytest.mark.parametrize("form", FORMS)
def test_form_is_sound(form_of: Callable[[str], ReportData], written: Written, form: str) -> None:
    report = written(form_of(form))
    assert len(report) < LONGEST_COMMENT
    assert report.endswith("</details>\n")
    assert report.count("<details>") == report.count("</details>") == report.count("</summary>") >= 3
    assert report.count("```") == 2
    assert "\n\n\n\n" not in report
    for before, line in itertools.pairwise(report.splitlines()):
        if line.startswith("|") and before.startswith("|"):  # of one table: as many cells
            assert len(UNESCAPED_PIPE.findall(line)) == len(UNESCAPED_PIPE.findall(before)), line
        elif line.startswith(("|", "#", "![")):  # else Markdown takes it for a line of the paragraph
            assert before == "", line


def unfolded(report: str) -> list[Token]:
    """The blocks outside of every <details>, as a strict reader of Markdown finds them."""
    found, depth = [], 0
    for token in MarkdownIt("commonmark").enable("table").parse(report):
        if token.type == "html_block":
            depth += token.content.count("<details>") - token.content.count("</details>")
            assert set(re.findall(r"</?(\w+)", token.content)) <= {"details", "summary"}
        elif not depth:
            found.append(token)
    assert depth == 0
    return found


@pytest.mark.parametrize("form", FORMS)
def test_what_is_unfolded_decides_a_title_lines_warnings_and_one_table_of_eight_columns(
    form_of: Callable[[str], ReportData], written: Written, form: str
) -> None:
    tokens = unfolded(written(form_of(form)))
    kinds = [token.type for token in tokens if token.nesting == 1 and token.level == 0]
    assert [kind for kind in kinds if kind != "blockquote_open"] == ["heading_open", "bullet_list_open", "table_open"]
    assert sum(token.type == "th_open" for token in tokens) <= 8
    lines = [token for token in tokens if token.type == "list_item_open"]
    assert len(lines) <= 5


def test_lines_of_a_comparison_say_verdict_change_where_why_and_what_was_checked(h100: Run, written: Written) -> None:
    story = report_data(h100.manifest, h100.metrics, h100.timings, h100.compiled, h100.samples)
    lines = written(story).splitlines()[2:7]
    assert lines[:4] == [
        "- **Verdict:** **v1_grid is faster than v0_baseline.**",
        "- **Change:** 0.5018x (0.5017 to 0.5019) the time: 2.015 ms → 1.011 ms.",
        "- **Where:** main float32, the only case and dtype timed.",
        (
            "- **Why:** bottleneck Issue Slots, as before; Instructions 0.53x, L2 Throughput 46 → 78 %; explained by "
            "L1 bytes 0.53x, instructions 0.53x."
        ),
    ]
    assert lines[4].startswith("- **Checked:** 4 comparisons with the reference in float64 agree")
    assert "Measured on NVIDIA H100 80GB HBM3" in lines[4]
    assert lines[4].endswith("Commit 8d0b822853bc, with uncommitted changes.")


def test_lines_of_a_ladder_begin_with_its_fastest_version_and_its_last_step(h100: Run, written: Written) -> None:
    """A third version that is the second again: what decides is not that its last step was within noise."""
    names = ["v0_baseline", "v1_grid", "v2_again"]
    last = h100.timings[h100.timings["provider"] == "v1_grid"].assign(provider="v2_again")
    samples = h100.samples[h100.samples["provider"] == "v1_grid"].assign(provider="v2_again")
    own = h100.metrics[h100.metrics["version"] == "v1_grid"].assign(version="v2_again")
    records = [msgspec.structs.replace(h100.manifest.versions[min(n, 1)], version=name) for n, name in enumerate(names)]
    story = report_data(
        msgspec.structs.replace(h100.manifest, versions=records),
        pd.concat([h100.metrics, own], ignore_index=True),
        pd.concat([h100.timings, last], ignore_index=True),
        h100.compiled,
        pd.concat([h100.samples, samples], ignore_index=True),
    )
    lines = written(story).splitlines()[2:7]
    assert lines[0].startswith("- **Verdict:** **v1_grid** is the fastest: 1.011 ms, 1.99x over v0_baseline")
    assert lines[1].startswith("- **Change:** last step, v1_grid to v2_again: within noise, 1.0000x")
    assert lines[3] == "- **Why:** bottleneck Issue Slots, as before."


def test_many_cases_are_unfolded_up_to_twelve_the_slower_first(suite_run: Path, tmp_path: Path) -> None:
    run = read_run(suite_run)
    story = report_data(run.manifest, run.metrics, run.timings, run.compiled, run.samples)
    assert story.comparison is not None
    cases = story.comparison.cases.copy()
    cases["verdict"] = ["slower" if place == 20 else "faster" for place in range(len(cases))]
    story = replace(story, comparison=replace(story.comparison, cases=cases))
    table = deciding_table(story)
    assert len(table.rows) == 12
    assert table.texts[0][0] == cases.loc[20, "case"]
    assert table.texts[0][5].startswith("slower")


def test_versions_with_much_to_say_fit_into_a_comment(h100: Run, told_with: ToldWith, written: Written) -> None:
    one = msgspec.structs.replace(h100.manifest.versions[0], why="so that it may be seen " * 60)
    versions = [msgspec.structs.replace(one, version=f"v{number}_x") for number in range(80)]
    report = written(told_with(versions=versions))
    assert len(report) < LONGEST_COMMENT
    assert "> **Note** What the versions change, and why, is left out for its length: run.json has it." in report
    assert "\n## Versions\n" not in report


def test_template_uses_every_value_that_it_is_given(story: ReportData) -> None:
    source = resources.files("rooflift.report").joinpath("templates/report.md.j2").read_text(encoding="utf-8")
    used = jinja2.meta.find_undeclared_variables(environment("rooflift.report", markdown=True).parse(source))
    assert used == set(_context(story, []))


def test_other_dtypes_have_their_own_table(form_of: Callable[[str], ReportData], written: Written) -> None:
    report = written(form_of("two dtypes"))
    own = rows(section(report, "### main float16"))
    assert [row[:5] for row in own] == [
        ["v0_baseline", "2.015 ms", "1.00x", "35.5", "memory"],
        ["v1_grid", "1.011 ms", "1.99x", "70.8", "memory"],
    ]
    assert {cell for row in own for cell in row[6:13]} == {MISSING}
    assert "\nmain float16:\n" in section(report, "### Timings")


def test_compiled_kernels_are_told_when_there_are_some(
    form_of: Callable[[str], ReportData], written: Written, report: str
) -> None:
    assert "### Compiled kernels" not in report
    assert rows(section(written(form_of("compiled")), "### Compiled kernels"))[0][:4] == [
        *("v0_a", "twice", "float32", "sm_90")
    ]


# --- figures

TIMES_ALONE = ["progress.svg", "roofline.svg"]


def test_every_link_leads_to_a_figure_that_was_drawn(story: ReportData, tmp_path: Path) -> None:
    drawn = draw(story, tmp_path)
    report = write_report(story, tmp_path).read_text(encoding="utf-8")
    targets = [link["target"] for link in LINK.finditer(report)]
    assert targets == ["progress.svg", "roofline.svg", "bottleneck.svg", "stalls.svg"]
    assert all(link["text"] for link in LINK.finditer(report))
    assert {tmp_path / target for target in targets} <= set(drawn)
    assert {path.name for path in drawn} == set(targets)  # a picture once
    assert all(path.stat().st_size > 1000 for path in drawn)


def links(story: ReportData, folder: Path) -> list[str]:
    """The pictures of a story that is drawn and written into a folder."""
    draw(story, folder)
    return [link["target"] for link in LINK.finditer(write_report(story, folder).read_text(encoding="utf-8"))]


def test_run_without_metrics_links_progress_and_roofline_alone(h100: Run, told_with: ToldWith, tmp_path: Path) -> None:
    assert links(told_with(metrics=h100.metrics.iloc[:0], metric_set="none"), tmp_path) == TIMES_ALONE


def test_run_with_the_seeds_counters_links_no_stalls(h100: Run, told_with: ToldWith, tmp_path: Path) -> None:
    seed = [metric.name for metric in METRICS if metric.basic]
    story = told_with(metrics=h100.metrics[h100.metrics["metric"].isin(seed)], metric_set="basic")
    assert links(story, tmp_path) == [*TIMES_ALONE, "bottleneck.svg"]


def test_pictures_of_another_run_are_not_linked(
    story: ReportData, h100: Run, told_with: ToldWith, tmp_path: Path
) -> None:
    for name in ("bottleneck.svg", "stalls.svg"):  # told into this folder before
        (tmp_path / name).write_text("<svg/>")
    assert links(told_with(metrics=h100.metrics[h100.metrics["metric"] == "l1_bytes"]), tmp_path) == TIMES_ALONE


# --- the first line


def faster(timings: pd.DataFrame, provider: str, time_us: float) -> pd.DataFrame:
    """The timings with another median of one subject."""
    return timings.assign(median_us=timings["median_us"].where(timings["provider"] != provider, time_us))


def test_result_above_sol_is_suspect(h100: Run, told_with: ToldWith) -> None:
    line = headline(told_with(timings=faster(h100.timings, "v1_grid", 700.0)))
    assert "102.3 % of SOL" in line
    assert "Suspect: above 100 % of SOL" in line


def test_result_at_sol_is_not_suspect(h100: Run, told_with: ToldWith, story: ReportData) -> None:
    assert "uspect" not in headline(told_with(timings=faster(h100.timings, "v1_grid", 715.92)))
    assert "uspect" not in headline(story)


def test_result_above_sol_of_another_case_is_suspect(h100: Run, told_with: ToldWith, written: Written) -> None:
    case = h100.manifest.cases[0]
    half = faster(h100.timings, "v1_grid", 700.0).assign(dtype="float16")
    story = told_with(
        timings=pd.concat([h100.timings, half], ignore_index=True),
        cases=[case, msgspec.structs.replace(case, dtype="float16")],
    )
    assert "suspect" in written(story).lower()


def test_fastest_version_is_named_also_when_it_is_not_the_last(h100: Run, told_with: ToldWith) -> None:
    line = headline(told_with(timings=faster(h100.timings, "v1_grid", 4030.304)))
    assert line.startswith("**v0_baseline** is the fastest: 2.015 ms, 1.00x over v0_baseline, 35.5 %")


def test_versions_that_are_as_fast_are_named_beside_the_fastest(h100: Run, told_with: ToldWith) -> None:
    level = told_with(timings=faster(h100.timings, "v0_baseline", 1015.0))
    assert headline(level).endswith("bottleneck Issue Slots; within 1 % of it: v0_baseline.")
    assert "within 1 %" not in headline(told_with(timings=faster(h100.timings, "v0_baseline", 1025.0)))


def test_one_version_is_compared_with_no_other(h100: Run, told_with: ToldWith) -> None:
    line = headline(told_with(versions=h100.manifest.versions[:1]))
    assert (
        line == "**v0_baseline** is the fastest: 2.015 ms, 35.5 % of SOL (memory: 1062 GB/s), bottleneck Issue Slots."
    )


def test_run_without_times_says_so(h100: Run, told_with: ToldWith) -> None:
    assert headline(told_with(timings=h100.timings.iloc[:0])) == "No version was timed."


def test_worst_check_is_told(h100: Run, told_with: ToldWith, written: Written) -> None:
    check = CheckRecord("v1_grid", "small", "bfloat16", 0, 0.5, 0.875)
    text = " ".join(section(written(told_with(checks=[*h100.manifest.checks, check])), "### Correctness").split())
    assert "in 5 comparisons (main float32, small bfloat16); the largest error was 0.88 of the tolerance" in text


def test_provenance_is_one_line_with_machine_software_date_and_clocks(story: ReportData, told_with: ToldWith) -> None:
    assert story.provenance == (
        "Measured on NVIDIA H100 80GB HBM3, driver 580.159.04, CUDA 13.0, ncu 2025.3.1.0, torch 2.11.0+cu130, "
        "triton 3.6.0; 2026-11-22, clocks left alone."
    )
    bare = told_with(machine=msgspec.structs.replace(story.manifest.machine, ncu=None), clock_control="base")
    assert ", ncu" not in bare.provenance
    assert bare.provenance.endswith("clocks base.")


def test_sanitizer_is_told_where_it_was_asked(told_with: ToldWith, written: Written, report: str) -> None:
    found = SanitizerRecord("memcheck", "v0_baseline", ["small"], ["float32"], ["kernel"], 0, 0, "")
    line = "compute-sanitizer: memcheck clean for v0_baseline on 1 test case in 1 dtype."
    assert line in written(told_with(sanitizer=[found]))
    assert "sanitizer" not in report


def test_roofline_shows_the_measured_roofs(story: ReportData, tmp_path: Path, h100_roofs: Callable[..., Roofs]) -> None:
    draw(replace(story, measured=h100_roofs()), tmp_path)
    picture = (tmp_path / "roofline.svg").read_text()
    for words in ("L2 read 5.70 TB/s", "measured 2026-11-22", "Out of view: FP32 61.0 TFLOP/s"):
        assert words in picture

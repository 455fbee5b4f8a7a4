"""The versions of a page one by one: header, figures, predictions, code; escaped, and of bounded size."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from pathlib import Path

import msgspec
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rooflift as rl
from rooflift.analysis.hotspots import lines_by_version
from rooflift.escape import printable
from rooflift.report.code import MOST_CHANGES, diff_html, lines_html
from rooflift.report.data import report_data
from rooflift.report.html import write_page
from rooflift.report.kernels import MOST_LINES
from rooflift.report.versions import Code, sections
from rooflift.runs.run import read_run
from rooflift.schema import MachineCode

ROOT = Path(__file__).parents[2]
LADDER = max(ROOT.glob("reports/*/*/metrics.csv"), key=lambda path: len(read_run(path.parent).manifest.versions)).parent
SAMPLED = ROOT / "tests" / "fixtures" / "h100_source"
NAMES = ("v1_grid", "v7_sectors", "v10_shapes")


def bare(lines: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>", "", lines))


@given(st.text() | st.sampled_from(['"""a\nb"""\nx = 1\n', "@jit\ndef f(): ...", "<b>\r\n'\r\"", "\n\n", ""]))
@pytest.mark.parametrize("name", ["kernel.py", "kernel.cu"])
def test_coloured_code_is_the_text_line_by_line(name: str, text: str) -> None:
    shown = lines_html(text, name)
    assert bare("\n".join(shown)) == printable(text.replace("\r\n", "\n").replace("\r", "\n"))
    for line in shown:
        assert re.fullmatch(r'(?:[^<>]|<b class="[kfsnc]">[^<>]*</b>)*', line)


def test_a_difference_marks_what_came_and_went_and_is_bounded() -> None:
    assert diff_html("a = 1\nb = 2", "a = 1\nb = <3>").split("\n") == [
        *("<i>@@ -1,2 +1,2 @@</i>", " a = 1", "<del>-b = 2</del>", "<ins>+b = &lt;3&gt;</ins>")
    ]
    assert diff_html("same", "same") == ""
    long = diff_html("", "\n".join(map(str, range(1000)))).split("\n")
    assert len(long) == MOST_CHANGES + 1
    assert long[-1] == "<i>… 602 more lines</i>"


def test_a_section_has_header_figures_and_what_became_of_the_predictions() -> None:
    run = rl.open(SAMPLED, root=ROOT)
    data = report_data(run.manifest, run.metrics, run.timings, run.compiled, run.samples)
    texts = {f"{name}.py": (ROOT / "kernels/depthwise_conv2d" / f"{name}.py").read_text() for name in run.versions}
    first, second, _ = sections(data, Code(texts))
    assert (first.before, first.diff) == ("", "")
    assert second.before == "v1_grid"
    assert '<ins>+"""Sectors' in second.diff
    assert dict(second.figures)["time over the one before"] == "0.7193x (0.7187 to 0.7200) faster"
    assert dict(second.header)["Stage"] == "memory"
    assert second.predictions is not None
    assert second.predictions.texts[1] == ["dram_pct > 86", "88.1", "hit"]


def test_a_section_of_sampled_versions_has_the_machine_code_beside_that_of_the_one_before() -> None:
    run = rl.open(SAMPLED, root=ROOT)
    data = report_data(run.manifest, run.metrics, run.timings, run.compiled, run.samples)
    frame = pd.read_parquet(SAMPLED / "source.parquet")
    data = replace(data, lines=lines_by_version(frame, {}, data.case.case, data.case.dtype))
    first, second, third = sections(data, Code({}, frame))
    assert (first.code, first.sass) == ([], [])
    assert second.behind.startswith("long scoreboard: 99 % of it on line 94")
    assert ["fp32", "288", "180", "75 497 472", "75 202 560"] in third.code[0][1].texts
    told = dict(third.sass)
    assert len(told) == MOST_LINES + 1
    assert list(told)[-1].endswith("more source lines changed; `rooflift compare --kernel` has all.")


def test_every_link_of_a_page_leads_to_a_place_on_it(tmp_path: Path) -> None:
    run = rl.open(SAMPLED, root=ROOT)
    data = report_data(run.manifest, run.metrics, run.timings, run.compiled, run.samples)
    texts = {f"{name}.py": (ROOT / "kernels/depthwise_conv2d" / f"{name}.py").read_text() for name in run.versions}
    frame = pd.read_parquet(SAMPLED / "source.parquet").astype({"file": str})
    frame.loc[frame["line"] == 94, "file"] = "standard.py"  # of triton, which a run does not keep
    data = replace(data, lines=lines_by_version(frame, texts, data.case.case, data.case.dtype))
    page = write_page(data, tmp_path, Code(texts, frame)).read_text(encoding="utf-8")
    assert "standard.py:94" in page
    names = set(re.findall(r'\bid="([^"]*)"', page))
    links = re.findall(r'<a (?:class="\w+" )?href="([^"]*)"', page)
    assert len(links) > 500
    assert {link for link in links if link.removeprefix("#") not in names} == set()


def test_versions_of_the_same_machine_code_share_the_row_of_the_first() -> None:
    run = read_run(SAMPLED)
    codes = [MachineCode(name, "main", "float32", sha) for name, sha in zip(NAMES, "abb", strict=True)]
    manifest = msgspec.structs.replace(run.manifest, machine_code=codes)
    data = report_data(manifest, run.metrics, run.timings, run.compiled, run.samples)
    first, second, third = sections(data, Code({}))
    assert (first.row, second.row, third.row) == (0, 1, None)
    assert third.figures == second.figures != first.figures
    assert third.notes == ["The file that was measured is not in this repository."]


def test_a_page_of_21_long_versions_with_all_their_sass_stays_below_3_mb(tmp_path: Path) -> None:
    run = read_run(LADDER)
    data = report_data(run.manifest, run.metrics, run.timings, run.compiled, run.samples)
    names = [version.version for version in run.manifest.versions]
    line = (
        "    accumulator = tl.dot(tl.load(a_ptr + offsets, mask=inside, other=0.0), b, accumulator)"
        "  # " + 380 * "x" + "\n"
    )
    texts = {f"{name}.py": f"# {name}\n" + 200 * line for name in names}
    one = pd.read_parquet(SAMPLED / "source.parquet").query("version == 'v7_sectors'")
    own = [one.assign(version=name, file=f"{name}.py", case=data.case.case, dtype=data.case.dtype) for name in names]
    page = write_page(data, tmp_path, Code(texts, pd.concat(own)))
    assert 1_500_000 < page.stat().st_size < 2_750_000  # the figures of 21 versions take 0.25 MB
    text = page.read_text()
    assert f'id="version-20-{names[-1]}.py-200"' in text  # of the last version the code is there
    left_out = text.count("The source is left out for the page&#39;s size") + text.count(
        "SASS is left out for the page"
    )
    assert 0 < left_out <= 21

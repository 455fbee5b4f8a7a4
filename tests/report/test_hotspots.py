"""Where the time goes: in report.md, in HTML, in advice and in the prompt."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

import rooflift as rl
from rooflift.analysis.hotspots import lines
from rooflift.report.hotspots import heat, heat_html, lines_table, sentences

RUN = Path(__file__).parents[1] / "fixtures" / "h100_source"
V7 = pd.read_parquet(RUN / "source.parquet").query("version == 'v7_sectors'")


def test_the_report_has_five_lines_a_version_and_what_changed(tmp_path: Path) -> None:
    rl.open(RUN, root=RUN.parents[2]).report(tmp_path, page=False)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    told = text.split("## Where the time goes")[1].split("\n## ")[0]
    assert len(re.findall(r"^\| v\d+_\w+\.py:\d+ ", told, re.MULTILINE)) == 5 * 3  # lines of three versions
    assert "Against the version before" in told
    assert "v7_sectors.py:94" in told


def test_advice_names_the_lines_behind_the_bottleneck() -> None:
    advice = rl.open(RUN, root=RUN.parents[2]).advice("v7")
    assert advice.lines.startswith("long scoreboard: 99 % of it on line 94")
    assert advice.lines.endswith("sectors 1.36x ideal on line 60")
    assert advice.record()["lines"] == advice.lines


def test_the_shares_of_all_lines_add_up_and_each_stands_in_its_row() -> None:
    shares = heat(V7, "v7_sectors.py")
    assert sum(shares.values()) == pytest.approx(1.0)  # a sum of doubles
    text = "\n".join(f"line {number}" for number in range(1, 250))
    page = heat_html(V7, {"v7_sectors.py": text}, "v7")
    (row,) = re.findall(r'<tr id="v7-v7_sectors\.py-94">.*?</tr>', page, re.DOTALL)
    assert ">64.7 %<" in row
    assert "FFMA R24, R0, R24, RZ" in row


def test_source_text_is_escaped_in_html() -> None:
    page = heat_html(V7, {"v7_sectors.py": "<script>alert(1)</script>"}, "v7")
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_a_long_source_line_is_cut_in_tables_and_sentences() -> None:
    found = lines(V7, {"v7_sectors.py": "\n".join(["x = 1  # " + "long " * 100] * 300)})
    cut = lines_table(found).texts[0][-1]
    assert (len(cut), cut[-3:]) == (80, "...")
    assert max(map(len, sentences(found))) < 250  # of place, share, stalls, sectors and 80 characters of text
    assert len(sentences(found)) == 5

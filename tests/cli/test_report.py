"""`rooflift report`, as typed."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rooflift.project.operator import Operator

Rooflift = Callable[..., Any]


def test_report_against_a_base_opens_with_the_verdict(
    rooflift: Rooflift, h100_run: Path, altered: Callable[..., Path], tmp_path: Path
) -> None:
    slower = altered(factor=1.05)
    said = rooflift("report", slower, "--base", h100_run, "--bundle", "--out", tmp_path / "out")
    assert said.code == 0, said.err
    report = (tmp_path / "out" / "report.md").read_text()
    assert report.splitlines()[2].startswith("- **Verdict:** **again:v1_grid is slower than ")
    assert "> **Warning** The tree held uncommitted changes (again)" in report
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<strong>again:v1_grid is slower than " in page
    with zipfile.ZipFile(tmp_path / "out" / "again.zip") as archive:
        names = {name.removeprefix("again/") for name in archive.namelist()}
        assert archive.testzip() is None
    assert names >= {
        *("report.md", "report.html", "roofline.svg", "run.json", "timings.csv", "samples.parquet"),
        *("metrics.csv", "ncu/depthwise_conv2d.ncu-rep"),
    }


def test_report_on_a_terminal_prints_what_decides_and_writes_nothing(
    rooflift: Rooflift, h100_run: Path, tmp_path: Path
) -> None:
    said = rooflift("report", h100_run, "--terminal", folder=tmp_path)
    assert said.code == 0, said.err
    labels = [line.split(":")[0] for line in said.out.splitlines() if line.startswith(tuple("VCW"))]
    assert labels[:5] == ["Verdict", "Change", "Where", "Why", "Checked"]
    assert "v1_grid is faster than v0_baseline." in said.out
    assert "Predictions: Written into the versions' headers before the measurement. Of 9: 7 hit, 2 missed." in said.out
    assert list(tmp_path.iterdir()) == []


def test_nan_in_the_timings_is_named(rooflift: Rooflift, altered: Callable[..., Path], tmp_path: Path) -> None:
    folder = altered()
    lines = (folder / "timings.csv").read_text().splitlines()
    fields = lines[2].split(",")
    fields[4] = "nan"
    (folder / "timings.csv").write_text("\n".join([*lines[:2], ",".join(fields), *lines[3:]]) + "\n")
    said = rooflift("report", folder, "--out", tmp_path / "out")
    assert said.code == 2
    assert "timings.csv: Expected `float` >= 1e-06 - at `$[1].median_us`" in said.err


def test_run_of_counters_alone_is_told_and_not_comparable(
    rooflift: Rooflift, h100_run: Path, altered: Callable[..., Path], tmp_path: Path
) -> None:
    folder = altered()
    (folder / "samples.parquet").unlink()
    timings = folder / "timings.csv"
    timings.write_text(timings.read_text().splitlines()[0] + "\n")
    said = rooflift("compare", h100_run, folder)
    assert (said.code, "not comparable: head was not timed" in said.out) == (1, True), said.err
    told = rooflift("report", folder, "--out", tmp_path / "out")
    assert told.code == 0, told.err
    assert told.out.startswith("Verdict: No version was timed.")


@pytest.mark.usefixtures("no_gpu")
def test_the_report_of_what_was_never_measured_is_markdown_and_a_page_and_on_a_terminal_no_file(
    rooflift: Rooflift, make_operator: Callable[..., Operator]
) -> None:
    operator = make_operator()
    said = rooflift("report", operator.name, "--terminal", folder=operator.folder)
    assert said.code == 0, said.err
    assert said.out.endswith("Not measured yet.\n")
    root = operator.folder.parent.parent
    assert not (root / "build").exists()
    assert rooflift("report", operator.name, folder=operator.folder).code == 0
    report, page = (
        (root / "build" / operator.name / "unmeasured" / f"report.{kind}").read_text() for kind in ("md", "html")
    )
    command = f"rooflift profile {operator.name}"
    assert f"- **Verdict:** None before a measurement: `{command}`, on" in report
    assert re.search(r"\| v0\w* \| twice \| float32 \| sm_90 \|", report)
    assert f"<dt>Verdict</dt><dd>None before a measurement: <code>{command}</code>, on" in page
    assert "`" not in page.split("<main>")[1].split("</main>")[0]

"""Metrics over the time of a launch, of a report that somebody made on an H800 with ncu's full set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rooflift.analysis.timeline import of_launch, ramp_and_tail, telling
from rooflift.api import timeline as api
from rooflift.errors import CatalogError, ReportFault
from rooflift.ncu.metrics import ncu_sections
from rooflift.ncu.timeline import COLUMNS, read_timeline
from rooflift.report.figures.timeline import timeline_figure

FIXTURES = Path(__file__).parents[1] / "fixtures"
H800 = FIXTURES / "foreign" / "r05_h800_flash_fwd_nan.ncu-rep.gz"


@pytest.fixture(scope="module")
def samples() -> pd.DataFrame:
    return read_timeline([H800])


def test_samples_are_rows_with_their_times_and_what_ncu_could_not_tell_is_nan(samples: pd.DataFrame) -> None:
    assert tuple(samples.columns) == COLUMNS
    third = samples[(samples["launch"] == 2) & samples["metric"].str.contains("pipe_tensor")]
    assert len(third) == 535
    assert third["time_us"].diff().median() == pytest.approx(4.0)
    assert third["time_us"].iloc[0] == 0.0
    assert third["value"].max() == pytest.approx(91.09, abs=0.01)
    assert set(third["unit"]) == {"%"}
    assert not third["from_start"].any()  # this ncu did not say when the launch began
    assert samples.loc[samples["launch"] == 3, "value"].isna().all()
    assert 4 not in set(samples["launch"])  # flash_fwd_kernel was sampled by none


def test_the_figure_draws_what_has_values_and_says_that_passes_are_not_aligned(samples: pd.DataFrame) -> None:
    third = samples[samples["launch"] == 2]
    assert list(telling(third))[:3] == ["active cycles of an SM", "DRAM throughput", "tensor pipe"]
    drawn = timeline_figure(third, title="Over time", footnote="somewhere")
    titles = [axes.get_title(loc="left") for axes in drawn.axes]
    assert "tensor pipe, %" in titles
    assert "not aligned" in drawn.get_supxlabel()
    nothing = timeline_figure(samples[samples["launch"] == 3], title="Over time", footnote="")
    assert [text.get_text() for text in nothing.axes[0].texts] == ["No metric has values over time."]


def test_ramp_and_tail_are_the_shares_before_and_after_the_full_swing() -> None:
    time_us = np.arange(0, 101.0)
    value = np.where((time_us >= 20) & (time_us <= 70), 80.0, 10.0)
    ramp, tail = ramp_and_tail(pd.DataFrame({"time_us": time_us, "value": value}))
    assert (ramp, tail) == (pytest.approx(0.2), pytest.approx(0.3))
    assert np.isnan(ramp_and_tail(pd.DataFrame({"time_us": time_us, "value": 0 * value}))).all()


def test_a_report_without_samples_over_time_says_what_to_pass_to_ncu() -> None:
    with pytest.raises(ReportFault, match="no metrics over the time of a launch") as fault:
        read_timeline([FIXTURES / "h100_run" / "ncu" / "depthwise_conv2d.ncu-rep"])
    assert "--section PmSampling" in fault.value.remedy
    assert "PmSampling" in ncu_sections("timeline")


def test_any_report_shows_its_longest_launch_or_that_of_a_kernel() -> None:
    found = api.of_report(H800)
    assert found.table().set_index("metric").loc["tensor pipe", "largest"] == pytest.approx(91.09, abs=0.01)
    assert "distribution_elementwise" in repr(found)
    with pytest.raises(CatalogError, match="called 'gemm'"):
        api.of_report(H800, "gemm")


def test_of_several_launches_of_a_version_the_longest_counts() -> None:
    rows = [
        {"version": "v1", "case": "main", "dtype": "float16", "kernel": kernel, "launch": launch, "time_us": time}
        for kernel, launch, times in (("short", 0, (0, 2)), ("long", 1, (0, 9)))
        for time in times
    ]
    frame = pd.DataFrame(rows)
    assert set(of_launch(frame, "v1", "main", "float16")["kernel"]) == {"long"}
    assert of_launch(frame, "v2", "main", "float16").empty

"""The suite: each case in SOL % beside its best baseline, and honest counts of where the version is ahead."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rooflift.analysis.suite import has_suite, shares, standing, suite
from rooflift.runs.run import read_run
from rooflift.schema import Manifest

FrameOf = Callable[[Any], pd.DataFrame]
ManifestOf = Callable[..., Manifest]
VERSIONS: dict[str, list[str]] = {"v0_a": [], "v1_b": []}


@pytest.fixture(scope="module")
def rows(suite_run: Path) -> pd.DataFrame:
    run = read_run(suite_run)
    return suite(run.manifest, run.timings)


def test_every_case_and_dtype_has_its_row_in_the_order_of_the_run(suite_run: Path, rows: pd.DataFrame) -> None:
    cases = read_run(suite_run).manifest.cases
    assert list(zip(rows["case"], rows["dtype"], strict=True)) == [(case.case, case.dtype) for case in cases]
    assert list(rows["compulsory_bytes"]) == [case.compulsory_bytes for case in cases]
    assert (rows["is_large"] == (rows["compulsory_bytes"] > 52_428_800)).all()  # the L2 of the run's machine
    assert set(rows["version"]) == {"v1_grid"}


def test_row_has_the_last_version_and_the_fastest_baseline(rows: pd.DataFrame) -> None:
    by_dtype = rows.set_index(["case", "dtype"]).loc["main"]
    assert list(by_dtype["sol_pct"].round(6)) == [80.0, 62.5, 80.0]
    assert list(by_dtype["baseline"]) == ["torch_compile", "torch_compile", "torch_eager"]
    assert list(by_dtype["baseline_pct"].round(1)) == [66.7, 66.7, 50.0]
    assert list(by_dtype["lead"].round(6)) == [1.2, 0.9375, 1.6]


def test_dispatch_stands_for_the_operator_and_is_no_baseline(suite_run: Path) -> None:
    run = read_run(suite_run)
    own = run.timings[run.timings["provider"] == "v1_grid"]
    dispatch = own.assign(provider="dispatch", median_us=own["median_us"] / 2)
    rows = suite(run.manifest, pd.concat([run.timings, dispatch]))
    assert set(rows["version"]) == {"dispatch"}
    assert "dispatch" not in set(rows["baseline"])
    assert list(rows["time_us"] * 2) == list(suite(run.manifest, run.timings)["time_us"])


def test_shares_are_of_every_provider_but_what_moves_the_bytes(suite_run: Path) -> None:
    run = read_run(suite_run)
    found = shares(run.manifest, run.timings)
    assert len(found) == (run.timings["provider"] != "copy").sum()
    own = found[(found["case"] == "main") & (found["dtype"] == "float32")].set_index("provider")
    expected = {"v0_baseline": 40.0, "v1_grid": 80.0, "torch_eager": 50.0, "torch_compile": 66.7}
    assert own["sol_pct"].round(1).to_dict() == expected
    assert own.index[own["is_version"]].to_list() == ["v0_baseline", "v1_grid"]


def test_standing_counts_where_no_peer_is_faster_and_names_the_others(rows: pd.DataFrame) -> None:
    at = standing(rows, strictly=True)
    assert at is not None
    assert (at.count, at.ahead, len(at.behind)) == (36, 24, 12)
    assert set(at.behind["dtype"]) == {"float16"}
    half = [100 / (1.6 + 0.01 * place) for place in range(12)]
    assert at.geomean_pct == pytest.approx(math.prod([80.0] * 24 + half) ** (1 / 36))
    assert (at.lowest["case"], at.lowest["dtype"], at.lowest["sol_pct"]) == (
        *("k5_large", "float16"),
        pytest.approx(half[-1]),
    )
    assert list(at.behind["case"])[:2] == ["k5_large", "k7_14"]


def test_equal_time_is_no_lead_where_a_lead_is_asked_for(manifest_of: ManifestOf, timings_of: FrameOf) -> None:
    key = ("main", "float32")
    times = timings_of({("v0_a", *key): 4.0, ("torch_eager", *key): 4.0, ("copy", *key): 2.0})
    equal = suite(manifest_of({"v0_a": []}), times)
    counts = {strictly: at.ahead for strictly in (True, False) if (at := standing(equal, strictly=strictly))}
    assert counts == {True: 0, False: 1}


def test_what_was_not_timed_is_no_lead_and_no_share(manifest_of: ManifestOf, timings_of: FrameOf) -> None:
    cases = [("main", "float32", None), ("small", "float32", None)]
    key = ("main", "float32")
    times = {("v1_b", *key): 4.0, ("torch_eager", *key): 8.0, ("copy", *key): 2.0}
    rows = suite(manifest_of(VERSIONS, cases), timings_of(times))
    assert list(rows["baseline"]) == ["torch_eager", ""]
    assert rows.loc[1, ["time_us", "sol_pct", "lead"]].isna().all()
    at = standing(rows, strictly=False)
    assert at is not None
    assert math.isnan(at.geomean_pct)
    assert (at.ahead, at.lowest["case"], list(at.behind["case"])) == (1, "small", ["small"])


def test_no_rows_have_no_standing(rows: pd.DataFrame) -> None:
    assert standing(rows.iloc[:0], strictly=True) is None


def test_several_dtypes_of_one_case_are_no_suite(manifest_of: ManifestOf, suite_run: Path) -> None:
    assert not has_suite(manifest_of(VERSIONS, [("main", "float32", None), ("main", "float16", None)]))
    assert has_suite(read_run(suite_run).manifest)

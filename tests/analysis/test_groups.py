"""Versions that are the same machine code on a case are one row, and none of them is ranked above another."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pandas as pd
import pytest

from rooflift.analysis.groups import groups, one_row_a_group
from rooflift.report.data import report_data
from rooflift.report.tables import versions_table
from rooflift.report.text import headline
from rooflift.schema import MachineCode, Manifest

ManifestOf = Callable[..., Manifest]
NAMES = ["v0_a", "v1_b", "v2_c", "v3_d", "v4_e"]


@pytest.fixture
def manifest(manifest_of: ManifestOf) -> Manifest:
    """Return a run whose v1, v2 and v3 are the same code on main, and v0 and v4 another, which is v0's."""
    codes = dict(zip(NAMES, ("x", "y", "y", "y", "x"), strict=True))
    made = [MachineCode(name, "main", "float32", code) for name, code in codes.items()]
    return msgspec.structs.replace(manifest_of({name: [] for name in NAMES}), machine_code=made)


def test_neighbours_with_the_same_code_are_a_group(manifest: Manifest) -> None:
    assert groups(manifest, manifest.cases[0]) == [["v0_a"], ["v1_b", "v2_c", "v3_d"], ["v4_e"]]


def test_run_without_a_record_has_no_groups(manifest: Manifest) -> None:
    old = msgspec.structs.replace(manifest, machine_code=[])
    assert groups(old, old.cases[0]) == [[name] for name in NAMES]


def test_code_of_another_case_makes_no_group(manifest: Manifest) -> None:
    other = msgspec.structs.replace(manifest.cases[0], dtype="float16")
    assert groups(manifest, other) == [[name] for name in NAMES]


def test_group_is_shown_by_its_first_version(manifest: Manifest) -> None:
    main = pd.DataFrame({"version": NAMES, "time_us": [9.0, 5.0, 4.0, 4.5, 8.0]})
    rows = one_row_a_group(main, groups(manifest, manifest.cases[0]))
    assert list(rows["versions"]) == ["v0_a", "v1_b to v3_d (same machine code)", "v4_e"]
    assert list(rows["time_us"]) == [9.0, 5.0, 8.0]


def test_headline_and_table_name_the_group_and_not_its_luckiest_member(
    manifest: Manifest, metrics_of: Callable[..., pd.DataFrame], timings_of: Callable[..., pd.DataFrame]
) -> None:
    times = dict(zip(NAMES, (9.0, 5.0, 4.0, 4.5, 8.0), strict=True))
    timings = timings_of({(name, "main", "float32"): time for name, time in times.items()})
    metrics = metrics_of({(name, "main", "float32"): [{"sm_pct": 70.0}] for name in NAMES})
    data = report_data(manifest, metrics, timings, pd.DataFrame(columns=["version", "spill_instructions"]))
    assert headline(data).startswith("**v1_b to v3_d (same machine code)** are the fastest: 5.0 µs")
    shown = [row[0].text for row in versions_table(data).rows]
    assert shown == ["v0_a", "v1_b to v3_d (same machine code)", "v4_e"]

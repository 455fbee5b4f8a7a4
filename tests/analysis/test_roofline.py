"""The roofline: the lowest ceiling, at any intensity."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rooflift.analysis.roofline import Roof, attainable_flops_per_s, datasheet_roofs, measured_roofs, with_datasheet
from rooflift.analysis.summary import roofs, summarize
from rooflift.project.gpus import specs
from rooflift.runs.run import read_run
from rooflift.schema import Roofs

DRAM = Roof("DRAM", "bandwidth", 3e12, "datasheet", measured=False)
COPY = Roof("DRAM copy", "bandwidth", 2.5e12, "measured", measured=True)
FP32 = Roof("FP32", "compute", 60e12, "datasheet", measured=False)
ROOFS = st.lists(st.sampled_from([DRAM, COPY, FP32]), min_size=1)
INTENSITY = st.floats(min_value=0, max_value=1e6)


def test_bandwidth_is_the_ceiling_left_of_the_ridge_and_compute_right_of_it() -> None:
    assert attainable_flops_per_s(2, [DRAM, FP32]) == 6e12
    assert attainable_flops_per_s(20, [DRAM, FP32]) == 60e12  # the ridge
    assert attainable_flops_per_s(200, [DRAM, FP32]) == 60e12


def test_lowest_of_two_bandwidths_is_the_ceiling() -> None:
    assert attainable_flops_per_s(2, [DRAM, COPY, FP32]) == 5e12


def test_without_roofs_there_is_no_ceiling() -> None:
    assert attainable_flops_per_s(2, []) == math.inf


@given(roofs=ROOFS, low=INTENSITY, high=INTENSITY)
def test_ceiling_never_falls_with_the_intensity(roofs: list[Roof], low: float, high: float) -> None:
    low, high = sorted((low, high))
    assert attainable_flops_per_s(low, roofs) <= attainable_flops_per_s(high, roofs)


@given(roofs=ROOFS, intensity=INTENSITY, another=st.sampled_from([DRAM, COPY, FP32]))
def test_another_roof_never_lifts_the_ceiling(roofs: list[Roof], intensity: float, another: Roof) -> None:
    assert attainable_flops_per_s(intensity, [*roofs, another]) <= attainable_flops_per_s(intensity, roofs)


def test_roof_cannot_be_altered() -> None:
    with pytest.raises(AttributeError):
        DRAM.per_s = 1.0  # type: ignore[misc]


def test_measured_roofs_carry_their_date_and_are_those_asked_for(h100_roofs: Callable[..., Roofs]) -> None:
    found = measured_roofs(h100_roofs(), ["FP32", "L2 read"])
    assert [(roof.name, roof.kind, roof.per_s, roof.measured) for roof in found] == [
        ("L2 read", "bandwidth", 5.7e12, True),
        ("FP32", "compute", 61e12, True),
    ]
    assert {roof.source for roof in found} == {"measured 2026-11-22"}


def test_datasheet_leaves_out_what_its_maker_does_not_publish() -> None:
    found = datasheet_roofs(specs()["h100_sxm"], ["DRAM", "FP32", "TF32 tensor"])
    assert [(roof.name, roof.kind, roof.source, roof.measured) for roof in found] == [
        ("DRAM", "bandwidth", "datasheet", False),
        ("FP32", "compute", "datasheet", False),
        ("TF32 tensor", "compute", "datasheet", False),
    ]
    silent = msgspec.structs.replace(specs()["h100_sxm"], fp16_flops_per_s=None)
    assert datasheet_roofs(silent, ["FP16 tensor"]) == []


def test_measured_rates_stand_beside_those_of_the_datasheet(h100_roofs: Callable[..., Roofs]) -> None:
    found = {row["name"]: row["datasheet_per_s"] for row in with_datasheet(h100_roofs())}
    assert (found["FP32"], found["DRAM copy"], found["FP16 tensor"]) == (66.9e12, 3352e9, 989.4e12)
    assert math.isnan(found["L2 read"])
    assert all(math.isnan(row["datasheet_per_s"]) for row in with_datasheet(h100_roofs(gpu="NVIDIA Unheard")))


def test_roofs_of_a_run_are_its_own_copy_the_measured_ones_and_the_datasheet(
    h100_run: Path, h100_roofs: Callable[..., Roofs]
) -> None:
    run = read_run(h100_run)
    summary = summarize(run.manifest, run.metrics, run.timings)
    found = roofs(run.manifest, summary, h100_roofs())
    assert [(roof.name, roof.source) for roof in found] == [
        ("DRAM copy", "measured in this run"),
        ("L2 read", "measured 2026-11-22"),
        ("FP32", "measured 2026-11-22"),
        ("DRAM", "datasheet"),
        ("FP32", "datasheet"),
    ]
    timeless = roofs(run.manifest, summary.assign(memory_us=math.nan, memory_by=""), h100_roofs())
    assert [(roof.name, roof.source) for roof in timeless][:2] == [
        ("DRAM copy", "measured 2026-11-22"),
        ("L2 read", "measured 2026-11-22"),
    ]


def test_compute_roofs_are_those_of_the_unit_of_sol_and_of_the_unit_in_use(
    h100_run: Path, h100_roofs: Callable[..., Roofs]
) -> None:
    def compute(**columns: object) -> set[str]:
        found = roofs(run.manifest, summary.assign(**columns), h100_roofs())
        return {roof.name for roof in found if roof.kind == "compute"}

    run = read_run(h100_run)
    summary = summarize(run.manifest, run.metrics, run.timings)
    assert compute() == {"FP32"}
    assert compute(tensor_pct=[0.0, 30.0]) == {"FP32", "TF32 tensor"}
    assert compute(dtype="float16", tensor_pct=[0.0, 30.0]) == {"FP16 tensor"}
    # 2.3 % was measured of a kernel that multiplies no matrix
    assert compute(dtype="float16", tensor_pct=2.3) == {"FP16 tensor", "FP32"}

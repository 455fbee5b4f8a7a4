"""The roofline: the lowest ceiling, at any intensity."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rooflift.model.roofline import Roof, attainable_flops_per_s

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

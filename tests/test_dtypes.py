"""The table of dtypes agrees with torch, the GPU specs and itself."""

from __future__ import annotations

import msgspec
import pytest
import torch

from rooflift.dtypes import DTYPES, RATES, Dtype, product_unit
from rooflift.project.gpus import GpuSpec


@pytest.mark.parametrize("row", DTYPES.values(), ids=DTYPES)
def test_a_dtype_has_the_size_that_torch_gives_it_and_a_tolerance_above_its_rounding(row: Dtype) -> None:
    of_torch = torch.finfo(getattr(torch, row.name))
    assert row.bytes == of_torch.bits // 8
    assert row.tolerance >= of_torch.eps


def test_every_unit_has_its_rate_in_the_gpu_specs() -> None:
    assert set(RATES.values()) <= set(GpuSpec.__struct_fields__)
    assert all(product_unit(dtype) in RATES for dtype in DTYPES)
    assert {field.name for field in msgspec.structs.fields(GpuSpec) if field.name.endswith("_flops_per_s")} == {
        *RATES.values()
    }

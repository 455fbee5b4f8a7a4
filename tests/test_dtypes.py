"""The table of dtypes agrees with torch, the GPU specs and itself."""

from __future__ import annotations

import pytest
import torch

from rooflift.dtypes import DTYPES, STANDARD, UNITS, Dtype, pipe_unit, product_unit, tensor_unit
from rooflift.project.gpus import GpuSpec


@pytest.mark.parametrize("row", DTYPES.values(), ids=DTYPES)
def test_a_dtype_has_the_size_that_torch_gives_it(row: Dtype) -> None:
    assert row.bytes == getattr(torch, row.name).itemsize


def test_every_unit_has_its_rate_in_the_gpu_specs() -> None:
    assert all(hasattr(GpuSpec, field) for field in UNITS.values())
    assert {name for name in dir(GpuSpec) if name.endswith(("_flops_per_s", "_ops_per_s"))} == {*UNITS.values()}
    assert {unit(dtype) for dtype in (*DTYPES, "bool") for unit in (pipe_unit, tensor_unit, product_unit)} <= {*UNITS}


def test_products_go_to_the_tensor_cores_where_their_rounding_passes_the_check() -> None:
    assert {dtype: product_unit(dtype) for dtype in DTYPES} == {
        "float32": "FP32",
        "float16": "FP16 tensor",
        "bfloat16": "BF16 tensor",
        "float64": "FP64 tensor",
        "float8_e4m3fn": "FP8 tensor",
        "float8_e5m2": "FP8 tensor",
        "int8": "INT8 tensor",
    }
    assert product_unit("float32", allow_tf32=True) == "TF32 tensor"
    assert product_unit("float64", allow_tf32=True) == "FP64 tensor"
    assert {*STANDARD} <= {*DTYPES}

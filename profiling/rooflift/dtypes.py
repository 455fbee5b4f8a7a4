"""The dtypes of operators, and the units of a GPU that compute them: one row each, for checks, rooflines and roofs.

A dtype more is a row of DTYPES, and what makes random inputs of it where torch.randn does not (`worker.tensors`). A
unit more is a row of UNITS, its published rate in `GpuSpec`, and the kernels that measure it (`worker.roofs`).
"""

from __future__ import annotations

from dataclasses import dataclass

FP32, FP64 = "FP32", "FP64"
SPECIAL = "special functions"

# The units by the name of their roof, each with the field of a GPU's spec that holds its published rate: FLOP/s, and
# for the special functions results/s.
UNITS = {
    FP32: "fp32_flops_per_s",
    FP64: "fp64_flops_per_s",
    "FP16 tensor": "fp16_flops_per_s",
    "BF16 tensor": "bf16_flops_per_s",
    "TF32 tensor": "tf32_flops_per_s",
    "FP8 tensor": "fp8_flops_per_s",
    "INT8 tensor": "int8_ops_per_s",
    "FP64 tensor": "fp64_tensor_flops_per_s",
    SPECIAL: "special_ops_per_s",
}


@dataclass(frozen=True, slots=True)
class Dtype:
    """One dtype, by torch's name."""

    name: str
    bytes: int
    tensor_unit: str = ""  # the unit of its products on the tensor cores, "" where none is measured
    tensor_precise: bool = False  # the tensor cores multiply it without rounding: their results pass the check
    pipe: str = FP32  # the unit of its other arithmetic


DTYPES = {
    row.name: row
    for row in (
        Dtype("float32", 4, "TF32 tensor"),
        Dtype("float16", 2, "FP16 tensor", tensor_precise=True),
        Dtype("bfloat16", 2, "BF16 tensor", tensor_precise=True),
        Dtype("float64", 8, "FP64 tensor", tensor_precise=True, pipe=FP64),
        Dtype("float8_e4m3fn", 1, "FP8 tensor", tensor_precise=True),
        Dtype("float8_e5m2", 1, "FP8 tensor", tensor_precise=True),
        Dtype("int8", 1, "INT8 tensor", tensor_precise=True),
    )
}
STANDARD = ("float32", "float16", "bfloat16")  # of a case that names none


def pipe_unit(dtype: str) -> str:
    """Return the unit of the arithmetic that is no product of matrices.

    >>> pipe_unit("float64"), pipe_unit("bfloat16")
    ('FP64', 'FP32')
    """
    return DTYPES[dtype].pipe if dtype in DTYPES else FP32


def tensor_unit(dtype: str) -> str:
    """Return the unit that tl.dot multiplies a dtype with, its pipe where the tensor cores do not take it."""
    return (DTYPES[dtype].tensor_unit if dtype in DTYPES else "") or pipe_unit(dtype)


def product_unit(dtype: str, *, allow_tf32: bool = False) -> str:
    """Return the unit that may multiply values of a dtype: the tensor cores where their result passes the check.

    They round float32 to TF32, which passes only where a case allows it.

    >>> product_unit("bfloat16"), product_unit("float32"), product_unit("float32", allow_tf32=True)
    ('BF16 tensor', 'FP32', 'TF32 tensor')
    """
    precise = dtype in DTYPES and DTYPES[dtype].tensor_precise
    return tensor_unit(dtype) if precise or (allow_tf32 and dtype == "float32") else pipe_unit(dtype)


# What an input may be of: operators compute in DTYPES, and take these beside them.
INPUT_DTYPES = {
    "float64": "float",
    "float32": "float",
    "float16": "float",
    "bfloat16": "float",
    "float8_e4m3fn": "float",
    "float8_e5m2": "float",
    "int8": "integer",
    "int16": "integer",
    "int32": "integer",
    "int64": "integer",
    "uint8": "integer",
    "bool": "boolean",
}

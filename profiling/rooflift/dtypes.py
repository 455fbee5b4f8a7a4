"""The dtypes of operators: one row says what the checks, the rooflines and the measured roofs need to know of one.

A dtype more is a row more here, a field of `GpuSpec` where its rate is a new one, and what makes random inputs of it
where torch.randn does not (`worker.tensors`).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dtype:
    """One dtype, by torch's name."""

    name: str
    bytes: int
    tolerance: float  # allowed error in units of (|expected| + rms(expected))
    tensor_unit: str = ""  # the roof of products on the tensor cores, "" where none is measured
    tensor_rate: str = ""  # the field of a GPU's spec that holds its published rate
    tensor_precise: bool = False  # the tensor cores multiply it without rounding: their results pass the check


# Tolerance of 16-bit outputs: one unit in the last place, twice the error of rounding an exact result once. float32: 80
# units in the last place, room for sums of some thousand terms; the tensor cores round it to TF32, which has 10 bits.
DTYPES = {
    row.name: row
    for row in (
        Dtype("float32", 4, 1e-5, "TF32 tensor", "tf32_flops_per_s"),
        Dtype("float16", 2, 2**-10, "FP16 tensor", "fp16_flops_per_s", tensor_precise=True),
        Dtype("bfloat16", 2, 2**-7, "BF16 tensor", "bf16_flops_per_s", tensor_precise=True),
    )
}
FP32_UNIT = "FP32"
TENSOR_UNITS = {name: row.tensor_unit for name, row in DTYPES.items() if row.tensor_unit}  # what tl.dot uses
RATES = {FP32_UNIT: "fp32_flops_per_s"} | {
    row.tensor_unit: row.tensor_rate for row in DTYPES.values() if row.tensor_unit
}


def product_unit(dtype: str) -> str:
    """Return the unit that may multiply values of a dtype: the tensor cores in 16 bits, else the FP32 pipe.

    The tensor cores round float32 to TF32, which the check of a version's result does not accept.

    >>> product_unit("bfloat16"), product_unit("float32")
    ('BF16 tensor', 'FP32')
    """
    row = DTYPES.get(dtype)
    return row.tensor_unit if row is not None and row.tensor_precise else FP32_UNIT

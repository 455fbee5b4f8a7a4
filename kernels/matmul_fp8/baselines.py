"""torch's fp8 product (cuBLASLt, CUTLASS for scales of rows), in both modes of accumulation, and that in bfloat16.

With fast accumulation the sums stay in the tensor cores, which keep fewer bits than float32.
"""

import torch


def scaled_mm(model, inputs):
    return _scaled_mm(inputs, fast=False)


def scaled_mm_fast(model, inputs):
    return _scaled_mm(inputs, fast=True)


def bfloat16_product(model, inputs):
    a, b = inputs[0].bfloat16(), inputs[1].bfloat16()
    return lambda: torch.mm(a, b.T)  # converted beforehand, and without scales


def _scaled_mm(inputs, fast):
    a, b, scale_a, scale_b = inputs
    rows = len(scale_a) > 1 or len(scale_b) > 1
    scale_a = scale_a[:, None].expand(len(a), 1).contiguous() if rows else scale_a
    scale_b = scale_b[None, :].expand(1, len(b)).contiguous() if rows else scale_b
    return lambda: torch._scaled_mm(  # noqa: SLF001  # torch has no public name for it
        a, b.T, scale_a=scale_a, scale_b=scale_b, out_dtype=torch.bfloat16, use_fast_accum=fast
    )

"""torch's own kernel for 4-bit weights, and cuBLAS on the weights in 16 bits, four times the bytes.

torch packs weights in an order of its own and takes bfloat16 alone.
"""

import torch


def torch_int4(model, inputs):
    x, packed, scale = inputs
    weight = torch.ops.aten._convert_weight_to_int4pack(packed, 8)  # noqa: SLF001 torch has no public name for it
    scale_and_zero = torch.stack((scale, torch.zeros_like(scale)), -1).contiguous()
    return lambda: torch.ops.aten._weight_int4pack_mm(x, weight, model.group_size, scale_and_zero)  # noqa: SLF001 the same


def cublas_16_bit(model, inputs):
    x, packed, _scale = inputs
    weight = torch.randn(packed.shape[0], x.shape[-1], device=x.device, dtype=x.dtype)
    return lambda: torch.nn.functional.linear(x, weight)

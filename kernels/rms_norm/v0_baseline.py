"""Baseline: a program owns 256 positions of one image and walks the features twice, once to sum, once to scale.

Stage:   baseline
Change:  the algorithm that the ladder starts from: two passes over the features, positions coalesced.
Why:     the shortest correct kernel; the second pass asks again for 64 KB a program, more than L1 and L2 keep for all.
Expect:  dram_pct > 80, excess_traffic 1.2..1.5, sol_pct 60..85, sm_pct < 50
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def rms_norm_kernel(
    x_ptr,
    out_ptr,
    inner,
    eps,
    FEATURES: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
):
    blocks = tl.cdiv(inner, BLOCK_SIZE)
    image = tl.program_id(0) // blocks
    position = (tl.program_id(0) % blocks) * BLOCK_SIZE + tl.arange(0, BLOCK_SIZE)
    inside = position < inner
    first = image.to(tl.int64) * FEATURES * inner + position  # feature 0 of these positions

    square_sum = tl.zeros([BLOCK_SIZE], dtype=tl.float32)
    offset = first
    for _ in range(FEATURES):
        x = tl.load(x_ptr + offset, mask=inside, other=0.0).to(tl.float32)
        square_sum += x * x
        offset += inner
    scale = tl.rsqrt(square_sum / FEATURES + eps)

    offset = first
    for _ in range(FEATURES):  # reads each element a second time
        x = tl.load(x_ptr + offset, mask=inside, other=0.0).to(tl.float32)
        tl.store(out_ptr + offset, (x * scale).to(out_ptr.dtype.element_ty), mask=inside)
        offset += inner


def rms_norm(x, eps):
    """x (N, C, ...) -> the same shape and dtype, normalised over C."""
    if x.dim() < 2:
        raise ValueError(f"rms_norm: wants x of shape (N, C, ...), got {tuple(x.shape)}")
    if x.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        raise TypeError(f"rms_norm: wants float32, float16 or bfloat16, got {x.dtype}")
    x = x.contiguous()
    out = torch.empty_like(x)
    if out.numel() == 0:
        return out
    images, features = x.shape[:2]
    inner = x.numel() // (images * features)
    BLOCK_SIZE = 256
    rms_norm_kernel[(images * triton.cdiv(inner, BLOCK_SIZE),)](
        x, out, inner, eps, FEATURES=features, BLOCK_SIZE=BLOCK_SIZE
    )
    return out


class ModelNew(nn.Module):
    def __init__(self, num_features: int, eps: float = 1e-5):
        super().__init__()
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return rms_norm(x, self.eps)

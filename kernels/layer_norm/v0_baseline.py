"""Baseline: a program owns a row: one loop for mean and variance, another that normalises.

Stage:   baseline
Change:  the algorithm that the ladder starts from: two loops over blocks of 1024 columns. Each lane keeps a mean and a
         sum of squared deviations by Welford's update, and they are merged at the end: no difference of large sums.
Why:     the shortest correct kernel. A row is read twice, three bytes to two compulsory ones. Some 1600 programs of the
         main case read 26 MB during one loop over a row of 16 KB and as much again is written meanwhile: about what an
         H100's L2 keeps, so that a part of the second reads goes to DRAM.
Expect:  excess_traffic 1.00..1.40, sol_pct 55..90, sm_pct < 70, main/float32: excess_traffic 1.10..1.52,
         main/float32: sol_pct 58..90
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def layer_norm_kernel(
    x_ptr,
    weight_ptr,
    bias_ptr,
    out_ptr,
    columns,
    blocks,
    eps,
    BLOCK_SIZE: tl.constexpr,
    INDEX: tl.constexpr,  # tl.int64 for rows of some 2^31 columns
):
    start = tl.program_id(0).to(tl.int64) * columns
    lanes = tl.arange(0, BLOCK_SIZE)
    means = tl.zeros([BLOCK_SIZE], dtype=tl.float32)  # of each lane, as Welford updates them
    squares = tl.zeros([BLOCK_SIZE], dtype=tl.float32)  # of the deviations from them
    for block in range(blocks):
        column = tl.cast(block, INDEX) * BLOCK_SIZE + lanes
        inside = column < columns
        x = tl.load(x_ptr + start + column, mask=inside, other=0.0).to(tl.float32)
        deviation = tl.where(inside, x - means, 0.0)
        means += deviation * (1.0 / (block + 1))
        squares += deviation * tl.where(inside, x - means, 0.0)
    counts = (blocks - (((blocks - 1) * BLOCK_SIZE + lanes) >= columns).to(tl.int32)).to(tl.float32)
    mean = tl.sum(means * counts, 0) / columns
    deviation = means - mean
    scale = tl.rsqrt(tl.sum(squares + counts * deviation * deviation, 0) / columns + eps)

    for block in range(blocks):  # reads each element a second time
        column = tl.cast(block, INDEX) * BLOCK_SIZE + lanes
        inside = column < columns
        x = tl.load(x_ptr + start + column, mask=inside, other=0.0).to(tl.float32)
        weight = tl.load(weight_ptr + column, mask=inside, other=0.0).to(tl.float32)
        bias = tl.load(bias_ptr + column, mask=inside, other=0.0).to(tl.float32)
        out = (x - mean) * scale * weight + bias
        tl.store(out_ptr + start + column, out.to(out_ptr.dtype.element_ty), mask=inside)


def layer_norm(x, weight, bias, eps):
    """x (..., columns), weight and bias (columns,) -> the same shape and dtype, normalised over the last dimension."""
    if x.dim() == 0 or x.shape[-1:] != weight.shape:
        raise ValueError(f"layer_norm: wants x of shape (..., {len(weight)}), got {tuple(x.shape)}")
    if x.dtype not in (torch.float32, torch.float16, torch.bfloat16) or not x.dtype == weight.dtype == bias.dtype:
        dtypes = f"{x.dtype}, {weight.dtype}, {bias.dtype}"
        raise TypeError(f"layer_norm: wants float32, float16 or bfloat16 throughout, got {dtypes}")
    x, weight, bias = x.contiguous(), weight.contiguous(), bias.contiguous()
    out = torch.empty_like(x)
    if x.numel() == 0:
        return out
    columns = x.shape[-1]
    BLOCK_SIZE = 1024
    layer_norm_kernel[(x.numel() // columns,)](
        x,
        weight,
        bias,
        out,
        columns,
        triton.cdiv(columns, BLOCK_SIZE),
        eps,
        BLOCK_SIZE=BLOCK_SIZE,
        INDEX=tl.int64 if columns + BLOCK_SIZE >= 2**31 else tl.int32,
    )
    return out


class ModelNew(nn.Module):
    def __init__(self, columns: int, eps: float = 1e-5):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(columns))
        self.bias = nn.Parameter(torch.zeros(columns))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return layer_norm(x, self.weight, self.bias, self.eps)

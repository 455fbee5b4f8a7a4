"""Registers: a row of at most 32768 columns is loaded at once and stays in registers until it is normalised.

Stage:   tiling
Change:  one tile a row instead of v0's two loops, which longer rows keep: mean, then the squares of the deviations from
         it, as the formula says; what is read and written once leaves the caches first. Four warps a row.
Why:     v0 reads a row a second time, through L2 or from DRAM, waits for each block before it asks for the next, and
         updates a mean for each element. Softmax with a row in registers came to 97 % of a copy on an H100
         (rows of 16384 columns in float32), add + RMS norm by 4 warps for 8192 columns to 97.5 %.
Expect:  time_x 0.55..0.92, excess_traffic 0.97..1.03, sol_pct 90..99, main/float32: sol_pct 91..99,
         rows_4096/bfloat16: sol_pct 88..99, rows_4096/float32: sol_pct 91..99
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl

MOST_COLUMNS = 32768  # of a row in registers


@triton.jit
def row_kernel(
    x_ptr,
    weight_ptr,
    bias_ptr,
    out_ptr,
    columns,
    eps,
    COLUMNS: tl.constexpr,
):
    start = tl.program_id(0).to(tl.int64) * columns
    column = tl.arange(0, COLUMNS)
    inside = column < columns
    x = tl.load(x_ptr + start + column, mask=inside, other=0.0, eviction_policy="evict_first").to(tl.float32)
    x = tl.where(inside, x - tl.sum(x, 0) / columns, 0.0)
    scale = tl.rsqrt(tl.sum(x * x, 0) / columns + eps)
    weight = tl.load(weight_ptr + column, mask=inside, other=0.0).to(tl.float32)
    bias = tl.load(bias_ptr + column, mask=inside, other=0.0).to(tl.float32)
    out = (x * scale * weight + bias).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + start + column, out, mask=inside, eviction_policy="evict_first")


@triton.jit
def long_rows_kernel(
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
    rows = x.numel() // columns
    if columns <= MOST_COLUMNS:
        row_kernel[(rows,)](x, weight, bias, out, columns, eps, COLUMNS=triton.next_power_of_2(columns))
        return out

    BLOCK_SIZE = 1024
    long_rows_kernel[(rows,)](
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

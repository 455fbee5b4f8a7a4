"""Tuned: triton chooses num_warps for each size of tile; blocks stay as they are.

Stage:   tuning
Change:  a thread holds 16, 32 (v2's choice) or 64 elements, by triton.autotune; num_stages has no loop to act on.
Why:     the best number of warps was not the same in the sketches on an H100: for parts of 8192 columns a softmax in
         bfloat16 came to 95 % of a copy with 4 warps and 77 % with 8, add + RMS norm to 97.5 and 98.0 %. A layer norm
         lies between: two reductions, no exponentials. Gains of a few percent in bfloat16, none in float32, which DRAM
         binds.
Expect:  time_x 0.94..1.01, sol_pct 93..99, excess_traffic 0.97..1.03, main/float32: sol_pct 94..99,
         rows_4096/bfloat16: sol_pct 92..99, rows_4096/float32: sol_pct 94..99
"""

from functools import cache

import torch
import torch.nn as nn
import triton
import triton.language as tl

MOST_COLUMNS = 32768  # of a row in registers
SMS = 128  # programs that short rows are at least spread over
ELEMENTS = 32  # a thread, where nothing else was tried


@triton.jit
def rows_kernel(
    x_ptr,
    weight_ptr,
    bias_ptr,
    out_ptr,
    rows,
    columns,
    eps,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    OFFSET: tl.constexpr,  # tl.int64 once the tensor has 2^31 elements
):
    row = tl.program_id(0).to(OFFSET) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, COLUMNS)
    within = column < columns
    inside = (row < rows)[:, None] & within[None, :]
    offset = row[:, None] * columns + column[None, :]
    x = tl.load(x_ptr + offset, mask=inside, other=0.0, eviction_policy="evict_first").to(tl.float32)
    x = tl.where(within[None, :], x - (tl.sum(x, 1) / columns)[:, None], 0.0)
    scale = tl.rsqrt(tl.sum(x * x, 1) / columns + eps)
    weight = tl.load(weight_ptr + column, mask=within, other=0.0).to(tl.float32)
    bias = tl.load(bias_ptr + column, mask=within, other=0.0).to(tl.float32)
    out = (x * scale[:, None] * weight[None, :] + bias[None, :]).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + offset, out, mask=inside, eviction_policy="evict_first")


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


@cache
def tuned(kernel, elements):
    """Return the kernel with num_warps tuned for tiles of so many elements, v2's choice first."""
    each = [elements // (32 * held) for held in (ELEMENTS, ELEMENTS // 2, 2 * ELEMENTS)]
    configs = [triton.Config({}, num_warps=warps) for warps in each if 1 <= warps <= 32]
    return triton.autotune(configs or [triton.Config({}, num_warps=1)], key=["columns"])(kernel)


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
        COLUMNS = triton.next_power_of_2(columns)
        ROWS = min(max(4096 // COLUMNS, 1), triton.next_power_of_2(triton.cdiv(rows, SMS)))
        tuned(rows_kernel, ROWS * COLUMNS)[(triton.cdiv(rows, ROWS),)](
            x,
            weight,
            bias,
            out,
            rows,
            columns,
            eps,
            ROWS=ROWS,
            COLUMNS=COLUMNS,
            OFFSET=tl.int64 if x.numel() + ROWS * COLUMNS >= 2**31 else tl.int32,
        )
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

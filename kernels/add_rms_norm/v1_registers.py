"""Registers: a row of at most 32768 columns is loaded at once and stays in registers between sum and result.

Stage:   tiling
Change:  one tile a row instead of v0's two loops, which longer rows keep; what is read and written once leaves the
         caches first. Four warps, whatever the row's length.
Why:     v0 reads the sum a second time, 1.25 times the compulsory bytes where L2 does not hold it, and waits for each
         block before it asks for the next. A sketch of this version on an H100 came to 97.5 % of a copy for the main
         case in bfloat16; with 32768 columns it came to 75 % in bfloat16 and 17 % in float32, where 256 elements a
         thread spill.
Expect:  time_x 0.72..0.95, excess_traffic 0.98..1.03, sol_pct 93..99.5, dram_pct > 84,
         main/float32: sol_pct 92..99, rows_4096/bfloat16: sol_pct 92..99, rows_32768/bfloat16: sol_pct 66..84,
         rows_32768/float32: sol_pct 10..30, rows_131072/bfloat16: time_x 0.99..1.01
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl

MOST_COLUMNS = 32768  # of a row in registers


@triton.jit
def row_kernel(
    x_ptr,
    residual_ptr,
    weight_ptr,
    out_ptr,
    sum_ptr,
    columns,
    eps,
    COLUMNS: tl.constexpr,
):
    start = tl.program_id(0).to(tl.int64) * columns
    column = tl.arange(0, COLUMNS)
    inside = column < columns
    x = tl.load(x_ptr + start + column, mask=inside, other=0.0, eviction_policy="evict_first").to(tl.float32)
    x += tl.load(residual_ptr + start + column, mask=inside, other=0.0, eviction_policy="evict_first").to(tl.float32)
    rounded = x.to(sum_ptr.dtype.element_ty)
    tl.store(sum_ptr + start + column, rounded, mask=inside, eviction_policy="evict_first")
    x = rounded.to(tl.float32)
    scale = tl.rsqrt(tl.sum(x * x, 0) / columns + eps)
    weight = tl.load(weight_ptr + column, mask=inside, other=0.0).to(tl.float32)
    out = (x * scale * weight).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + start + column, out, mask=inside, eviction_policy="evict_first")


@triton.jit
def long_rows_kernel(
    x_ptr,
    residual_ptr,
    weight_ptr,
    out_ptr,
    sum_ptr,
    columns,
    blocks,
    eps,
    BLOCK_SIZE: tl.constexpr,
    INDEX: tl.constexpr,  # tl.int64 for rows of some 2^31 columns
):
    start = tl.program_id(0).to(tl.int64) * columns
    lanes = tl.arange(0, BLOCK_SIZE)
    squares = tl.zeros([BLOCK_SIZE], dtype=tl.float32)
    for block in range(blocks):
        column = tl.cast(block, INDEX) * BLOCK_SIZE + lanes
        inside = column < columns
        x = tl.load(x_ptr + start + column, mask=inside, other=0.0).to(tl.float32)
        residual = tl.load(residual_ptr + start + column, mask=inside, other=0.0).to(tl.float32)
        rounded = (x + residual).to(sum_ptr.dtype.element_ty)
        tl.store(sum_ptr + start + column, rounded, mask=inside)
        squares += rounded.to(tl.float32) * rounded.to(tl.float32)
    scale = tl.rsqrt(tl.sum(squares, 0) / columns + eps)

    tl.debug_barrier()  # sums may be read by other threads than those that stored them
    for block in range(blocks):
        column = tl.cast(block, INDEX) * BLOCK_SIZE + lanes
        inside = column < columns
        x = tl.load(sum_ptr + start + column, mask=inside, other=0.0).to(tl.float32)
        weight = tl.load(weight_ptr + column, mask=inside, other=0.0).to(tl.float32)
        tl.store(out_ptr + start + column, (x * scale * weight).to(out_ptr.dtype.element_ty), mask=inside)


def add_rms_norm(x, residual, weight, eps):
    """x, residual (..., columns), weight (columns,) -> normalised sum and new residual, both like x."""
    if x.dim() == 0 or x.shape[-1:] != weight.shape or residual.shape != x.shape:
        shapes = f"{tuple(x.shape)}, {tuple(residual.shape)}"
        raise ValueError(f"add_rms_norm: wants x and residual of shape (..., {len(weight)}), got {shapes}")
    if x.dtype not in (torch.float32, torch.float16, torch.bfloat16) or not x.dtype == residual.dtype == weight.dtype:
        dtypes = f"{x.dtype}, {residual.dtype}, {weight.dtype}"
        raise TypeError(f"add_rms_norm: wants float32, float16 or bfloat16 throughout, got {dtypes}")
    x, residual, weight = x.contiguous(), residual.contiguous(), weight.contiguous()
    out = torch.empty_like(x)
    new_residual = torch.empty_like(x)
    if x.numel() == 0:
        return out, new_residual
    columns = x.shape[-1]
    rows = x.numel() // columns
    if columns <= MOST_COLUMNS:
        row_kernel[(rows,)](
            x, residual, weight, out, new_residual, columns, eps, COLUMNS=triton.next_power_of_2(columns)
        )
        return out, new_residual

    BLOCK_SIZE = 1024
    long_rows_kernel[(rows,)](
        x,
        residual,
        weight,
        out,
        new_residual,
        columns,
        triton.cdiv(columns, BLOCK_SIZE),
        eps,
        BLOCK_SIZE=BLOCK_SIZE,
        INDEX=tl.int64 if columns + BLOCK_SIZE >= 2**31 else tl.int32,
    )
    return out, new_residual


class ModelNew(nn.Module):
    def __init__(self, columns: int, eps: float = 1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(columns))
        self.eps = eps

    def forward(self, x: torch.Tensor, residual: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return add_rms_norm(x, residual, self.weight, self.eps)

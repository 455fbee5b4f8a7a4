"""Grid: warps by the length of a row, and several short rows a program.

Stage:   grid
Change:  a thread holds 32 elements, so that rows of 4096 columns have 4 warps and rows of 32768 have 32; below 4096
         columns a program takes as many rows as make 4096 elements, as long as there are 128 programs.
Why:     with 4 warps v1 holds 256 elements a thread for rows of 32768 columns and spills. A sketch on an H100 gave for
         them, by 4, 8, 16 and 32 warps, 75, 97, 97 and 97 % of a copy in bfloat16 and 17, 94, 97 and 97 % in float32.
         For the main case 4 to 32 warps were within 1 %: it gains nothing.
Expect:  time_x 0.98..1.01, sol_pct 94..99.5, excess_traffic 0.98..1.03, rows_32768/bfloat16: time_x 0.74..0.90,
         rows_32768/bfloat16: sol_pct 93..99, rows_32768/float32: time_x 0.12..0.35,
         rows_32768/float32: sol_pct 93..99, rows_4096/bfloat16: sol_pct 92..99
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl

MOST_COLUMNS = 32768  # of a row in registers
SMS = 128  # programs that short rows are at least spread over
ELEMENTS = 32  # a thread


@triton.jit
def rows_kernel(
    x_ptr,
    residual_ptr,
    weight_ptr,
    out_ptr,
    sum_ptr,
    rows,
    columns,
    eps,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    OFFSET: tl.constexpr,  # tl.int64 once the tensor has 2^31 elements
):
    row = tl.program_id(0).to(OFFSET) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, COLUMNS)
    inside = (row < rows)[:, None] & (column < columns)[None, :]
    offset = row[:, None] * columns + column[None, :]
    x = tl.load(x_ptr + offset, mask=inside, other=0.0, eviction_policy="evict_first").to(tl.float32)
    x += tl.load(residual_ptr + offset, mask=inside, other=0.0, eviction_policy="evict_first").to(tl.float32)
    rounded = x.to(sum_ptr.dtype.element_ty)
    tl.store(sum_ptr + offset, rounded, mask=inside, eviction_policy="evict_first")
    x = rounded.to(tl.float32)
    scale = tl.rsqrt(tl.sum(x * x, 1) / columns + eps)
    weight = tl.load(weight_ptr + column, mask=column < columns, other=0.0).to(tl.float32)
    out = (x * scale[:, None] * weight[None, :]).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + offset, out, mask=inside, eviction_policy="evict_first")


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


def warps(elements):
    """Return num_warps for a tile of so many elements."""
    return min(max(elements // (32 * ELEMENTS), 1), 32)


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
        COLUMNS = triton.next_power_of_2(columns)
        ROWS = min(max(4096 // COLUMNS, 1), triton.next_power_of_2(triton.cdiv(rows, SMS)))
        rows_kernel[(triton.cdiv(rows, ROWS),)](
            x,
            residual,
            weight,
            out,
            new_residual,
            rows,
            columns,
            eps,
            ROWS=ROWS,
            COLUMNS=COLUMNS,
            OFFSET=tl.int64 if x.numel() + ROWS * COLUMNS >= 2**31 else tl.int32,
            num_warps=warps(ROWS * COLUMNS),
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

"""Tiling: a program loads all of its elements at once; a row of at most 32768 columns is one tile and read once.

Stage:   tiling
Change:  rows up to 32768 columns stay in registers, several short rows a program; longer ones come as tiles of 8192 in
         v1's two kernels, without a loop. A thread holds 32 elements.
Why:     v1 waits for each block of 4 KB before it asks for the next, and reads every row twice. A row in registers has
         the compulsory traffic alone. The main case's rows of 512 KB do not fit: they still cost two reads and a
         write, 1.5 times the compulsory bytes, but with 32 KB a program on their way. Rows of 4096 columns should take
         two thirds of v1's time.
Expect:  time_x 0.90..1.00, excess_traffic 1.45..1.52, sol_pct 60..67, dram_pct > 84, l2_hit_pct < 45,
         rows_4096/float32: time_x 0.58..0.75, rows_4096/float32: sol_pct 90..99, rows_32768/float32: sol_pct 88..99,
         rows_4096/bfloat16: sol_pct 86..98
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl

MOST_COLUMNS = 32768  # of a row in registers: 1024 threads with 32 elements each
TILE = 8192  # columns a program takes of a longer row
SMS = 128  # programs that short rows are at least spread over
ELEMENTS = 32  # a thread


@triton.jit
def rows_kernel(
    x_ptr,
    out_ptr,
    rows,
    columns,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    OFFSET: tl.constexpr,  # tl.int64 once the tensor has 2^31 elements
):
    row = tl.program_id(0).to(OFFSET) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, COLUMNS)
    inside = (row < rows)[:, None] & (column < columns)[None, :]
    offset = row[:, None] * columns + column[None, :]
    x = tl.load(x_ptr + offset, mask=inside, other=float("-inf")).to(tl.float32)
    exponential = tl.exp(x - tl.max(x, 1)[:, None])
    result = exponential / tl.sum(exponential, 1)[:, None]
    tl.store(out_ptr + offset, result.to(out_ptr.dtype.element_ty), mask=inside)


@triton.jit
def tiles_kernel(
    x_ptr,
    peak_ptr,
    total_ptr,
    columns,
    tiles,  # of a row
    TILE: tl.constexpr,
    INDEX: tl.constexpr,  # tl.int64 for rows of some 2^31 columns
):
    program = tl.program_id(0)
    start = (program // tiles).to(tl.int64) * columns
    column = (program % tiles).to(INDEX) * TILE + tl.arange(0, TILE)
    x = tl.load(x_ptr + start + column, mask=column < columns, other=float("-inf")).to(tl.float32)
    peak = tl.max(x, 0)
    base = tl.where(peak == float("-inf"), 0.0, peak)  # -inf - -inf is no number
    tl.store(peak_ptr + program, peak)
    tl.store(total_ptr + program, tl.sum(tl.exp(x - base), 0))


@triton.jit
def long_rows_kernel(
    x_ptr,
    out_ptr,
    peak_ptr,
    total_ptr,
    columns,
    tiles,
    TILE: tl.constexpr,
    SOME: tl.constexpr,  # tiles whose maximum and sum are put together at once
    INDEX: tl.constexpr,
):
    program = tl.program_id(0)
    row = program // tiles
    peak = float("-inf")
    total = 0.0
    for first in range(0, tiles, SOME):
        tile = first + tl.arange(0, SOME)
        peaks = tl.load(peak_ptr + row * tiles + tile, mask=tile < tiles, other=float("-inf"))
        totals = tl.load(total_ptr + row * tiles + tile, mask=tile < tiles, other=0.0)
        higher = tl.maximum(peak, tl.max(peaks, 0))
        base = tl.where(higher == float("-inf"), 0.0, higher)
        total = total * tl.exp(peak - base) + tl.sum(totals * tl.exp(peaks - base), 0)
        peak = higher

    start = row.to(tl.int64) * columns
    column = (program % tiles).to(INDEX) * TILE + tl.arange(0, TILE)
    inside = column < columns
    x = tl.load(x_ptr + start + column, mask=inside, other=float("-inf")).to(tl.float32)
    result = tl.exp(x - peak) / total
    tl.store(out_ptr + start + column, result.to(out_ptr.dtype.element_ty), mask=inside)


def warps(elements):
    """Return num_warps for a tile of so many elements."""
    return min(max(elements // (32 * ELEMENTS), 1), 32)


def softmax(x):
    """x (..., columns) -> the same shape and dtype, softmax over the last dimension."""
    if x.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        raise TypeError(f"softmax: wants float32, float16 or bfloat16, got {x.dtype}")
    x = x.contiguous()
    out = torch.empty_like(x)
    if out.numel() == 0:
        return out
    columns = x.shape[-1] if x.dim() > 0 else 1
    rows = x.numel() // columns
    if columns <= MOST_COLUMNS:
        COLUMNS = triton.next_power_of_2(columns)
        ROWS = min(max(4096 // COLUMNS, 1), triton.next_power_of_2(triton.cdiv(rows, SMS)))
        rows_kernel[(triton.cdiv(rows, ROWS),)](
            x,
            out,
            rows,
            columns,
            ROWS=ROWS,
            COLUMNS=COLUMNS,
            OFFSET=tl.int64 if x.numel() + ROWS * COLUMNS >= 2**31 else tl.int32,
            num_warps=warps(ROWS * COLUMNS),
        )
        return out

    tiles = triton.cdiv(columns, TILE)
    INDEX = tl.int64 if columns + TILE >= 2**31 else tl.int32
    peaks = torch.empty(rows * tiles, device=x.device, dtype=torch.float32)
    totals = torch.empty_like(peaks)
    grid = (rows * tiles,)
    tiles_kernel[grid](x, peaks, totals, columns, tiles, TILE=TILE, INDEX=INDEX, num_warps=warps(TILE))
    long_rows_kernel[grid](
        x,
        out,
        peaks,
        totals,
        columns,
        tiles,
        TILE=TILE,
        SOME=min(triton.next_power_of_2(tiles), 1024),
        INDEX=INDEX,
        num_warps=warps(TILE),
    )
    return out


class ModelNew(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return softmax(x)

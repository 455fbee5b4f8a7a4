"""Shared rows: the programs of a long row keep their parts in registers and exchange maximum and sum.

Stage:   memory
Change:  a row of more than 32768 columns is shared by programs of 4096 columns and 4 warps. Each loads its part once,
         publishes maximum and sum as one word, waits for the words of its row, and writes from registers. A counter
         gives out parts in order, so that the programs of a row run at the same time. Rows of more than 64 parts would
         ask for more programs at once than a small GPU holds: one launch leaves the words of their tiles, another
         writes, last tile first, while L2 still holds the end of the row. v5's lag is gone.
Why:     on an H100 v5's excess_traffic is 1.476 on main and its l2_hit_pct 38: after the lag the second read comes
         from DRAM after all, and dram_pct 91 allows no more; what v3 and v4 did about that gained 0.3 and 1 %. A
         sketch of this kernel, measured on an H100 (80 GB HBM3) outside of rooflift, in percent of a copy of the same
         bytes: main 96.8 in float32 and 93.4 in bfloat16 (v5: 68.4, 82.2), 4096 x 65536 97.2 and 97.1 (v5: 68.5, 82.0).
         Ragged rows lost: 61.7 and 38.7 at 4096 x 50257 (v5: 66.9, 58.1), as each element is a load of its own.
Expect:  time_x 0.69..0.74, excess_traffic 0.98..1.03, sol_pct 94..99, dram_pct > 84,
         main/bfloat16: time_x 0.84..0.92, rows_65536/float32: time_x 0.69..0.74,
         rows_65536/bfloat16: sol_pct 93..99, rows_32768/float32: time_x 0.98..1.02,
         ragged_50257/float32: time_x 1.02..1.15, one_row/float32: sol_pct 68..88, one_row/bfloat16: sol_pct 50..80
"""

from functools import cache

import torch
import torch.nn as nn
import triton
import triton.language as tl

MOST_COLUMNS = 32768  # of a row in the registers of one program: 1024 threads with 32 elements each
PART = 4096  # columns of a program that shares a longer row
MOST_PARTS = 64  # of a row: 16 SMs hold them at once, so that none waits for one that cannot start
TILE = 16384  # columns a program takes of a row that is too long to share
SMS = 128  # programs that short rows are at least spread over
ELEMENTS = 32  # a thread, where nothing else was tried


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
    x = tl.load(x_ptr + offset, mask=inside, other=float("-inf"), eviction_policy="evict_first").to(tl.float32)
    exponential = tl.exp(x - tl.max(x, 1)[:, None])
    result = exponential / tl.sum(exponential, 1)[:, None]
    tl.store(out_ptr + offset, result.to(out_ptr.dtype.element_ty), mask=inside, eviction_policy="evict_first")


@triton.jit
def pack(low, high):
    """Two float32 as one int64, which is written and read in one piece."""
    low_bits = low.to(tl.int32, bitcast=True).to(tl.int64) & 0xFFFFFFFF
    return (high.to(tl.int32, bitcast=True).to(tl.int64) << 32) | low_bits


@triton.jit
def unpack(word):
    """The two float32 of a word."""
    return word.to(tl.int32).to(tl.float32, bitcast=True), (word >> 32).to(tl.int32).to(tl.float32, bitcast=True)


@triton.jit
def shared_rows_kernel(
    x_ptr,
    out_ptr,
    word_ptr,  # of each part: maximum and sum; 0 until they are known
    ticket_ptr,
    columns,
    parts,  # programs that share a row
    PART: tl.constexpr,  # columns of each
    WORDS: tl.constexpr,
):
    number = tl.atomic_add(ticket_ptr, 1, sem="relaxed").to(tl.int32)
    row = number // parts
    start = row.to(tl.int64) * columns
    column = number % parts * PART + tl.arange(0, PART)
    inside = column < columns
    x = tl.load(x_ptr + start + column, mask=inside, other=float("-inf"), eviction_policy="evict_first").to(tl.float32)
    peak = tl.max(x, 0)
    exponential = tl.exp(x - tl.where(peak == float("-inf"), 0.0, peak))  # -inf - -inf is no number
    tl.atomic_xchg(word_ptr + number, pack(peak, tl.sum(exponential, 0)), sem="relaxed")

    part = tl.arange(0, WORDS)
    nothing = 0xFF800000  # the word of an empty part: -inf and 0
    words = tl.load(word_ptr + row * parts + part, mask=part < parts, other=nothing, volatile=True)
    while tl.min((words != 0).to(tl.int32), 0) == 0:
        words = tl.load(word_ptr + row * parts + part, mask=part < parts, other=nothing, volatile=True)
    peaks, totals = unpack(words)
    highest = tl.max(peaks, 0)
    scale = tl.exp(peak - highest) / tl.sum(totals * tl.exp(peaks - highest), 0)
    result = (exponential * scale).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + start + column, result, mask=inside, eviction_policy="evict_first")


@triton.jit
def tiles_kernel(
    x_ptr,
    word_ptr,  # of each tile: maximum and sum
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
    exponential = tl.exp(x - tl.where(peak == float("-inf"), 0.0, peak))
    tl.store(word_ptr + program, pack(peak, tl.sum(exponential, 0)))


@triton.jit
def longest_rows_kernel(
    x_ptr,
    out_ptr,
    word_ptr,
    columns,
    tiles,
    all_tiles,
    TILE: tl.constexpr,
    SOME: tl.constexpr,  # words that are put together at once
    INDEX: tl.constexpr,
):
    program = all_tiles - 1 - tl.program_id(0)  # what was read last is still in L2
    row = program // tiles
    start = row.to(tl.int64) * columns
    column = (program % tiles).to(INDEX) * TILE + tl.arange(0, TILE)
    inside = column < columns
    x = tl.load(x_ptr + start + column, mask=inside, other=float("-inf"), eviction_policy="evict_first").to(tl.float32)

    peak = float("-inf")
    total = 0.0
    for first in range(0, tiles, SOME):
        tile = first + tl.arange(0, SOME)
        peaks, totals = unpack(tl.load(word_ptr + row * tiles + tile, mask=tile < tiles, other=0xFF800000))
        higher = tl.maximum(peak, tl.max(peaks, 0))
        base = tl.where(higher == float("-inf"), 0.0, higher)
        total = total * tl.exp(peak - base) + tl.sum(totals * tl.exp(peaks - base), 0)
        peak = higher
    result = (tl.exp(x - peak) * (1.0 / total)).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + start + column, result, mask=inside, eviction_policy="evict_first")


@cache
def tuned(elements):
    """Return rows_kernel with num_warps tuned for tiles of so many elements, v4's choice first."""
    warps = [elements // (32 * each) for each in (ELEMENTS, ELEMENTS // 2, 2 * ELEMENTS)]
    configs = [triton.Config({}, num_warps=each) for each in warps if 1 <= each <= 32]
    return triton.autotune(configs or [triton.Config({}, num_warps=1)], key=["columns"])(rows_kernel)


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
        tuned(ROWS * COLUMNS)[(triton.cdiv(rows, ROWS),)](
            x,
            out,
            rows,
            columns,
            ROWS=ROWS,
            COLUMNS=COLUMNS,
            OFFSET=tl.int64 if x.numel() + ROWS * COLUMNS >= 2**31 else tl.int32,
        )
        return out

    if columns <= MOST_PARTS * PART:
        # in Triton's interpreter programs run one after another: none may wait for a later one
        part = triton.next_power_of_2(columns) if triton.knobs.runtime.interpret else PART
        parts = triton.cdiv(columns, part)
        words = torch.zeros(rows * parts + 1, device=x.device, dtype=torch.int64)  # the last one is the counter
        shared_rows_kernel[(rows * parts,)](
            x,
            out,
            words,
            words[-1:],
            columns,
            parts,
            PART=part,
            WORDS=triton.next_power_of_2(parts),
            num_warps=4,
        )
        return out

    tiles = triton.cdiv(columns, TILE)
    words = torch.empty(rows * tiles, device=x.device, dtype=torch.int64)
    INDEX = tl.int64 if columns + TILE >= 2**31 else tl.int32
    grid = (rows * tiles,)
    tiles_kernel[grid](x, words, columns, tiles, TILE=TILE, INDEX=INDEX, num_warps=8)
    longest_rows_kernel[grid](
        x,
        out,
        words,
        columns,
        tiles,
        rows * tiles,
        TILE=TILE,
        SOME=min(triton.next_power_of_2(tiles), 1024),
        INDEX=INDEX,
        num_warps=8,
    )
    return out


class ModelNew(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return softmax(x)

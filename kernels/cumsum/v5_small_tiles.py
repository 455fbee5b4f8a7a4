"""Small tiles: a long row comes in tiles of 8192 columns and 4 warps, whatever the dtype.

Stage:   tiling
Change:  8192 columns a tile in place of 32 KB, so half of v4's in 16 bits; 4 warps, so 64 elements a thread, in place
         of trials. Windows have 128 words. Rows up to 16384 columns are as in v4.
Why:     what a tile costs beside its bytes (the scan's turns through shared memory, the counter, the words) is paid by
         all of its warps at once, and nothing is stored meanwhile: few warps a tile, and several tiles an SM at other
         places of their work. v4's kernel for long rows, measured with other tiles on an H100 outside of rooflift, in
         percent of a copy of the same bytes: bfloat16 1 x 2^26 82.6 with 8192 columns by 4 warps, 64.8 as v4 is (16384,
         by trial), 69.7 with 8192 by 8; 256 x 131072 91.0, 65.3, 82.6. In float32 8192 by 4 is what v4's trials find:
         94.0 and 95.8.
Expect:  time_x 0.98..1.02, sol_pct 91..96, excess_traffic 0.98..1.04, main/bfloat16: time_x 0.74..0.84,
         main/bfloat16: sol_pct 78..86, rows_131072/bfloat16: time_x 0.68..0.76,
         rows_131072/bfloat16: sol_pct 86..94, rows_131072/float32: time_x 0.97..1.02,
         rows_16384/bfloat16: time_x 0.98..1.02
"""

from functools import cache

import torch
import torch.nn as nn
import triton
import triton.language as tl

MOST_COLUMNS = 16384  # of a row in registers: 512 threads with 32 elements each
TILE = 8192  # columns a program takes of a longer row
WARPS = 4  # of such a program
SMS = 128  # programs that short rows are at least spread over
ELEMENTS = 32  # a thread, where nothing else was tried

# what a word's value is: nothing yet, the sum of one tile, the sum of the row up to the tile's end
PARTIAL = tl.constexpr(1)
COMPLETE = tl.constexpr(2)


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
    x = tl.load(x_ptr + offset, mask=inside, other=0.0).to(tl.float32)
    tl.store(out_ptr + offset, tl.cumsum(x, 1).to(out_ptr.dtype.element_ty), mask=inside)


@triton.jit
def publish(word_ptr, value, state):
    """Write a float32 and its state as one word."""
    bits = value.to(tl.int32, bitcast=True).to(tl.int64) & 0xFFFFFFFF
    tl.atomic_xchg(word_ptr, (state.to(tl.int64) << 32) | bits, sem="relaxed")


@triton.jit
def look_back(word_ptr, tile, WINDOW: tl.constexpr):
    """Sum of a row's tiles before `tile`, from their words at word_ptr.

    WINDOW is the number of threads: each loads one word, so that all agree on what was seen.
    """
    lane = tl.arange(0, WINDOW)
    carry = 0.0
    end = tile  # the tiles below it are still to be added
    while end > 0:
        at = end - 1 - lane  # the nearest first
        word = tl.load(word_ptr + at, mask=at >= 0, other=COMPLETE << 32, volatile=True)
        state = (word >> 32).to(tl.int32)
        # the first lane that holds no partial sum: odd where it is complete, even where there is nothing yet
        first = tl.min(tl.where(state == PARTIAL, 2 * WINDOW, 2 * lane + state // COMPLETE), 0)
        if (first % 2 == 1) | (first == 2 * WINDOW):
            value = word.to(tl.int32).to(tl.float32, bitcast=True)
            carry += tl.sum(tl.where(lane <= first // 2, value, 0.0), 0)
            end = tl.where(first == 2 * WINDOW, end - WINDOW, 0)
    return carry


@triton.jit
def long_rows_kernel(
    x_ptr,
    out_ptr,
    word_ptr,
    ticket_ptr,
    columns,
    tiles,  # of a row
    TILE: tl.constexpr,
    WINDOW: tl.constexpr,
    INDEX: tl.constexpr,  # tl.int64 for rows of some 2^31 columns
):
    number = tl.atomic_add(ticket_ptr, 1, sem="relaxed").to(tl.int32)
    tile = number % tiles
    start = (number // tiles).to(tl.int64) * columns
    column = tile.to(INDEX) * TILE + tl.arange(0, TILE)
    inside = column < columns
    x = tl.load(x_ptr + start + column, mask=inside, other=0.0).to(tl.float32)
    total = tl.sum(x, 0)
    publish(word_ptr + number, total, tl.where(tile == 0, COMPLETE, PARTIAL))
    scanned = tl.cumsum(x, 0)
    carry = look_back(word_ptr + (number - tile), tile, WINDOW)
    if tile > 0:
        publish(word_ptr + number, carry + total, tl.full([], COMPLETE, tl.int32))
    tl.store(out_ptr + start + column, (scanned + carry).to(out_ptr.dtype.element_ty), mask=inside)


@cache
def tuned(elements):
    """Return rows_kernel with num_warps tuned for tiles of so many elements, v3's choice first."""
    warps = [elements // (32 * each) for each in (ELEMENTS, ELEMENTS // 2, 2 * ELEMENTS)]
    configs = [triton.Config({}, num_warps=each) for each in warps if 1 <= each <= 32]
    return triton.autotune(configs or [triton.Config({}, num_warps=1)], key=["columns"])(rows_kernel)


def cumsum(x):
    """x (..., columns) -> the same shape and dtype, summed along the last dimension, in float32 inside."""
    if x.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        raise TypeError(f"cumsum: wants float32, float16 or bfloat16, got {x.dtype}")
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

    tiles = triton.cdiv(columns, TILE)
    words = torch.zeros(rows * tiles + 1, device=x.device, dtype=torch.int64)  # the last one is the counter
    long_rows_kernel[(rows * tiles,)](
        x,
        out,
        words,
        words[-1:],
        columns,
        tiles,
        TILE=TILE,
        WINDOW=32 * WARPS,
        INDEX=tl.int64 if columns + TILE >= 2**31 else tl.int32,
        num_warps=WARPS,
    )
    return out


class ModelNew(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return cumsum(x)

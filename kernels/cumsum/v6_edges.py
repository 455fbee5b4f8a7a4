"""Edges: rows that begin at any address are loaded and stored in whole vectors; the elements around them come apart.

Stage:   memory
Change:  of a row whose length 16 does not divide, the elements up to its first whole vector and those behind its
         last are a small tensor of their own. What lies before the vectors is added to all of them, what lies behind
         follows their sum. Up to 16384 columns a program walks over such a row in blocks of 2048, as v0 does in blocks
         of 1024; above, the first tile has the elements before, the last those behind. Other rows are as in v5.
Why:     rows of 10007 columns went wrong with v2, and nothing since has helped: on an H100, outside of rooflift, in
         percent of a copy of the same bytes, v0 90.4 in float32 and 71.0 in bfloat16, v2 42.8 and 24.8, v4 50.8 and
         27.5. A row is padded to 16384, 1.6 times its columns, and each element is a load and a store of its own.
         A walk pads 2 %. v0 on aligned rows of 16384 is at 93.4 and 93.5, so that bfloat16 lost the most by narrow
         accesses: 2 bytes a lane where a vector has 16.
Expect:  ragged_10007/float32: time_x 0.51..0.58, ragged_10007/float32: sol_pct 88..98,
         ragged_10007/bfloat16: time_x 0.28..0.35, ragged_10007/bfloat16: sol_pct 78..96
"""

from functools import cache

import torch
import torch.nn as nn
import triton
import triton.language as tl

MOST_COLUMNS = 16384  # of a row that has one program; in registers: 512 threads with 32 elements each
SHORT = 1024  # columns of a ragged row that stays in registers all the same
BLOCK_SIZE = 2048  # columns at a time of a longer one
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
def edges(start, columns, V: tl.constexpr):
    """Where a row's whole vectors of V begin, their elements, and offsets and mask of the others, V at each end."""
    first = (start + V - 1) // V * V
    head = (first - start).to(tl.int32)
    whole = (columns - head) // V * V
    lane = tl.arange(0, 2 * V)
    offset = tl.where(lane < V, lane, head + whole + lane - V)
    return first, whole, start + offset, offset < tl.where(lane < V, head, columns)


@triton.jit
def ragged_rows_kernel(x_ptr, out_ptr, columns, V: tl.constexpr, BLOCK_SIZE: tl.constexpr):
    start = tl.program_id(0).to(tl.int64) * columns
    first, whole, edge_at, edge_inside = edges(start, columns, V)
    edge = tl.load(x_ptr + edge_at, mask=edge_inside, other=0.0).to(tl.float32)
    behind = tl.arange(0, 2 * V) >= V
    before = tl.sum(tl.where(behind, 0.0, edge), 0)
    carry = 0.0  # of the whole vectors alone
    for block in range(tl.cdiv(whole, BLOCK_SIZE)):
        column = block * BLOCK_SIZE + tl.arange(0, BLOCK_SIZE)
        inside = column < whole
        x = tl.load(x_ptr + first + column, mask=inside, other=0.0).to(tl.float32)
        result = tl.cumsum(x, 0) + (before + carry)
        tl.store(out_ptr + first + column, result.to(out_ptr.dtype.element_ty), mask=inside)
        carry += tl.sum(x, 0)
    result = tl.cumsum(edge, 0) + tl.where(behind, carry, 0.0)
    tl.store(out_ptr + edge_at, result.to(out_ptr.dtype.element_ty), mask=edge_inside)


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
    RAGGED: tl.constexpr,  # rows may begin between vectors of V elements
    V: tl.constexpr,
    INDEX: tl.constexpr,  # tl.int64 for rows of some 2^31 columns
):
    number = tl.atomic_add(ticket_ptr, 1, sem="relaxed").to(tl.int32)
    tile = number % tiles
    start = (number // tiles).to(tl.int64) * columns
    first = start
    whole = columns
    if RAGGED:
        first, whole, edge_at, edge_inside = edges(start, columns, V)
        behind = tl.arange(0, 2 * V) >= V
        edge_inside &= tile == tl.where(behind, tiles - 1, 0)
        edge = tl.load(x_ptr + edge_at, mask=edge_inside, other=0.0).to(tl.float32)
    column = tile.to(INDEX) * TILE + tl.arange(0, TILE)
    inside = column < whole
    x = tl.load(x_ptr + first + column, mask=inside, other=0.0).to(tl.float32)
    total = tl.sum(x, 0)
    own = total  # with what lies before the first whole vector
    if RAGGED:
        before = tl.sum(tl.where(behind, 0.0, edge), 0)
        own += before
    publish(word_ptr + number, own, tl.where(tile == 0, COMPLETE, PARTIAL))
    scanned = tl.cumsum(x, 0)
    if RAGGED:
        scanned += before
    carry = look_back(word_ptr + (number - tile), tile, WINDOW)
    if tile > 0:
        publish(word_ptr + number, carry + own, tl.full([], COMPLETE, tl.int32))
    tl.store(out_ptr + first + column, (scanned + carry).to(out_ptr.dtype.element_ty), mask=inside)
    if RAGGED:
        result = tl.cumsum(edge, 0) + tl.where(behind, carry + total, 0.0)
        tl.store(out_ptr + edge_at, result.to(out_ptr.dtype.element_ty), mask=edge_inside)


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
    V = 16 // x.element_size()
    RAGGED = columns % 16 > 0  # triton takes rows for aligned where 16 divides their elements
    if columns <= (SHORT if RAGGED else MOST_COLUMNS):
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

    if columns <= MOST_COLUMNS:
        ragged_rows_kernel[(rows,)](x, out, columns, V=V, BLOCK_SIZE=BLOCK_SIZE)
        return out

    tiles = triton.cdiv(columns // V * V, TILE)
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
        RAGGED=RAGGED,
        V=V,
        INDEX=tl.int64 if columns + TILE >= 2**31 else tl.int32,
        num_warps=WARPS,
    )
    return out


class ModelNew(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return cumsum(x)

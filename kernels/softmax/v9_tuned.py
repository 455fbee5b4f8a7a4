"""Tuned: what a program takes of a row depends on the dtype and on the length of the row.

Stage:   tiling
Change:  rows of 16 bits are shared above 16384 columns, by programs of 8192 columns and 4 warps, so 64 elements a
         thread. In float32 one program holds up to 32768 columns as before; parts of 4096 columns and 4 warps share
         rows up to 65536, parts of 8192 and 4 warps longer ones. These are rules, not trials.
Why:     the sketch with edges, measured on an H100 outside of rooflift, in percent of a copy: bfloat16 main 93.5 with
         parts of 8192 by 4 warps against 81.0 with 4096 by 4, 4096 x 65536 95.4 against 81.9, 4096 x 50257 84.9
         against 66.8: fewer threads for the same elements have cheaper reductions, and the counter, the words and the
         edges are paid half as often. It had exp, not exp2. One program a row of 32768 in bfloat16 is half of an SM and
         mostly loads while nobody computes: 87.8 by 32 warps, where 8192 by 4 reach 94.9; of 16384 columns it reaches
         97.3, and is kept. In float32 main 97.8 (8192 by 4) against 97.2 (4096 by 4), 50257 95.1 against 95.5, so by
         length there. A part of 8192 takes 96 registers in bfloat16 and 107 in float32: 5 and 4 programs an SM.
Expect:  time_x 0.98..1.01, sol_pct 96..99, dram_pct > 86,
         main/bfloat16: time_x 0.82..0.98, main/bfloat16: sol_pct 92..98, rows_65536/bfloat16: time_x 0.82..0.98,
         rows_65536/bfloat16: sol_pct 93..98, ragged_50257/bfloat16: time_x 0.75..0.95,
         ragged_50257/bfloat16: sol_pct 84..93, rows_32768/bfloat16: time_x 0.90..0.98,
         rows_32768/bfloat16: sol_pct 93..98, rows_65536/float32: time_x 0.99..1.01
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl

SHORT = 512  # columns up to which a program takes several rows
MOST_PARTS = 64  # of a row: 16 SMs hold them at once, so that none waits for one that cannot start
TILE = 16384  # columns a program takes of a row that is too long to share
SMS = 128  # programs that short rows are at least spread over
ELEMENTS = 32  # a thread
LOG2_E = tl.constexpr(1.4426950408889634)  # exp(x) = exp2(x LOG2_E)


@triton.jit
def short_rows_kernel(
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
    exponential = tl.exp2(x * LOG2_E - (tl.max(x, 1) * LOG2_E)[:, None])
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
def places(row, part, columns, PART: tl.constexpr, V: tl.constexpr, INDEX: tl.constexpr):
    """Offsets and masks of a part's whole vectors of V elements, and of the row's edges, which part 0 has."""
    start = row.to(tl.int64) * columns
    first = (start + V - 1) // V * V
    head = (first - start).to(tl.int32)  # elements before the first whole vector
    whole = (columns - head) // V * V
    column = part.to(INDEX) * PART + tl.arange(0, PART)
    lane = tl.arange(0, 2 * V)
    edge = tl.where(lane < V, lane, head + whole + lane - V)
    return first + column, column < whole, start + edge, (part == 0) & (edge < tl.where(lane < V, head, columns))


@triton.jit
def peak_and_base(x, edge):
    """Maximum times LOG2_E, and what is subtracted: 0 where all is -inf, as -inf - -inf is no number."""
    peak = tl.maximum(tl.max(x, 0), tl.max(edge, 0)) * LOG2_E
    return peak, tl.where(peak == float("-inf"), 0.0, peak)


@triton.jit
def rows_kernel(
    x_ptr,
    out_ptr,
    word_ptr,  # of each part: maximum times LOG2_E and sum; 0 until they are known
    ticket_ptr,
    columns,
    parts,  # programs that share a row
    PART: tl.constexpr,  # columns of each
    WORDS: tl.constexpr,
    V: tl.constexpr,  # elements of 16 bytes
):
    number = tl.program_id(0)
    if WORDS > 1:
        number = tl.atomic_add(ticket_ptr, 1, sem="relaxed").to(tl.int32)
    row = number // parts
    at, inside, edge_at, edge_inside = places(row, number % parts, columns, PART, V, tl.int32)
    x = tl.load(x_ptr + at, mask=inside, other=float("-inf"), eviction_policy="evict_first").to(tl.float32)
    edge = tl.load(x_ptr + edge_at, mask=edge_inside, other=float("-inf")).to(tl.float32)
    peak, base = peak_and_base(x, edge)
    x = tl.exp2(x * LOG2_E - base)
    edge = tl.exp2(edge * LOG2_E - base)
    total = tl.sum(x, 0) + tl.sum(edge, 0)
    if WORDS > 1:
        tl.atomic_xchg(word_ptr + number, pack(peak, total), sem="relaxed")
        part = tl.arange(0, WORDS)
        nothing = 0xFF800000  # the word of an empty part: -inf and 0
        words = tl.load(word_ptr + row * parts + part, mask=part < parts, other=nothing, volatile=True)
        while tl.min((words != 0).to(tl.int32), 0) == 0:
            words = tl.load(word_ptr + row * parts + part, mask=part < parts, other=nothing, volatile=True)
        peaks, totals = unpack(words)
        highest = tl.max(peaks, 0)
        scale = tl.exp2(peak - highest) / tl.sum(totals * tl.exp2(peaks - highest), 0)
    else:
        scale = 1.0 / total
    result = (x * scale).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + at, result, mask=inside, eviction_policy="evict_first")
    tl.store(out_ptr + edge_at, (edge * scale).to(out_ptr.dtype.element_ty), mask=edge_inside)


@triton.jit
def tiles_kernel(
    x_ptr,
    word_ptr,  # of each tile: maximum times LOG2_E and sum
    columns,
    tiles,  # of a row
    TILE: tl.constexpr,
    V: tl.constexpr,
    INDEX: tl.constexpr,  # tl.int64 for rows of some 2^31 columns
):
    program = tl.program_id(0)
    at, inside, edge_at, edge_inside = places(program // tiles, program % tiles, columns, TILE, V, INDEX)
    x = tl.load(x_ptr + at, mask=inside, other=float("-inf")).to(tl.float32)
    edge = tl.load(x_ptr + edge_at, mask=edge_inside, other=float("-inf")).to(tl.float32)
    peak, base = peak_and_base(x, edge)
    total = tl.sum(tl.exp2(x * LOG2_E - base), 0) + tl.sum(tl.exp2(edge * LOG2_E - base), 0)
    tl.store(word_ptr + program, pack(peak, total))


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
    V: tl.constexpr,
    INDEX: tl.constexpr,
):
    program = all_tiles - 1 - tl.program_id(0)  # what was read last is still in L2
    row = program // tiles
    at, inside, edge_at, edge_inside = places(row, program % tiles, columns, TILE, V, INDEX)
    x = tl.load(x_ptr + at, mask=inside, other=float("-inf"), eviction_policy="evict_first").to(tl.float32)
    edge = tl.load(x_ptr + edge_at, mask=edge_inside, other=float("-inf")).to(tl.float32)

    peak = float("-inf")
    total = 0.0
    for first in range(0, tiles, SOME):
        tile = first + tl.arange(0, SOME)
        peaks, totals = unpack(tl.load(word_ptr + row * tiles + tile, mask=tile < tiles, other=0xFF800000))
        higher = tl.maximum(peak, tl.max(peaks, 0))
        base = tl.where(higher == float("-inf"), 0.0, higher)
        total = total * tl.exp2(peak - base) + tl.sum(totals * tl.exp2(peaks - base), 0)
        peak = higher
    scale = 1.0 / total
    result = (tl.exp2(x * LOG2_E - peak) * scale).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + at, result, mask=inside, eviction_policy="evict_first")
    edge = (tl.exp2(edge * LOG2_E - peak) * scale).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + edge_at, edge, mask=edge_inside)


def warps(elements):
    """Return num_warps for a tile of so many elements."""
    return min(max(elements // (32 * ELEMENTS), 1), 32)


def part_and_warps(columns, itemsize):
    """Return how many columns of a row a program takes, and its num_warps."""
    if columns <= (32768 if itemsize == 4 else 16384):
        part = triton.next_power_of_2(columns)
        return part, warps(part)
    return (4096 if itemsize == 4 and columns <= 65536 else 8192), 4


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
    V = 16 // x.element_size()
    if columns <= SHORT:
        COLUMNS = triton.next_power_of_2(columns)
        ROWS = min(max(4096 // COLUMNS, 1), triton.next_power_of_2(triton.cdiv(rows, SMS)))
        short_rows_kernel[(triton.cdiv(rows, ROWS),)](
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

    part, num_warps = part_and_warps(columns, x.element_size())
    parts = triton.cdiv(columns, part)
    if parts <= MOST_PARTS:
        if triton.knobs.runtime.interpret:  # programs run one after another: none may wait for a later one
            part, parts = triton.next_power_of_2(columns), 1
        # the words, and behind them the counter
        words = x if parts == 1 else torch.zeros(rows * parts + 1, device=x.device, dtype=torch.int64)
        rows_kernel[(rows * parts,)](
            x,
            out,
            words,
            words.view(-1)[-1:],
            columns,
            parts,
            PART=part,
            WORDS=triton.next_power_of_2(parts),
            V=V,
            num_warps=num_warps,
        )
        return out

    tiles = triton.cdiv(columns, TILE)
    words = torch.empty(rows * tiles, device=x.device, dtype=torch.int64)
    INDEX = tl.int64 if columns + TILE >= 2**31 else tl.int32
    grid = (rows * tiles,)
    tiles_kernel[grid](x, words, columns, tiles, TILE=TILE, V=V, INDEX=INDEX, num_warps=8)
    longest_rows_kernel[grid](
        x,
        out,
        words,
        columns,
        tiles,
        rows * tiles,
        TILE=TILE,
        SOME=min(triton.next_power_of_2(tiles), 1024),
        V=V,
        INDEX=INDEX,
        num_warps=8,
    )
    return out


class ModelNew(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return softmax(x)

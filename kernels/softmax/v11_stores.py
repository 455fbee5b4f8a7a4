"""Memory: what rows that are read once leave stays in L2 as long as there is room, instead of leaving first.

Stage:   memory
Change:  stores of rows that stay in registers have no eviction policy; their loads keep theirs. Rows that are read a
         second time from L2 are stored to leave first, as before.
Why:     rows of 4096 in float32 took 183.1 and 183.0 us in v2 and v3, and 188.6 in v4, which differs there by
         evict_first on load and store alone; scores_512 95.4 and 98.4. v5 to v9 brought nothing back, and
         torch.compile, whose stores have no policy, is ahead: 181.9 and 93.6 us. What is stored to leave first is
         written to DRAM within the launch; without it up to 50 MB stay in L2 until something needs the room, and who
         reads the output next finds a part of it there.
Expect:  time_x 0.97..1.00, sol_pct 97..101, rows_4096/float32: time_x 0.955..0.985,
         rows_4096/float32: sol_pct 98.5..102, rows_16384/float32: time_x 0.955..0.995,
         scores_512/float32: time_x 0.95..0.985, rows_4096/bfloat16: time_x 0.93..0.995
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl

SHORT = 512  # columns up to which a program takes several rows
MOST_PARTS = 32  # of a row: their words fit a warp, which sees them all at once; far more programs are resident
TILE = 16384  # columns a program takes of a row that is too long to share
SMS = 128  # programs that short rows are at least spread over
ELEMENTS = 32  # a thread
HELD = 32768  # columns of a row that a program keeps, where each SM has one program
WALKED = 8192  # columns of a tile that it reads again
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
    tl.store(out_ptr + offset, result.to(out_ptr.dtype.element_ty), mask=inside)


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
    tl.store(out_ptr + at, result, mask=inside)
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


@triton.jit
def held_kernel(
    x_ptr,
    out_ptr,
    word_ptr,  # of each program, for each row: maximum times LOG2_E and sum; 0 until they are known
    rows,
    columns,
    tiles,  # that follow what the programs keep
    PROGRAMS: tl.constexpr,
    WORDS: tl.constexpr,  # a power of 2 from PROGRAMS on
    HELD: tl.constexpr,
    TILE: tl.constexpr,
):
    program = tl.program_id(0)
    kept_at = program * HELD + tl.arange(0, HELD)
    own = (tiles - program + PROGRAMS - 1) // PROGRAMS  # tiles of this program
    first = PROGRAMS * HELD + program * TILE
    lane = tl.arange(0, TILE)
    start = tl.full([], 0, tl.int64)
    for _ in range(rows):
        kept = tl.load(
            x_ptr + start + kept_at, mask=kept_at < columns, other=float("-inf"), eviction_policy="evict_first"
        )
        peaks = tl.full([TILE], float("-inf"), tl.float32)  # of each lane
        totals = tl.zeros([TILE], tl.float32)
        for _ in tl.range(own, num_stages=3):
            column = first + lane
            x = tl.load(x_ptr + start + column, mask=column < columns, other=float("-inf")).to(tl.float32) * LOG2_E
            higher = tl.maximum(peaks, x)
            base = tl.where(higher == float("-inf"), 0.0, higher)
            totals = totals * tl.exp2(peaks - base) + tl.exp2(x - base)
            peaks = higher
            first += PROGRAMS * TILE
        peak = tl.maximum(tl.max(kept, 0).to(tl.float32) * LOG2_E, tl.max(peaks, 0))
        base = tl.where(peak == float("-inf"), 0.0, peak)
        total = tl.sum(tl.exp2(kept.to(tl.float32) * LOG2_E - base), 0) + tl.sum(totals * tl.exp2(peaks - base), 0)

        tl.atomic_xchg(word_ptr + program, pack(peak, total), sem="relaxed")
        other = tl.arange(0, WORDS)
        nothing = 0xFF800000  # the word of no program: -inf and 0
        words = tl.load(word_ptr + other, mask=other < PROGRAMS, other=nothing, volatile=True)
        while tl.min((words != 0).to(tl.int32), 0) == 0:
            words = tl.load(word_ptr + other, mask=other < PROGRAMS, other=nothing, volatile=True)
        # a warp that holds copies of another's words may have read them before they were there
        words = tl.load(word_ptr + other, mask=other < PROGRAMS, other=nothing, volatile=True)
        all_peaks, all_totals = unpack(words)
        highest = tl.max(all_peaks, 0)
        scale = 1.0 / tl.sum(all_totals * tl.exp2(all_peaks - highest), 0)

        for _ in tl.range(own, num_stages=3):
            first -= PROGRAMS * TILE
            column = first + lane
            x = tl.load(x_ptr + start + column, mask=column < columns, other=0.0, eviction_policy="evict_first")
            result = tl.exp2(x.to(tl.float32) * LOG2_E - highest) * scale
            tl.store(
                out_ptr + start + column,
                result.to(out_ptr.dtype.element_ty),
                mask=column < columns,
                eviction_policy="evict_first",
            )
        result = tl.exp2(kept.to(tl.float32) * LOG2_E - highest) * scale
        tl.store(
            out_ptr + start + kept_at,
            result.to(out_ptr.dtype.element_ty),
            mask=kept_at < columns,
            eviction_policy="evict_first",
        )
        start += columns
        word_ptr += PROGRAMS


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

    if columns % V == 0 and columns < 2**31 - HELD * 1024:
        # interpreted, programs run one after another: none may wait for a later one
        alone = triton.knobs.runtime.interpret
        programs = 1 if alone else torch.cuda.get_device_properties(x.device).multi_processor_count
        words = torch.zeros(rows * programs, device=x.device, dtype=torch.int64)
        held_kernel[(programs,)](
            x,
            out,
            words,
            rows,
            columns,
            max(triton.cdiv(columns - programs * HELD, WALKED), 0),
            PROGRAMS=programs,
            WORDS=triton.next_power_of_2(programs),
            HELD=HELD,
            TILE=WALKED,
            num_warps=16,
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

"""Memory: both outputs stay in L2 as long as there is room, instead of leaving first.

Stage:   memory
Change:  stores have no eviction policy; loads of x and residual, which are read once, keep theirs.
Why:     softmax of 16384 x 4096 in float32 took 183.0 us before its loads and stores were given evict_first, and 188.6
         after; no number of warps brought that back. What is stored to leave first is written to DRAM within the
         launch; without it up to 50 MB stay in L2 until something needs the room. Who reads the normalised rows or the
         new residual next, which is the layer that follows, finds a part of them there.
Expect:  time_x 0.955..1.00, sol_pct 97..102, rows_4096/bfloat16: time_x 0.95..1.00,
         rows_4096/float32: time_x 0.96..1.00, ragged_10007/bfloat16: time_x 0.95..1.00,
         rows_32768/bfloat16: time_x 0.955..1.00
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl

MOST_COLUMNS = 32768  # of a row in registers
SHORT = 1024  # columns of rows of which a program takes several, aligned or not
PART = 8192  # columns a program takes of a longer row
MOST_PARTS = 32  # of a row: their words fit a warp, and far more programs are resident on a GPU
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
    tl.store(sum_ptr + offset, rounded, mask=inside)
    x = rounded.to(tl.float32)
    scale = tl.rsqrt(tl.sum(x * x, 1) / columns + eps)
    weight = tl.load(weight_ptr + column, mask=column < columns, other=0.0).to(tl.float32)
    out = (x * scale[:, None] * weight[None, :]).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + offset, out, mask=inside)


@triton.jit
def exchange(word_ptr, first, own, parts, value, PARTS: tl.constexpr):
    """Leave a float32 in the word of part `own`, wait for those of all parts from `first` on, and return their sum.

    A word is one int64, written and read in one piece: the bits of a float32 below a 1, and 0 until it is there. All
    words of a row lie in one warp, so that each warp sees for itself that they are there.
    """
    bits = value.to(tl.int32, bitcast=True).to(tl.int64) & 0xFFFFFFFF
    tl.atomic_xchg(word_ptr + own, bits | (tl.full([], 1, tl.int64) << 32), sem="relaxed")
    part = tl.arange(0, PARTS)
    words = tl.load(word_ptr + first + part, mask=part < parts, other=1 << 32, volatile=True)
    while tl.min(words, 0) == 0:
        words = tl.load(word_ptr + first + part, mask=part < parts, other=1 << 32, volatile=True)
    return tl.sum(words.to(tl.int32).to(tl.float32, bitcast=True), 0)


@triton.jit
def shift_kernel(weight_ptr, shifted_ptr, columns, pitch, BLOCK_SIZE: tl.constexpr):
    column = tl.program_id(0) * BLOCK_SIZE + tl.arange(0, BLOCK_SIZE)
    head = tl.program_id(1)  # columns that a copy leaves out in front
    weight = tl.load(weight_ptr + head + column, mask=head + column < columns, other=0.0)
    tl.store(shifted_ptr + head * pitch + column, weight, mask=column < pitch)


@triton.jit
def parts_kernel(
    x_ptr,
    residual_ptr,
    weight_ptr,
    out_ptr,
    sum_ptr,
    shifted_ptr,  # the weight without its first 0, 1, ... V - 1 columns
    word_ptr,  # of each part: its sum of squares
    ticket_ptr,
    columns,
    pitch,  # of the copies of the weight, a multiple of 16
    parts,  # programs that share a row
    eps,
    PARTS: tl.constexpr,  # a power of 2 from parts on; 1: no exchange
    PART: tl.constexpr,  # columns of each
    V: tl.constexpr,  # elements in 16 bytes
    EDGES: tl.constexpr,  # rows may begin between two vectors
    REST: tl.constexpr,  # columns behind PART of a row that is one part; 0: none
    OFFSET: tl.constexpr,  # tl.int64 once the tensor has 2^31 elements
):
    number = tl.program_id(0)
    if PARTS > 1:
        # tickets are given out in order: when the last program of a row waits, the others run or have ended
        number = tl.atomic_add(ticket_ptr, 1, sem="relaxed").to(tl.int32)
    row = number // parts
    part = number % parts
    start = row.to(OFFSET) * columns

    begin = start
    head = 0
    whole = columns
    if EDGES:  # the row's whole vectors, from the first multiple of V elements on
        begin = (start + V - 1) // V * V
        head = (begin - start).to(tl.int32)  # elements before them
        whole = (columns - head) // V * V
    column = part * PART + tl.arange(0, PART)
    inside = column < whole
    offset = begin + column
    x = tl.load(x_ptr + offset, mask=inside, other=0.0, eviction_policy="evict_first").to(tl.float32)
    x += tl.load(residual_ptr + offset, mask=inside, other=0.0, eviction_policy="evict_first").to(tl.float32)
    rounded = x.to(sum_ptr.dtype.element_ty)
    tl.store(sum_ptr + offset, rounded, mask=inside)
    x = rounded.to(tl.float32)
    weight = tl.load(shifted_ptr + head * pitch + column, mask=inside, other=0.0).to(tl.float32)

    squares = tl.sum(x * x, 0)
    if REST > 0:  # a power of 2, too: together they fit the row closer than one does
        more = PART + tl.arange(0, REST)
        also = more < whole
        y = tl.load(x_ptr + begin + more, mask=also, other=0.0, eviction_policy="evict_first").to(tl.float32)
        y += tl.load(residual_ptr + begin + more, mask=also, other=0.0, eviction_policy="evict_first").to(tl.float32)
        rounded_rest = y.to(sum_ptr.dtype.element_ty)
        tl.store(sum_ptr + begin + more, rounded_rest, mask=also)
        y = rounded_rest.to(tl.float32)
        rest_weight = tl.load(shifted_ptr + head * pitch + more, mask=also, other=0.0).to(tl.float32)
        squares += tl.sum(y * y, 0)

    if EDGES:  # the fewer than V elements before them, and those behind them: the first part's
        lane = tl.arange(0, 2 * V)
        edge = tl.where(lane < V, lane, head + whole + lane - V)
        outside = tl.where(lane < V, lane < head, edge < columns) & (part == 0)
        z = tl.load(x_ptr + start + edge, mask=outside, other=0.0).to(tl.float32)
        z += tl.load(residual_ptr + start + edge, mask=outside, other=0.0).to(tl.float32)
        rounded_edge = z.to(sum_ptr.dtype.element_ty)
        tl.store(sum_ptr + start + edge, rounded_edge, mask=outside)
        z = rounded_edge.to(tl.float32)
        edge_weight = tl.load(weight_ptr + edge, mask=outside, other=0.0).to(tl.float32)
        squares += tl.sum(z * z, 0)

    if PARTS > 1:
        squares = exchange(word_ptr, row * parts, number, parts, squares, PARTS)
    scale = tl.rsqrt(squares / columns + eps)
    out = (x * scale * weight).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + offset, out, mask=inside)
    if REST > 0:
        rest_out = (y * scale * rest_weight).to(out_ptr.dtype.element_ty)
        tl.store(out_ptr + begin + more, rest_out, mask=also)
    if EDGES:
        tl.store(out_ptr + start + edge, (z * scale * edge_weight).to(out_ptr.dtype.element_ty), mask=outside)


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
    if columns < SHORT or (columns <= MOST_COLUMNS and columns % 16 == 0):
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

    V = 16 // x.element_size()
    EDGES = columns % 16 != 0
    alone = columns <= MOST_COLUMNS or triton.knobs.runtime.interpret  # it runs programs one after another
    part = triton.next_power_of_2(columns) if alone else PART
    rest = 0
    if alone and columns <= MOST_COLUMNS and columns - part // 2 <= part // 4:  # 8192 and 2048 for 10007, not 16384
        part //= 2
        rest = max(triton.next_power_of_2(columns - part), V)
    parts = triton.cdiv(columns // V * V, part) if rest == 0 else 1
    if parts <= MOST_PARTS:
        make = torch.zeros if parts > 1 else torch.empty  # one part exchanges nothing
        words = make(rows * parts + 1, device=x.device, dtype=torch.int64)
        pitch = triton.cdiv(columns, 16) * 16
        shifted = weight
        if EDGES:
            shifted = torch.empty(V, pitch, device=x.device, dtype=x.dtype)
            shift_kernel[(triton.cdiv(pitch, 1024), V)](weight, shifted, columns, pitch, BLOCK_SIZE=1024)
        parts_kernel[(rows * parts,)](
            x,
            residual,
            weight,
            out,
            new_residual,
            shifted,
            words,
            words[-1:],  # counts tickets
            columns,
            pitch,
            parts,
            eps,
            PARTS=triton.next_power_of_2(parts),
            PART=part,
            V=V,
            EDGES=EDGES,
            REST=rest,
            OFFSET=tl.int64 if x.numel() + parts * part >= 2**31 else tl.int32,
            num_warps=warps(part),
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

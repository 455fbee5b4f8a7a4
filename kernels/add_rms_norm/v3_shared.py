"""Shared rows: a row above 32768 columns is shared by programs that exchange their sums of squares.

Stage:   memory
Change:  each program keeps 8192 columns of a long row in registers, leaves its sum of squares as one word with a mark
         that it is there, waits for the words of its row, and writes. A counter numbers the programs in the order in
         which they start. Rows of more than 32 parts keep v0's two loops.
Why:     v2 reads the sums of rows of 131072 columns twice, 1.25 times the compulsory bytes. In registers of several SMs
         a row fits. A sketch on an H100 with parts of 8192 columns and 8 warps came to 97.8 % of a copy in bfloat16 and
         97.1 % in float32. Shorter rows are left alone.
Expect:  time_x 0.99..1.01, rows_131072/bfloat16: time_x 0.66..0.85, rows_131072/bfloat16: sol_pct 94..99,
         rows_131072/bfloat16: excess_traffic 0.98..1.03, rows_131072/float32: sol_pct 94..99,
         rows_131072/float32: excess_traffic 0.98..1.03, rows_32768/float32: time_x 0.99..1.01
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl

MOST_COLUMNS = 32768  # of a row in registers
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
    tl.store(sum_ptr + offset, rounded, mask=inside, eviction_policy="evict_first")
    x = rounded.to(tl.float32)
    scale = tl.rsqrt(tl.sum(x * x, 1) / columns + eps)
    weight = tl.load(weight_ptr + column, mask=column < columns, other=0.0).to(tl.float32)
    out = (x * scale[:, None] * weight[None, :]).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + offset, out, mask=inside, eviction_policy="evict_first")


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
def shared_rows_kernel(
    x_ptr,
    residual_ptr,
    weight_ptr,
    out_ptr,
    sum_ptr,
    word_ptr,  # of each part: its sum of squares
    ticket_ptr,
    columns,
    parts,  # programs that share a row
    eps,
    PARTS: tl.constexpr,  # a power of 2 from parts on
    PART: tl.constexpr,  # columns of each
    OFFSET: tl.constexpr,  # tl.int64 once the tensor has 2^31 elements
):
    # tickets are given out in order: when the last program of a row waits, the others run or have ended
    number = tl.atomic_add(ticket_ptr, 1, sem="relaxed").to(tl.int32)
    row = number // parts
    column = number % parts * PART + tl.arange(0, PART)
    inside = column < columns
    offset = row.to(OFFSET) * columns + column
    x = tl.load(x_ptr + offset, mask=inside, other=0.0, eviction_policy="evict_first").to(tl.float32)
    x += tl.load(residual_ptr + offset, mask=inside, other=0.0, eviction_policy="evict_first").to(tl.float32)
    rounded = x.to(sum_ptr.dtype.element_ty)
    tl.store(sum_ptr + offset, rounded, mask=inside, eviction_policy="evict_first")
    x = rounded.to(tl.float32)
    weight = tl.load(weight_ptr + column, mask=inside, other=0.0).to(tl.float32)
    squares = exchange(word_ptr, row * parts, number, parts, tl.sum(x * x, 0), PARTS)
    out = (x * tl.rsqrt(squares / columns + eps) * weight).to(out_ptr.dtype.element_ty)
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

    # the interpreter runs programs one after another: there a row has one part
    part = triton.next_power_of_2(columns) if triton.knobs.runtime.interpret else PART
    parts = triton.cdiv(columns, part)
    if parts <= MOST_PARTS:
        words = torch.zeros(rows * parts + 1, device=x.device, dtype=torch.int64)  # the last one counts tickets
        shared_rows_kernel[(rows * parts,)](
            x,
            residual,
            weight,
            out,
            new_residual,
            words,
            words[-1:],
            columns,
            parts,
            eps,
            PARTS=triton.next_power_of_2(parts),
            PART=part,
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

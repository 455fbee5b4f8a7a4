"""Grid: rows are split over programs, and maximum and sum come from one pass.

Stage:   grid
Change:  two kernels over (row, part): one leaves maximum and sum of a part, its sum scaled anew where the maximum
         rises; the other puts a row's parts together and writes. As many parts as make 4096 programs.
Why:     v0 reads each element three times, and one row alone gets one program of 132 SMs. Now two reads and a write:
         3.22 GB instead of 4.29 GB for the main case in float32, 0.75 of the bytes.
Expect:  time_x 0.70..0.80, excess_traffic 1.45..1.55, sol_pct 55..67, dram_pct > 78,
         rows_4096/float32: time_x 1.15..1.55, one_row/float32: sol_pct 50..66
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl

PROGRAMS = 4096  # some 30 for each SM of an H100


@triton.jit
def add_block(peak, total, x):
    """Maximum and sum of exponentials below it, with the elements x added."""
    higher = tl.maximum(peak, tl.max(x, 0))
    base = tl.where(higher == float("-inf"), 0.0, higher)  # -inf - -inf is no number
    return higher, total * tl.exp(peak - base) + tl.sum(tl.exp(x - base), 0)


@triton.jit
def parts_kernel(
    x_ptr,
    peak_ptr,
    total_ptr,
    columns,
    parts,
    blocks,  # of a part
    BLOCK_SIZE: tl.constexpr,
    INDEX: tl.constexpr,  # tl.int64 for rows of some 2^31 columns
):
    program = tl.program_id(0)
    start = (program // parts).to(tl.int64) * columns
    first = (program % parts).to(INDEX) * blocks * BLOCK_SIZE
    peak = float("-inf")
    total = 0.0
    for block in range(blocks):
        column = first + block * BLOCK_SIZE + tl.arange(0, BLOCK_SIZE)
        x = tl.load(x_ptr + start + column, mask=column < columns, other=float("-inf")).to(tl.float32)
        peak, total = add_block(peak, total, x)
    tl.store(peak_ptr + program, peak)
    tl.store(total_ptr + program, total)


@triton.jit
def softmax_kernel(
    x_ptr,
    out_ptr,
    peak_ptr,
    total_ptr,
    columns,
    parts,
    blocks,
    PARTS: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    INDEX: tl.constexpr,
):
    program = tl.program_id(0)
    row = program // parts
    part = tl.arange(0, PARTS)
    peaks = tl.load(peak_ptr + row * parts + part, mask=part < parts, other=float("-inf"))
    totals = tl.load(total_ptr + row * parts + part, mask=part < parts, other=0.0)
    peak = tl.max(peaks, 0)
    total = tl.sum(tl.where(peaks == float("-inf"), 0.0, totals * tl.exp(peaks - peak)), 0)

    start = row.to(tl.int64) * columns
    first = (program % parts).to(INDEX) * blocks * BLOCK_SIZE
    for block in range(blocks):  # reads each element a second time
        column = first + block * BLOCK_SIZE + tl.arange(0, BLOCK_SIZE)
        inside = column < columns
        x = tl.load(x_ptr + start + column, mask=inside, other=float("-inf")).to(tl.float32)
        result = tl.exp(x - peak) / total
        tl.store(out_ptr + start + column, result.to(out_ptr.dtype.element_ty), mask=inside)


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
    BLOCK_SIZE = 1024
    row_blocks = triton.cdiv(columns, BLOCK_SIZE)
    blocks = triton.cdiv(row_blocks, max(PROGRAMS // rows, 1))
    parts = triton.cdiv(row_blocks, blocks)
    INDEX = tl.int64 if columns + blocks * BLOCK_SIZE >= 2**31 else tl.int32
    peaks = torch.empty(rows * parts, device=x.device, dtype=torch.float32)
    totals = torch.empty_like(peaks)
    grid = (rows * parts,)
    parts_kernel[grid](x, peaks, totals, columns, parts, blocks, BLOCK_SIZE=BLOCK_SIZE, INDEX=INDEX)
    softmax_kernel[grid](
        x,
        out,
        peaks,
        totals,
        columns,
        parts,
        blocks,
        PARTS=triton.next_power_of_2(parts),
        BLOCK_SIZE=BLOCK_SIZE,
        INDEX=INDEX,
    )
    return out


class ModelNew(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return softmax(x)

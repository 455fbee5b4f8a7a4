"""Grid: long rows are split over programs, which first sum their parts and then scan them.

Stage:   grid
Change:  where rows are few, each is cut into as many parts as make 1536 programs. One kernel sums the parts, a second
         adds the sums of the parts before its own and goes on as v0 does.
Why:     v0 keeps one SM of 132 busy in the main case, and there with one block of 4 KB on its way. 1536 programs are
         one round of 12 an SM, all of the same length. The sums cost a read more, 1.5 times the compulsory traffic: 268
         MB in some 95 us, 537 MB in some 200. Rows enough keep v0's way.
Expect:  time_x 0.0015..0.0050, sol_pct 48..64, excess_traffic 1.45..1.55, dram_pct > 70, warps_active_pct > 55,
         rows_16384/float32: time_x 0.97..1.05, rows_131072/float32: time_x 0.60..0.95
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl

PROGRAMS = 1536  # one round of 4 warps each on an H100


@triton.jit
def sums_kernel(
    x_ptr,
    sum_ptr,
    columns,
    parts,
    blocks,  # of a part
    BLOCK_SIZE: tl.constexpr,
    INDEX: tl.constexpr,  # tl.int64 for rows of some 2^31 columns
):
    program = tl.program_id(0)
    start = (program // parts).to(tl.int64) * columns
    first = (program % parts).to(INDEX) * blocks * BLOCK_SIZE
    sums = tl.zeros([BLOCK_SIZE], dtype=tl.float32)  # a lane's own; they meet once, after the loop
    for block in range(blocks):
        column = first + block * BLOCK_SIZE + tl.arange(0, BLOCK_SIZE)
        sums += tl.load(x_ptr + start + column, mask=column < columns, other=0.0).to(tl.float32)
    tl.store(sum_ptr + program, tl.sum(sums, 0))


@triton.jit
def cumsum_kernel(
    x_ptr,
    out_ptr,
    sum_ptr,
    columns,
    parts,
    blocks,
    PARTS: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    INDEX: tl.constexpr,
):
    program = tl.program_id(0)
    row = program // parts
    start = row.to(tl.int64) * columns
    first = (program % parts).to(INDEX) * blocks * BLOCK_SIZE
    carry = 0.0
    if PARTS > 1:
        part = tl.arange(0, PARTS)
        carry += tl.sum(tl.load(sum_ptr + row * parts + part, mask=part < program % parts, other=0.0), 0)
    for block in range(blocks):
        column = first + block * BLOCK_SIZE + tl.arange(0, BLOCK_SIZE)
        inside = column < columns
        x = tl.load(x_ptr + start + column, mask=inside, other=0.0).to(tl.float32)
        result = tl.cumsum(x, 0) + carry
        tl.store(out_ptr + start + column, result.to(out_ptr.dtype.element_ty), mask=inside)
        carry += tl.sum(x, 0)


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
    BLOCK_SIZE = min(triton.next_power_of_2(columns), 1024)
    row_blocks = triton.cdiv(columns, BLOCK_SIZE)
    blocks = triton.cdiv(row_blocks, max(PROGRAMS // rows, 1))
    parts = triton.cdiv(row_blocks, blocks)
    INDEX = tl.int64 if columns + blocks * BLOCK_SIZE >= 2**31 else tl.int32
    sums = torch.empty(rows * parts, device=x.device, dtype=torch.float32)
    grid = (rows * parts,)
    if parts > 1:
        sums_kernel[grid](x, sums, columns, parts, blocks, BLOCK_SIZE=BLOCK_SIZE, INDEX=INDEX)
    cumsum_kernel[grid](
        x,
        out,
        sums,
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
        return cumsum(x)

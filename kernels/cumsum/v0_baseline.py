"""Baseline: a program owns a row and walks it in blocks of 1024, each scanned and moved by the sum so far.

Stage:   baseline
Change:  the algorithm that the ladder starts from: a loop of load, scan, store, with one number carried.
Why:     the shortest correct kernel, with the compulsory traffic. The main case is one row, so one program of 4 warps
         on one of 132 SMs: 65536 blocks, one trip to DRAM and one scan each, 1 to 2 us, one after the other.
Expect:  sol_pct 0.10..0.30, grid_size 1..1, dram_pct < 1, warps_active_pct < 7, excess_traffic 0.95..1.10,
         rows_16384/float32: sol_pct 50..85
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def cumsum_kernel(
    x_ptr,
    out_ptr,
    columns,
    blocks,
    BLOCK_SIZE: tl.constexpr,
    INDEX: tl.constexpr,  # tl.int64 for rows of some 2^31 columns
):
    start = tl.program_id(0).to(tl.int64) * columns
    carry = 0.0
    for block in range(blocks):
        column = tl.cast(block, INDEX) * BLOCK_SIZE + tl.arange(0, BLOCK_SIZE)
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
    BLOCK_SIZE = min(triton.next_power_of_2(columns), 1024)
    cumsum_kernel[(x.numel() // columns,)](
        x,
        out,
        columns,
        triton.cdiv(columns, BLOCK_SIZE),
        BLOCK_SIZE=BLOCK_SIZE,
        INDEX=tl.int64 if columns + BLOCK_SIZE >= 2**31 else tl.int32,
    )
    return out


class ModelNew(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return cumsum(x)

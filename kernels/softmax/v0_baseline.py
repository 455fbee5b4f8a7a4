"""Baseline: a program owns a row and walks it three times: maximum, sum of exponentials, result.

Stage:   baseline
Change:  the algorithm that the ladder starts from: three loops over blocks of 1024 columns.
Why:     the shortest correct kernel. All 2048 rows of the main case are on the GPU at once, 1 GB in float32, so each
         pass asks DRAM again: three reads and one write where one and one are compulsory.
Expect:  excess_traffic 1.90..2.05, sol_pct 40..50, dram_pct > 78, sm_pct < 60, l2_hit_pct < 40,
         rows_4096/float32: sol_pct 60..92
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def softmax_kernel(
    x_ptr,
    out_ptr,
    columns,
    blocks,
    BLOCK_SIZE: tl.constexpr,
    INDEX: tl.constexpr,  # tl.int64 for rows of some 2^31 columns
):
    start = tl.program_id(0).to(tl.int64) * columns
    lanes = tl.arange(0, BLOCK_SIZE)

    peak = float("-inf")
    for block in range(blocks):
        column = tl.cast(block, INDEX) * BLOCK_SIZE + lanes
        x = tl.load(x_ptr + start + column, mask=column < columns, other=float("-inf")).to(tl.float32)
        peak = tl.maximum(peak, tl.max(x, 0))

    total = 0.0
    for block in range(blocks):  # reads each element a second time
        column = tl.cast(block, INDEX) * BLOCK_SIZE + lanes
        x = tl.load(x_ptr + start + column, mask=column < columns, other=float("-inf")).to(tl.float32)
        total += tl.sum(tl.exp(x - peak), 0)

    for block in range(blocks):  # and a third time
        column = tl.cast(block, INDEX) * BLOCK_SIZE + lanes
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
    BLOCK_SIZE = 1024
    softmax_kernel[(x.numel() // columns,)](
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
        return softmax(x)

"""Baseline: a program has 256 columns of one row, two a thread.

Stage:   baseline
Change:  the kernel that the ladder starts from: gate and values of a block are loaded, one block is stored.
Why:     the shortest correct kernel. Bytes are compulsory in one pass, 1.4 GB of main in bfloat16; but a thread asks
         for 4 bytes at a time there, and a program of 1.5 kB hardly lasts longer than its own start.
Expect:  sol_pct 50..92, excess_traffic 0.98..1.03, sm_pct < 70
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl

BLOCK_SIZE = 256


@triton.jit
def row_kernel(
    x_ptr,
    out_ptr,
    columns,
    blocks,  # of a row
    BLOCK_SIZE: tl.constexpr,
):
    row = (tl.program_id(0) // blocks).to(tl.int64)
    column = tl.program_id(0) % blocks * BLOCK_SIZE + tl.arange(0, BLOCK_SIZE)
    inside = column < columns
    gate = tl.load(x_ptr + row * 2 * columns + column, mask=inside, other=0.0).to(tl.float32)
    values = tl.load(x_ptr + row * 2 * columns + columns + column, mask=inside, other=0.0).to(tl.float32)
    out = gate / (1.0 + tl.exp(-gate)) * values
    tl.store(out_ptr + row * columns + column, out.to(out_ptr.dtype.element_ty), mask=inside)


def swiglu(x):
    """x (..., 2 * columns) -> silu of the first half of each row times the second, (..., columns)."""
    if x.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        raise TypeError(f"swiglu: wants float32, float16 or bfloat16, got {x.dtype}")
    if x.dim() == 0 or x.shape[-1] % 2:
        raise ValueError(f"swiglu: wants x (..., 2 * columns), got {tuple(x.shape)}")
    x = x.contiguous()
    columns = x.shape[-1] // 2
    out = torch.empty((*x.shape[:-1], columns), device=x.device, dtype=x.dtype)
    if out.numel() == 0:
        return out
    blocks = triton.cdiv(columns, BLOCK_SIZE)
    row_kernel[(out.numel() // columns * blocks,)](x, out, columns, blocks, BLOCK_SIZE=BLOCK_SIZE, num_warps=4)
    return out


class ModelNew(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return swiglu(x)

"""Tiles: 2048 columns a program, eight a thread, and data that is used once leaves the caches first.

Stage:   tiling
Change:  a block of 2048 columns for 8 warps in place of 256 for 4; loads and stores marked evict_first.
Why:     v0 asks for 4 bytes a thread and request in bfloat16; eight columns are 16, the widest there is. A seventh of
         the programs starts, and two loads of 4 kB each are on their way in each. Rows of 1408 columns leave a third of
         the threads idle. Rows that begin at any address are loaded by element, before and now.
Expect:  time_x 0.60..0.97, sol_pct 88..99, dram_pct > 80, rows_1408/bfloat16: sol_pct 70..96
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl

BLOCK_SIZE = 2048


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
    gate = tl.load(x_ptr + row * 2 * columns + column, mask=inside, other=0.0, eviction_policy="evict_first").to(
        tl.float32
    )
    values = tl.load(
        x_ptr + row * 2 * columns + columns + column, mask=inside, other=0.0, eviction_policy="evict_first"
    ).to(tl.float32)
    out = gate / (1.0 + tl.exp(-gate)) * values
    tl.store(
        out_ptr + row * columns + column, out.to(out_ptr.dtype.element_ty), mask=inside, eviction_policy="evict_first"
    )


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
    row_kernel[(out.numel() // columns * blocks,)](x, out, columns, blocks, BLOCK_SIZE=BLOCK_SIZE, num_warps=8)
    return out


class ModelNew(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return swiglu(x)

"""Flat: the result is one row of all elements, dealt out in blocks that are always full.

Stage:   grid
Change:  a program has 2048 elements of the result, of whichever rows; row and column are found by a division.
Why:     rows of 1408 columns fill 69 % of v1's threads, and the end of a row of 10007 a part of the last block. A row
         length that 16 divides keeps the loads at 16 bytes: the compiler knows that no vector crosses a row. main
         divides into whole blocks already and gains nothing; the division costs integer instructions, not bytes.
Expect:  time_x 0.97..1.04, sol_pct 88..99, rows_1408/bfloat16: time_x 0.70..0.98, rows_1408/bfloat16: sol_pct 84..99,
         ragged_10007/bfloat16: time_x 0.80..1.15
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl

BLOCK_SIZE = 2048


@triton.jit
def flat_kernel(
    x_ptr,
    out_ptr,
    size,  # of the result
    columns,
    BLOCK_SIZE: tl.constexpr,
    INDEX: tl.constexpr,  # tl.int64 once x has 2^31 elements
):
    place = tl.program_id(0).to(INDEX) * BLOCK_SIZE + tl.arange(0, BLOCK_SIZE)
    inside = place < size
    gate_at = x_ptr + (place // columns) * 2 * columns + place % columns
    gate = tl.load(gate_at, mask=inside, other=0.0, eviction_policy="evict_first").to(tl.float32)
    values = tl.load(gate_at + columns, mask=inside, other=0.0, eviction_policy="evict_first").to(tl.float32)
    out = gate / (1.0 + tl.exp(-gate)) * values
    tl.store(out_ptr + place, out.to(out_ptr.dtype.element_ty), mask=inside, eviction_policy="evict_first")


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
    flat_kernel[(triton.cdiv(out.numel(), BLOCK_SIZE),)](
        x,
        out,
        out.numel(),
        columns,
        BLOCK_SIZE=BLOCK_SIZE,
        INDEX=tl.int64 if x.numel() + 2 * BLOCK_SIZE >= 2**31 else tl.int32,
        num_warps=8,
    )
    return out


class ModelNew(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return swiglu(x)

"""Baseline: a program owns a row: one loop adds, stores the sum and squares it, another reads the sum and scales it.

Stage:   baseline
Change:  the algorithm that the ladder starts from: two loops over blocks of 1024 columns.
Why:     the shortest correct kernel. The sum of a row is read a second time, one byte to four compulsory ones. Some
         2000 programs of the main case run at a time and move 100 MB during one loop over a row of 16 KB, twice an
         H100's L2: a part of the second reads goes to DRAM, for rows of 131072 columns all of them.
Expect:  excess_traffic 1.02..1.27, sol_pct 68..92, dram_pct > 75, sm_pct < 60,
         rows_131072/bfloat16: excess_traffic 1.18..1.27, rows_131072/bfloat16: sol_pct 65..82
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def add_rms_norm_kernel(
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
    BLOCK_SIZE = 1024
    add_rms_norm_kernel[(x.numel() // columns,)](
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

"""Baseline: a matrix product of 64 rows a program, the tokens padded to the 16 that the tensor cores take.

Stage:   baseline
Change:  the algorithm that the ladder starts from: one program for 64 outputs of 16 tokens, in blocks of 64 columns.
Why:     the shortest correct kernel, and the matrix product of the tutorials. 8192 rows are 128 programs, one for each
         of an H100's 132 SMs; each asks for 8 KB of the weight, waits, multiplies, and asks again. 1 MB on its way at
         a time, a microsecond for each round trip: about 1 TB/s of 3. One token pays as much as 16.
Expect:  sol_pct 12..45, dram_pct < 50, grid_size 128..128, tokens_16/bfloat16: sol_pct 12..45
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def tokens_kernel(
    x_ptr,
    weight_ptr,
    out_ptr,
    tokens,
    rows,
    columns,
    TOKENS: tl.constexpr,  # of a tile: 16, the fewest that the tensor cores multiply
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    STAGES: tl.constexpr,
):
    token = tl.program_id(1) * TOKENS + tl.arange(0, TOKENS)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    lane = tl.arange(0, COLUMNS)
    x_ptrs = x_ptr + token[:, None] * columns
    weight_ptrs = weight_ptr + row.to(tl.int64)[None, :] * columns
    sums = tl.zeros([TOKENS, ROWS], dtype=tl.float32)
    for first in tl.range(0, columns, COLUMNS, num_stages=STAGES):
        column = first + lane
        x = tl.load(x_ptrs + column[None, :], mask=(token < tokens)[:, None] & (column < columns)[None, :], other=0.0)
        weight = tl.load(
            weight_ptrs + column[:, None], mask=(column < columns)[:, None] & (row < rows)[None, :], other=0.0
        )
        sums = tl.dot(x, weight, sums, input_precision="ieee")
    tl.store(
        out_ptr + token.to(tl.int64)[:, None] * rows + row[None, :],
        sums.to(out_ptr.dtype.element_ty),
        mask=(token < tokens)[:, None] & (row < rows)[None, :],
    )


def gemv(x, weight):
    """x (..., columns), weight (rows, columns) -> (..., rows) in the same dtype."""
    if x.dim() == 0 or x.shape[-1] != weight.shape[1]:
        raise ValueError(f"gemv: wants x of shape (..., {weight.shape[1]}), got {tuple(x.shape)}")
    if x.dtype not in (torch.float32, torch.float16, torch.bfloat16) or x.dtype != weight.dtype:
        raise TypeError(f"gemv: wants float32, float16 or bfloat16 throughout, got {x.dtype}, {weight.dtype}")
    x, weight = x.contiguous(), weight.contiguous()
    rows, columns = weight.shape
    tokens = x.shape[:-1].numel()
    make = torch.empty if columns else torch.zeros  # sums of nothing
    out = make(*x.shape[:-1], rows, device=x.device, dtype=x.dtype)
    if out.numel() == 0 or columns == 0:
        return out
    tokens_kernel[(triton.cdiv(rows, 64), triton.cdiv(tokens, 16))](
        x, weight, out, tokens, rows, columns, TOKENS=16, ROWS=64, COLUMNS=64, STAGES=1
    )
    return out


class ModelNew(nn.Module):
    def __init__(self, rows: int, columns: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(rows, columns))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return gemv(x, self.weight)

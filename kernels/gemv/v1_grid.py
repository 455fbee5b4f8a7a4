"""Grid: one token needs no tensor core: a program owns 4 rows, and 2048 programs keep loads on their way.

Stage:   grid
Change:  a single token is multiplied in registers, 4 rows and 1024 columns at a time, and summed along the columns at
         the end; more tokens take v0's kernel.
Why:     v0 has one program an SM and 8 KB of the weight on its way there. By Little's law 3 TB/s at a microsecond need
         some 23 KB an SM. Here an SM holds up to 16 programs that each ask for 8 KB, and x is 2 KB of L1 beside them.
         The multiply-adds in float32 and the conversions are some 10 us of issue slots spread over four schedulers,
         beside 45 us of DRAM.
Expect:  time_x 0.25..0.75, sol_pct 65..93, dram_pct > 55, grid_size 2048..2048, tokens_16/bfloat16: time_x 0.98..1.02
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


@triton.jit
def one_token_kernel(
    x_ptr,
    weight_ptr,
    out_ptr,
    rows,
    columns,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    lane = tl.arange(0, COLUMNS)
    weight_ptrs = weight_ptr + row.to(tl.int64)[:, None] * columns
    sums = tl.zeros([ROWS, COLUMNS], dtype=tl.float32)
    for first in range(0, columns, COLUMNS):
        column = first + lane
        x = tl.load(x_ptr + column, mask=column < columns, other=0.0).to(tl.float32)
        weight = tl.load(
            weight_ptrs + column[None, :],
            mask=(row < rows)[:, None] & (column < columns)[None, :],
            other=0.0,
        )
        sums += weight.to(tl.float32) * x[None, :]
    tl.store(out_ptr + row, tl.sum(sums, 1).to(out_ptr.dtype.element_ty), mask=row < rows)


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
    if tokens == 1:
        one_token_kernel[(triton.cdiv(rows, 4),)](x, weight, out, rows, columns, ROWS=4, COLUMNS=1024)
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

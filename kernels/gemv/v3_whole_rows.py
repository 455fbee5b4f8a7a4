"""Tiling: a program has two whole rows on their way at once, and waits a single time.

Stage:   tiling
Change:  a single token's rows of at most 8192 columns are one tile of 2 rows, loaded straight into registers: 64
         elements a thread. Longer rows loop over blocks of 2048 columns, four rows at a time, without stages. The
         weight, used once, leaves the caches first.
Why:     v1 goes through 8 round trips to DRAM for a row of 8192 columns, v2's copies pass through shared memory. In
         one tile all 32 KB of a program are asked for before the first wait, and nothing is left of the loop. Whole
         rows in registers are what brought softmax and norms to 97 % of a copy.
Expect:  time_x 0.85..1.02, sol_pct 82..97, registers < 128, tokens_16/bfloat16: time_x 0.99..1.01,
         down/bfloat16: sol_pct 78..97
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
            eviction_policy="evict_first",
        )
        sums += weight.to(tl.float32) * x[None, :]
    tl.store(out_ptr + row, tl.sum(sums, 1).to(out_ptr.dtype.element_ty), mask=row < rows)


@triton.jit
def whole_rows_kernel(
    x_ptr,
    weight_ptr,
    out_ptr,
    rows,
    columns,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,  # a power of 2 from columns on
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, COLUMNS)
    weight = tl.load(
        weight_ptr + row.to(tl.int64)[:, None] * columns + column[None, :],
        mask=(row < rows)[:, None] & (column < columns)[None, :],
        other=0.0,
        eviction_policy="evict_first",
    )
    x = tl.load(x_ptr + column, mask=column < columns, other=0.0)
    sums = tl.sum(weight.to(tl.float32) * x.to(tl.float32)[None, :], 1)
    tl.store(out_ptr + row, sums.to(out_ptr.dtype.element_ty), mask=row < rows)


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
    if tokens == 1 and columns <= 8192:
        COLUMNS = triton.next_power_of_2(columns)
        ROWS = 2
        whole_rows_kernel[(triton.cdiv(rows, ROWS),)](
            x,
            weight,
            out,
            rows,
            columns,
            ROWS=ROWS,
            COLUMNS=COLUMNS,
            num_warps=min(max(ROWS * COLUMNS // (32 * 64), 1), 8),
        )
        return out
    if tokens == 1:
        one_token_kernel[(triton.cdiv(rows, 4),)](x, weight, out, rows, columns, ROWS=4, COLUMNS=2048)
        return out

    tokens_kernel[(triton.cdiv(rows, 64), triton.cdiv(tokens, 16))](
        x, weight, out, tokens, rows, columns, TOKENS=16, ROWS=64, COLUMNS=128, STAGES=4
    )
    return out


class ModelNew(nn.Module):
    def __init__(self, rows: int, columns: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(rows, columns))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return gemv(x, self.weight)

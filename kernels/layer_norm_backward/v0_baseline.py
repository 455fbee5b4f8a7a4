"""Baseline: a program a row for the gradient of x, a program for 64 columns for those of weight and bias.

Stage:   baseline
Change:  the algorithm that the ladder starts from: two loops along a row, and a second kernel that walks down all rows.
Why:     the shortest correct kernels. The gradient of x and those of weight and bias are sums along different
         dimensions: x and the incoming gradient are read by the first loop, by the second in part from L2, and again by
         the second kernel. Five to seven tensors move where three are compulsory. The second kernel has 128
         programs of 4 warps for the main case, less than one for each SM.
Expect:  sol_pct 18..55, main/float32: sol_pct 25..60
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def long_rows_kernel(
    x_ptr,
    grad_ptr,
    mean_ptr,
    rstd_ptr,
    weight_ptr,
    grad_x_ptr,
    columns,
    blocks,
    BLOCK_SIZE: tl.constexpr,
    INDEX: tl.constexpr,  # tl.int64 for rows of some 2^31 columns
):
    row = tl.program_id(0)
    start = row.to(tl.int64) * columns
    mean = tl.load(mean_ptr + row)
    rstd = tl.load(rstd_ptr + row)
    sums = tl.zeros([BLOCK_SIZE], dtype=tl.float32)
    products = tl.zeros([BLOCK_SIZE], dtype=tl.float32)
    for block in range(blocks):
        column = tl.cast(block, INDEX) * BLOCK_SIZE + tl.arange(0, BLOCK_SIZE)
        inside = column < columns
        x = tl.load(x_ptr + start + column, mask=inside, other=0.0).to(tl.float32)
        grad = tl.load(grad_ptr + start + column, mask=inside, other=0.0).to(tl.float32)
        weighted = grad * tl.load(weight_ptr + column, mask=inside, other=0.0).to(tl.float32)
        sums += weighted
        products += weighted * (x - mean) * rstd
    average = tl.sum(sums, 0) / columns
    along = tl.sum(products, 0) / columns

    for block in range(blocks):  # reads each element a second time
        column = tl.cast(block, INDEX) * BLOCK_SIZE + tl.arange(0, BLOCK_SIZE)
        inside = column < columns
        x = tl.load(x_ptr + start + column, mask=inside, other=0.0).to(tl.float32)
        grad = tl.load(grad_ptr + start + column, mask=inside, other=0.0).to(tl.float32)
        weighted = grad * tl.load(weight_ptr + column, mask=inside, other=0.0).to(tl.float32)
        grad_x = (weighted - average - (x - mean) * rstd * along) * rstd
        tl.store(grad_x_ptr + start + column, grad_x.to(grad_x_ptr.dtype.element_ty), mask=inside)


@triton.jit
def columns_kernel(
    x_ptr,
    grad_ptr,
    mean_ptr,
    rstd_ptr,
    grad_weight_ptr,
    grad_bias_ptr,
    rows,
    columns,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    grad_weight = tl.zeros([ROWS, COLUMNS], dtype=tl.float32)
    grad_bias = tl.zeros([ROWS, COLUMNS], dtype=tl.float32)
    for first in range(0, rows, ROWS):
        row = first + tl.arange(0, ROWS)
        inside = (row < rows)[:, None] & (column < columns)[None, :]
        offset = row.to(tl.int64)[:, None] * columns + column[None, :]
        x = tl.load(x_ptr + offset, mask=inside, other=0.0).to(tl.float32)
        grad = tl.load(grad_ptr + offset, mask=inside, other=0.0).to(tl.float32)
        mean = tl.load(mean_ptr + row, mask=row < rows, other=0.0)
        rstd = tl.load(rstd_ptr + row, mask=row < rows, other=0.0)
        grad_weight += grad * (x - mean[:, None]) * rstd[:, None]
        grad_bias += grad
    kind = grad_weight_ptr.dtype.element_ty
    tl.store(grad_weight_ptr + column, tl.sum(grad_weight, 0).to(kind), mask=column < columns)
    tl.store(grad_bias_ptr + column, tl.sum(grad_bias, 0).to(kind), mask=column < columns)


def layer_norm_backward(x, grad, mean, rstd, weight):
    """x, grad (..., columns), mean, rstd (...) in float32, weight (columns,) -> gradients of x, weight and bias."""
    if x.dim() == 0 or x.shape[-1:] != weight.shape or grad.shape != x.shape:
        shapes = f"{tuple(x.shape)}, {tuple(grad.shape)}"
        raise ValueError(f"layer_norm_backward: wants x and grad of shape (..., {len(weight)}), got {shapes}")
    if mean.shape != x.shape[:-1] or rstd.shape != mean.shape:
        shapes = f"{tuple(mean.shape)}, {tuple(rstd.shape)}"
        raise ValueError(f"layer_norm_backward: wants mean and rstd of shape {tuple(x.shape[:-1])}, got {shapes}")
    if x.dtype not in (torch.float32, torch.float16, torch.bfloat16) or not x.dtype == grad.dtype == weight.dtype:
        dtypes = f"{x.dtype}, {grad.dtype}, {weight.dtype}"
        raise TypeError(f"layer_norm_backward: wants float32, float16 or bfloat16 throughout, got {dtypes}")
    if mean.dtype != torch.float32 or rstd.dtype != torch.float32:
        raise TypeError(f"layer_norm_backward: wants mean and rstd in float32, got {mean.dtype}, {rstd.dtype}")
    x, grad, weight = x.contiguous(), grad.contiguous(), weight.contiguous()
    mean, rstd = mean.contiguous(), rstd.contiguous()
    grad_x = torch.empty_like(x)
    grad_weight, grad_bias = torch.empty_like(weight), torch.empty_like(weight)
    columns = x.shape[-1]
    if columns == 0:
        return grad_x, grad_weight, grad_bias
    rows = x.numel() // columns
    BLOCK_SIZE = 1024
    if rows > 0:
        long_rows_kernel[(rows,)](
            x,
            grad,
            mean,
            rstd,
            weight,
            grad_x,
            columns,
            triton.cdiv(columns, BLOCK_SIZE),
            BLOCK_SIZE=BLOCK_SIZE,
            INDEX=tl.int64 if columns + BLOCK_SIZE >= 2**31 else tl.int32,
        )
    columns_kernel[(triton.cdiv(columns, 64),)](
        x, grad, mean, rstd, grad_weight, grad_bias, rows, columns, ROWS=32, COLUMNS=64
    )
    return grad_x, grad_weight, grad_bias


class ModelNew(nn.Module):
    def __init__(self, columns: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(columns))

    def forward(
        self, x: torch.Tensor, grad: torch.Tensor, mean: torch.Tensor, rstd: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return layer_norm_backward(x, grad, mean, rstd, self.weight)

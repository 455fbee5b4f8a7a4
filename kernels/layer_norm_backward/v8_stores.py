"""Memory: the gradient of x stays in L2 as long as there is room, instead of leaving first.

Stage:   memory
Change:  stores have no eviction policy; loads of x and grad, which are read once, keep theirs.
Why:     DRAM binds (87 %), warps and registers move nothing since v3. softmax lost 183.0 to 188.6 us on 16384 x 4096
         in float32 when loads and stores were given evict_first: what is stored to leave first is written to DRAM
         within the launch, the rest stays in L2 until something needs the room, and who reads the gradient next finds a
         part of it there. Here one byte of three is written, up to 50 MB of 268 (main, bfloat16) may stay.
Expect:  time_x 0.955..1.00, sol_pct 94..101, main/float32: time_x 0.965..1.00, rows_4096/bfloat16: time_x 0.93..1.00,
         rows_4096/float32: time_x 0.95..1.00, ragged_1023/float32: time_x 0.95..1.00
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl

MOST_COLUMNS = 16384  # of a row in registers
SMS = 132  # of an H100
WARPS = 8  # of an SM, of up to 255 registers a thread
ELEMENTS = 32  # a thread
FEW_ROWS = 256  # a launch, in which they are read twice


@triton.jit
def add_pairs(a, b, c, d):
    return a + c, b + d


@triton.jit
def rows_kernel(
    x_ptr,
    grad_ptr,
    mean_ptr,
    rstd_ptr,
    weight_ptr,
    grad_x_ptr,
    weight_part_ptr,
    bias_part_ptr,
    rows,
    columns,
    COLUMNS: tl.constexpr,
    STAGES: tl.constexpr,  # rows that are copied to shared memory ahead
):
    program = tl.program_id(0)
    column = tl.arange(0, COLUMNS)
    inside = column < columns
    weight = tl.load(weight_ptr + column, mask=inside, other=0.0)
    grad_weight = tl.zeros([COLUMNS], dtype=tl.float32)
    grad_bias = tl.zeros([COLUMNS], dtype=tl.float32)
    next_mean = tl.load(mean_ptr + program)
    next_rstd = tl.load(rstd_ptr + program)
    for row in tl.range(program, rows, tl.num_programs(0), num_stages=STAGES):
        mean = next_mean
        rstd = next_rstd
        following = tl.minimum(row + tl.num_programs(0), rows - 1)
        next_mean = tl.load(mean_ptr + following)
        next_rstd = tl.load(rstd_ptr + following)
        start = tl.cast(row, tl.int64) * columns
        x = tl.load(x_ptr + start + column, mask=inside, other=0.0, eviction_policy="evict_first").to(tl.float32)
        grad = tl.load(grad_ptr + start + column, mask=inside, other=0.0, eviction_policy="evict_first").to(tl.float32)
        normalised = (x - mean) * rstd
        weighted = grad * weight.to(tl.float32)
        total, product = tl.reduce((weighted, weighted * normalised), 0, add_pairs)
        average = total / columns
        along = product / columns
        grad_x = ((weighted - average - normalised * along) * rstd).to(grad_x_ptr.dtype.element_ty)
        tl.store(grad_x_ptr + start + column, grad_x, mask=inside)
        grad_weight += grad * normalised
        grad_bias += grad
    tl.store(weight_part_ptr + program * columns + column, grad_weight, mask=inside)
    tl.store(bias_part_ptr + program * columns + column, grad_bias, mask=inside)


@triton.jit
def edges_kernel(
    x_ptr,
    grad_ptr,
    mean_ptr,
    rstd_ptr,
    weight_ptr,
    grad_x_ptr,
    weight_part_ptr,
    bias_part_ptr,
    rows,
    columns,
    COLUMNS: tl.constexpr,
    V: tl.constexpr,  # elements of 16 bytes; the number of programs is a multiple, or that of the rows
    STAGES: tl.constexpr,  # rows that are copied to shared memory ahead
):
    program = tl.program_id(0)
    first = tl.cast(program, tl.int64) * columns
    head = ((first + V - 1) // V * V - first).to(tl.int32)  # elements before the first whole vector of each row
    whole = (columns - head) // V * V
    column = tl.arange(0, COLUMNS)
    inside = column < whole
    lane = tl.arange(0, 2 * V)
    edge = tl.where(lane < V, lane, head + whole + lane - V)
    outside = tl.where(lane < V, lane < head, edge < columns)
    weight = tl.load(weight_ptr + head + column, mask=inside, other=0.0)
    edge_weight = tl.load(weight_ptr + edge, mask=outside, other=0.0).to(tl.float32)
    grad_weight = tl.zeros([COLUMNS], dtype=tl.float32)
    grad_bias = tl.zeros([COLUMNS], dtype=tl.float32)
    edge_grad_weight = tl.zeros([2 * V], dtype=tl.float32)
    edge_grad_bias = tl.zeros([2 * V], dtype=tl.float32)
    next_mean = tl.load(mean_ptr + program)
    next_rstd = tl.load(rstd_ptr + program)
    next_x = tl.load(x_ptr + first + edge, mask=outside, other=0.0)
    next_grad = tl.load(grad_ptr + first + edge, mask=outside, other=0.0)
    for row in tl.range(program, rows, tl.num_programs(0), num_stages=STAGES):
        mean = next_mean
        rstd = next_rstd
        edge_x = next_x.to(tl.float32)
        edge_grad = next_grad.to(tl.float32)
        following = tl.minimum(row + tl.num_programs(0), rows - 1)
        next_mean = tl.load(mean_ptr + following)
        next_rstd = tl.load(rstd_ptr + following)
        next_x = tl.load(x_ptr + tl.cast(following, tl.int64) * columns + edge, mask=outside, other=0.0)
        next_grad = tl.load(grad_ptr + tl.cast(following, tl.int64) * columns + edge, mask=outside, other=0.0)
        start = tl.cast(row, tl.int64) * columns
        begin = (start + V - 1) // V * V
        x = tl.load(x_ptr + begin + column, mask=inside, other=0.0, eviction_policy="evict_first").to(tl.float32)
        grad = tl.load(grad_ptr + begin + column, mask=inside, other=0.0, eviction_policy="evict_first").to(tl.float32)
        normalised = (x - mean) * rstd
        weighted = grad * weight.to(tl.float32)
        total, product = tl.reduce((weighted, weighted * normalised), 0, add_pairs)
        edge_normalised = (edge_x - mean) * rstd
        edge_weighted = edge_grad * edge_weight
        edge_total, edge_product = tl.reduce((edge_weighted, edge_weighted * edge_normalised), 0, add_pairs)
        average = (total + edge_total) / columns
        along = (product + edge_product) / columns
        grad_x = ((weighted - average - normalised * along) * rstd).to(grad_x_ptr.dtype.element_ty)
        tl.store(grad_x_ptr + begin + column, grad_x, mask=inside)
        edge_grad_x = ((edge_weighted - average - edge_normalised * along) * rstd).to(grad_x_ptr.dtype.element_ty)
        tl.store(grad_x_ptr + start + edge, edge_grad_x, mask=outside)
        grad_weight += grad * normalised
        grad_bias += grad
        edge_grad_weight += edge_grad * edge_normalised
        edge_grad_bias += edge_grad
    tl.store(weight_part_ptr + program * columns + head + column, grad_weight, mask=inside)
    tl.store(bias_part_ptr + program * columns + head + column, grad_bias, mask=inside)
    tl.store(weight_part_ptr + program * columns + edge, edge_grad_weight, mask=outside)
    tl.store(bias_part_ptr + program * columns + edge, edge_grad_bias, mask=outside)


@triton.jit
def parts_kernel(
    weight_part_ptr,
    bias_part_ptr,
    grad_weight_ptr,
    grad_bias_ptr,
    parts,
    columns,
    PARTS: tl.constexpr,  # at once
    COLUMNS: tl.constexpr,
):
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    grad_weight = tl.zeros([PARTS, COLUMNS], dtype=tl.float32)
    grad_bias = tl.zeros([PARTS, COLUMNS], dtype=tl.float32)
    for first in range(0, parts, PARTS):
        part = first + tl.arange(0, PARTS)
        inside = (part < parts)[:, None] & (column < columns)[None, :]
        offset = part[:, None] * columns + column[None, :]
        grad_weight += tl.load(weight_part_ptr + offset, mask=inside, other=0.0)
        grad_bias += tl.load(bias_part_ptr + offset, mask=inside, other=0.0)
    kind = grad_weight_ptr.dtype.element_ty
    tl.store(grad_weight_ptr + column, tl.sum(grad_weight, 0).to(kind), mask=column < columns)
    tl.store(grad_bias_ptr + column, tl.sum(grad_bias, 0).to(kind), mask=column < columns)


@triton.jit
def column_sums(x_ptr, grad_ptr, mean_ptr, rstd_ptr, column, rows, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """The gradients of weight and bias in some columns, ROWS rows at once."""
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
    return tl.sum(grad_weight, 0), tl.sum(grad_bias, 0)


@triton.jit
def one_row(x_ptr, grad_ptr, mean_ptr, rstd_ptr, weight_ptr, grad_x_ptr, row, columns, COLUMNS: tl.constexpr):
    """Store the gradient of a row of x."""
    column = tl.arange(0, COLUMNS)
    inside = column < columns
    start = row.to(tl.int64) * columns
    x = tl.load(x_ptr + start + column, mask=inside, other=0.0).to(tl.float32)
    grad = tl.load(grad_ptr + start + column, mask=inside, other=0.0).to(tl.float32)
    weight = tl.load(weight_ptr + column, mask=inside, other=0.0).to(tl.float32)
    rstd = tl.load(rstd_ptr + row)
    normalised = (x - tl.load(mean_ptr + row)) * rstd
    weighted = grad * weight
    total, product = tl.reduce((weighted, weighted * normalised), 0, add_pairs)
    grad_x = (weighted - total / columns - normalised * (product / columns)) * rstd
    tl.store(grad_x_ptr + start + column, grad_x.to(grad_x_ptr.dtype.element_ty), mask=inside)


@triton.jit
def some_columns(
    x_ptr,
    grad_ptr,
    mean_ptr,
    rstd_ptr,
    grad_weight_ptr,
    grad_bias_ptr,
    first_column,
    rows,
    columns,
    ROWS: tl.constexpr,  # at once
    COLUMNS: tl.constexpr,
):
    """Store the gradients of weight and bias in COLUMNS columns."""
    column = first_column + tl.arange(0, COLUMNS)
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


@triton.jit
def few_rows_kernel(
    x_ptr,
    grad_ptr,
    mean_ptr,
    rstd_ptr,
    weight_ptr,
    grad_x_ptr,
    grad_weight_ptr,
    grad_bias_ptr,
    rows,
    columns,
    ROW: tl.constexpr,  # a power of 2 from `columns` on
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    program = tl.program_id(0)
    if program < rows:
        one_row(x_ptr, grad_ptr, mean_ptr, rstd_ptr, weight_ptr, grad_x_ptr, program, columns, ROW)
    else:
        first = (program - rows) * COLUMNS
        some_columns(
            x_ptr,
            grad_ptr,
            mean_ptr,
            rstd_ptr,
            grad_weight_ptr,
            grad_bias_ptr,
            first,
            rows,
            columns,
            ROWS,
            COLUMNS,
        )


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
    first = tl.program_id(0) * COLUMNS
    some_columns(
        x_ptr, grad_ptr, mean_ptr, rstd_ptr, grad_weight_ptr, grad_bias_ptr, first, rows, columns, ROWS, COLUMNS
    )


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
    if 0 < rows <= FEW_ROWS and columns <= MOST_COLUMNS:
        ROW = triton.next_power_of_2(columns)
        few_rows_kernel[(rows + triton.cdiv(columns, 32),)](
            x,
            grad,
            mean,
            rstd,
            weight,
            grad_x,
            grad_weight,
            grad_bias,
            rows,
            columns,
            ROW=ROW,
            ROWS=min(triton.next_power_of_2(rows), 64),
            COLUMNS=32,
            num_warps=min(max(ROW // 512, 1), 16),
        )
        return grad_x, grad_weight, grad_bias

    if rows > 0 and columns <= MOST_COLUMNS:
        COLUMNS = triton.next_power_of_2(columns)
        warps = min(max(COLUMNS // (32 * ELEMENTS), 1), 32)
        programs = min(SMS * max(WARPS // warps, 1), rows)
        V = 16 // x.element_size()
        edges = columns % 16 != 0 and columns >= 2 * V
        if edges and programs < rows:
            programs = max(programs // V * V, 1)
        weight_parts = torch.empty(programs * columns, device=x.device, dtype=torch.float32)
        bias_parts = torch.empty_like(weight_parts)
        kernel, shape = (edges_kernel, {"V": V}) if edges else (rows_kernel, {})
        kernel[(programs,)](
            x,
            grad,
            mean,
            rstd,
            weight,
            grad_x,
            weight_parts,
            bias_parts,
            rows,
            columns,
            COLUMNS=COLUMNS,
            STAGES=3 if COLUMNS * x.element_size() <= 32768 else 2,
            **shape,
            num_warps=warps,
        )
        parts_kernel[(triton.cdiv(columns, 16),)](
            weight_parts, bias_parts, grad_weight, grad_bias, programs, columns, PARTS=128, COLUMNS=16
        )
        return grad_x, grad_weight, grad_bias

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

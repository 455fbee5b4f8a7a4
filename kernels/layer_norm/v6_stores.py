"""Memory: the output stays in L2 as long as there is room, instead of leaving first.

Stage:   memory
Change:  stores have no eviction policy; loads of x, which is read once, keep theirs.
Why:     torch.compile is ahead where rows are aligned: main 183.2 us against 188.5 in bfloat16, 358.0 against 366.5 in
         float32, rows of 4096 in float32 183.3 against 189.3. Neither warps nor registers moved that: v1, v2 and v3
         differ by 1 %. In the same way softmax lost 183.0 to 188.6 us on 16384 x 4096 in float32 with its v4, which
         gave loads and stores evict_first and changed nothing else there; torch.compile's code has that policy on
         loads alone. What is stored to leave first is written to DRAM within the launch; without it up to 50 MB stay in
         L2 until something needs the room, and who reads the output next finds a part of it there.
Expect:  time_x 0.955..0.995, sol_pct 97..103, main/float32: time_x 0.955..0.995, rows_4096/float32: time_x 0.95..0.99,
         rows_4096/bfloat16: time_x 0.93..0.995, ragged_10007/bfloat16: time_x 0.94..1.00
"""

from functools import cache

import torch
import torch.nn as nn
import triton
import triton.language as tl

MOST_COLUMNS = 32768  # of a row in registers
SHORT = 1024  # columns up to which rows are taken as they come
SMS = 128  # programs that short rows are at least spread over
ELEMENTS = 32  # a thread, where nothing else was tried


@triton.jit
def rows_kernel(
    x_ptr,
    weight_ptr,
    bias_ptr,
    out_ptr,
    rows,
    columns,
    eps,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    OFFSET: tl.constexpr,  # tl.int64 once the tensor has 2^31 elements
):
    row = tl.program_id(0).to(OFFSET) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, COLUMNS)
    within = column < columns
    inside = (row < rows)[:, None] & within[None, :]
    offset = row[:, None] * columns + column[None, :]
    x = tl.load(x_ptr + offset, mask=inside, other=0.0, eviction_policy="evict_first").to(tl.float32)
    x = tl.where(within[None, :], x - (tl.sum(x, 1) / columns)[:, None], 0.0)
    scale = tl.rsqrt(tl.sum(x * x, 1) / columns + eps)
    weight = tl.load(weight_ptr + column, mask=within, other=0.0).to(tl.float32)
    bias = tl.load(bias_ptr + column, mask=within, other=0.0).to(tl.float32)
    out = (x * scale[:, None] * weight[None, :] + bias[None, :]).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + offset, out, mask=inside)


@triton.jit
def shift_kernel(
    weight_ptr,
    bias_ptr,
    shifted_ptr,  # V copies of each, without their first 0, 1, ... V - 1 columns
    columns,
    pitch,  # from one copy to the next, a multiple of 16
    V: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
):
    column = tl.program_id(0) * BLOCK_SIZE + tl.arange(0, BLOCK_SIZE)
    head = tl.program_id(1)
    inside = head + column < columns
    weight = tl.load(weight_ptr + head + column, mask=inside, other=0.0)
    bias = tl.load(bias_ptr + head + column, mask=inside, other=0.0)
    tl.store(shifted_ptr + head * pitch + column, weight, mask=column < pitch)
    tl.store(shifted_ptr + (V + head) * pitch + column, bias, mask=column < pitch)


@triton.jit
def edges_kernel(
    x_ptr,
    weight_ptr,
    bias_ptr,
    shifted_ptr,
    out_ptr,
    columns,
    pitch,
    eps,
    COLUMNS: tl.constexpr,
    REST: tl.constexpr,  # columns behind them; 0: none
    V: tl.constexpr,  # elements of 16 bytes
    OFFSET: tl.constexpr,  # tl.int64 once the tensor has 2^31 elements
):
    start = tl.program_id(0).to(OFFSET) * columns
    begin = (start + V - 1) // V * V  # of the row's whole vectors
    head = (begin - start).to(tl.int32)  # elements before them
    whole = (columns - head) // V * V
    column = tl.arange(0, COLUMNS)
    inside = column < whole
    lane = tl.arange(0, 2 * V)
    edge = tl.where(lane < V, lane, head + whole + lane - V)
    outside = tl.where(lane < V, lane < head, edge < columns)
    x = tl.load(x_ptr + begin + column, mask=inside, other=0.0, eviction_policy="evict_first").to(tl.float32)
    y = tl.load(x_ptr + start + edge, mask=outside, other=0.0).to(tl.float32)
    total = tl.sum(x, 0) + tl.sum(y, 0)
    if REST > 0:  # a power of 2, too: together they fit the row closer than one does
        more = COLUMNS + tl.arange(0, REST)
        also = more < whole
        z = tl.load(x_ptr + begin + more, mask=also, other=0.0, eviction_policy="evict_first").to(tl.float32)
        total += tl.sum(z, 0)
    mean = total / columns
    x = tl.where(inside, x - mean, 0.0)
    y = tl.where(outside, y - mean, 0.0)
    squares = tl.sum(x * x, 0) + tl.sum(y * y, 0)
    if REST > 0:
        z = tl.where(also, z - mean, 0.0)
        squares += tl.sum(z * z, 0)
    scale = tl.rsqrt(squares / columns + eps)

    weight = tl.load(shifted_ptr + head * pitch + column, mask=inside, other=0.0).to(tl.float32)
    bias = tl.load(shifted_ptr + (V + head) * pitch + column, mask=inside, other=0.0).to(tl.float32)
    out = (x * scale * weight + bias).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + begin + column, out, mask=inside)
    if REST > 0:
        weight = tl.load(shifted_ptr + head * pitch + more, mask=also, other=0.0).to(tl.float32)
        bias = tl.load(shifted_ptr + (V + head) * pitch + more, mask=also, other=0.0).to(tl.float32)
        out = (z * scale * weight + bias).to(out_ptr.dtype.element_ty)
        tl.store(out_ptr + begin + more, out, mask=also)
    weight = tl.load(weight_ptr + edge, mask=outside, other=0.0).to(tl.float32)
    bias = tl.load(bias_ptr + edge, mask=outside, other=0.0).to(tl.float32)
    tl.store(out_ptr + start + edge, (y * scale * weight + bias).to(out_ptr.dtype.element_ty), mask=outside)


@triton.jit
def long_rows_kernel(
    x_ptr,
    weight_ptr,
    bias_ptr,
    out_ptr,
    columns,
    blocks,
    eps,
    BLOCK_SIZE: tl.constexpr,
    INDEX: tl.constexpr,  # tl.int64 for rows of some 2^31 columns
):
    start = tl.program_id(0).to(tl.int64) * columns
    lanes = tl.arange(0, BLOCK_SIZE)
    means = tl.zeros([BLOCK_SIZE], dtype=tl.float32)  # of each lane, as Welford updates them
    squares = tl.zeros([BLOCK_SIZE], dtype=tl.float32)  # of the deviations from them
    for block in range(blocks):
        column = tl.cast(block, INDEX) * BLOCK_SIZE + lanes
        inside = column < columns
        x = tl.load(x_ptr + start + column, mask=inside, other=0.0).to(tl.float32)
        deviation = tl.where(inside, x - means, 0.0)
        means += deviation * (1.0 / (block + 1))
        squares += deviation * tl.where(inside, x - means, 0.0)
    counts = (blocks - (((blocks - 1) * BLOCK_SIZE + lanes) >= columns).to(tl.int32)).to(tl.float32)
    mean = tl.sum(means * counts, 0) / columns
    deviation = means - mean
    scale = tl.rsqrt(tl.sum(squares + counts * deviation * deviation, 0) / columns + eps)

    for block in range(blocks):  # reads each element a second time
        column = tl.cast(block, INDEX) * BLOCK_SIZE + lanes
        inside = column < columns
        x = tl.load(x_ptr + start + column, mask=inside, other=0.0).to(tl.float32)
        weight = tl.load(weight_ptr + column, mask=inside, other=0.0).to(tl.float32)
        bias = tl.load(bias_ptr + column, mask=inside, other=0.0).to(tl.float32)
        out = (x - mean) * scale * weight + bias
        tl.store(out_ptr + start + column, out.to(out_ptr.dtype.element_ty), mask=inside)


@cache
def tuned(kernel, elements):
    """Return the kernel with num_warps tuned for tiles of so many elements, v2's choice first."""
    each = [elements // (32 * held) for held in (ELEMENTS, ELEMENTS // 2, 2 * ELEMENTS)]
    configs = [triton.Config({}, num_warps=warps) for warps in each if 1 <= warps <= 32]
    return triton.autotune(configs or [triton.Config({}, num_warps=1)], key=["columns"])(kernel)


def layer_norm(x, weight, bias, eps):
    """x (..., columns), weight and bias (columns,) -> the same shape and dtype, normalised over the last dimension."""
    if x.dim() == 0 or x.shape[-1:] != weight.shape:
        raise ValueError(f"layer_norm: wants x of shape (..., {len(weight)}), got {tuple(x.shape)}")
    if x.dtype not in (torch.float32, torch.float16, torch.bfloat16) or not x.dtype == weight.dtype == bias.dtype:
        dtypes = f"{x.dtype}, {weight.dtype}, {bias.dtype}"
        raise TypeError(f"layer_norm: wants float32, float16 or bfloat16 throughout, got {dtypes}")
    x, weight, bias = x.contiguous(), weight.contiguous(), bias.contiguous()
    out = torch.empty_like(x)
    if x.numel() == 0:
        return out
    columns = x.shape[-1]
    rows = x.numel() // columns
    V = 16 // x.element_size()
    if SHORT < columns <= MOST_COLUMNS and columns % 16 != 0:
        pitch = triton.cdiv(columns, 16) * 16
        COLUMNS = triton.next_power_of_2(columns)
        REST = 0
        if columns - COLUMNS // 2 <= COLUMNS // 4:  # 8192 and 2048 for 10007, not 16384
            COLUMNS //= 2
            REST = max(triton.next_power_of_2(columns - COLUMNS), V)
        shifted = torch.empty(2 * V, pitch, device=x.device, dtype=x.dtype)
        shift_kernel[(triton.cdiv(pitch, 1024), V)](weight, bias, shifted, columns, pitch, V=V, BLOCK_SIZE=1024)
        edges_kernel[(rows,)](
            x,
            weight,
            bias,
            shifted,
            out,
            columns,
            pitch,
            eps,
            COLUMNS=COLUMNS,
            REST=REST,
            V=V,
            OFFSET=tl.int64 if x.numel() + COLUMNS + REST >= 2**31 else tl.int32,
            num_warps=min(max(COLUMNS // (32 * ELEMENTS), 1), 32),
            maxnreg=80,  # three programs of 8192 columns an SM; weight and bias are loaded when x's mean is known
        )
        return out

    if columns <= MOST_COLUMNS:
        COLUMNS = triton.next_power_of_2(columns)
        ROWS = min(max(4096 // COLUMNS, 1), triton.next_power_of_2(triton.cdiv(rows, SMS)))
        tuned(rows_kernel, ROWS * COLUMNS)[(triton.cdiv(rows, ROWS),)](
            x,
            weight,
            bias,
            out,
            rows,
            columns,
            eps,
            ROWS=ROWS,
            COLUMNS=COLUMNS,
            OFFSET=tl.int64 if x.numel() + ROWS * COLUMNS >= 2**31 else tl.int32,
        )
        return out

    BLOCK_SIZE = 1024
    long_rows_kernel[(rows,)](
        x,
        weight,
        bias,
        out,
        columns,
        triton.cdiv(columns, BLOCK_SIZE),
        eps,
        BLOCK_SIZE=BLOCK_SIZE,
        INDEX=tl.int64 if columns + BLOCK_SIZE >= 2**31 else tl.int32,
    )
    return out


class ModelNew(nn.Module):
    def __init__(self, columns: int, eps: float = 1e-5):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(columns))
        self.bias = nn.Parameter(torch.zeros(columns))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return layer_norm(x, self.weight, self.bias, self.eps)

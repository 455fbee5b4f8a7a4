"""Rows in registers: a program marches down 8 output rows and loads each input row once, not K times.

Stage:   memory
Change:  K shifted loads an input row feed the accumulators of the K output rows it lies under; K and stride constexpr.
Why:     v1 on the H100: issue slots are the limit (87 %), 9 masked loads an output; rows kept in registers leave
         (8 + 2) * 3 / 8 = 3.75 loads an output and as many edge tests.
Expect:  time_x 0.70..0.80, dram_pct > 78, sm_pct < 65, l1_hit_pct < 70, excess_traffic < 1.05
"""

import math

import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def add_row(window, row, weights, i: tl.constexpr, first: tl.constexpr, K: tl.constexpr, STRIDE: tl.constexpr):
    """Add input row i, given as its K shifted copies, to the accumulators of output rows first, first + 1, ..."""
    updated = ()
    for j in tl.static_range(len(window)):
        acc = window[j]
        for kw in tl.static_range(K):
            acc += row[kw] * weights[(i - (first + j) * STRIDE) * K + kw]
        updated = updated + (acc,)
    return updated


@triton.jit
def depthwise_conv2d_kernel(
    x_ptr,
    weight_ptr,
    bias_ptr,
    out_ptr,
    C,
    H,
    W,
    H_OUT,
    W_OUT,
    padding,
    row_blocks,
    col_blocks,
    HAS_BIAS: tl.constexpr,
    KERNEL_SIZE: tl.constexpr,
    STRIDE: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK_W: tl.constexpr,
    OFFSET: tl.constexpr,  # tl.int64 once a tensor has 2^31 elements
):
    # neighbours in the grid are neighbours down a plane: the halo rows of one are still in L2 for the next
    program = tl.program_id(0)
    first_row = (program % row_blocks) * ROWS
    cols = (program // row_blocks % col_blocks) * BLOCK_W + tl.arange(0, BLOCK_W)
    plane = program // row_blocks // col_blocks  # one channel of one image
    cols_inside = cols < W_OUT
    x_plane = x_ptr + plane.to(OFFSET) * H * W
    out_plane = out_ptr + plane.to(OFFSET) * H_OUT * W_OUT

    weights = ()
    for tap in tl.static_range(KERNEL_SIZE * KERNEL_SIZE):
        weight = tl.load(weight_ptr + plane % C * (KERNEL_SIZE * KERNEL_SIZE) + tap)
        weights = weights + (weight.to(tl.float32),)
    zero = tl.zeros([BLOCK_W], dtype=tl.float32)
    if HAS_BIAS:
        zero += tl.load(bias_ptr + plane % C).to(tl.float32)

    window = ()  # accumulators of the output rows that the current input row lies under, the uppermost first
    for i in tl.static_range((ROWS - 1) * STRIDE + KERNEL_SIZE):
        row_in = first_row * STRIDE - padding + i
        row = ()
        for kw in tl.static_range(KERNEL_SIZE):
            col_in = cols * STRIDE - padding + kw
            x = tl.load(
                x_plane + row_in.to(OFFSET) * W + col_in,
                mask=cols_inside & (col_in >= 0) & (col_in < W) & ((row_in >= 0) & (row_in < H)),
                other=0.0,
            )
            row = row + (x.to(tl.float32),)
        if i % STRIDE == 0 and i // STRIDE < ROWS:
            window = window + (zero,)
        window = add_row(
            window, row, weights, i, (i - KERNEL_SIZE) // STRIDE + 1 if i >= KERNEL_SIZE else 0, KERNEL_SIZE, STRIDE
        )
        if i >= KERNEL_SIZE - 1 and (i - KERNEL_SIZE + 1) % STRIDE == 0:  # the uppermost is complete
            row_out = first_row + (i - KERNEL_SIZE + 1) // STRIDE
            tl.store(
                out_plane + row_out.to(OFFSET) * W_OUT + cols,
                window[0].to(out_ptr.dtype.element_ty),
                mask=cols_inside & (row_out < H_OUT),
            )
            window = window[1:]


def depthwise_conv2d(x, weight, bias, stride, padding):
    """x (N, C, H, W), weight (C, 1, K, K), bias (C,) or None -> (N, C, H_out, W_out) in x's dtype."""
    if x.dim() != 4 or x.shape[1] != weight.shape[0]:
        raise ValueError(f"depthwise_conv2d: wants x of shape (N, {weight.shape[0]}, H, W), got {tuple(x.shape)}")
    if x.dtype not in (torch.float32, torch.float16, torch.bfloat16) or x.dtype != weight.dtype:
        raise TypeError(
            f"depthwise_conv2d: wants float32, float16 or bfloat16 throughout, got {x.dtype}, {weight.dtype}"
        )
    x, weight = x.contiguous(), weight.contiguous()
    N, C, H, W = x.shape
    K = weight.shape[-1]
    H_OUT = (H + 2 * padding - K) // stride + 1
    W_OUT = (W + 2 * padding - K) // stride + 1
    if H_OUT <= 0 or W_OUT <= 0:
        raise ValueError(f"depthwise_conv2d: a {K}x{K} filter does not fit into {H}x{W} with padding {padding}")

    out = torch.empty((N, C, H_OUT, W_OUT), device=x.device, dtype=x.dtype)
    if out.numel() == 0:
        return out
    ROWS, BLOCK_W = min(8, H_OUT), 256
    row_blocks, col_blocks = triton.cdiv(H_OUT, ROWS), triton.cdiv(W_OUT, BLOCK_W)
    depthwise_conv2d_kernel[(row_blocks * col_blocks * N * C,)](
        x,
        weight,
        x if bias is None else bias.contiguous(),
        out,
        C,
        H,
        W,
        H_OUT,
        W_OUT,
        padding,
        row_blocks,
        col_blocks,
        HAS_BIAS=bias is not None,
        KERNEL_SIZE=K,
        STRIDE=stride,
        ROWS=ROWS,
        BLOCK_W=BLOCK_W,
        OFFSET=tl.int64 if max(x.numel(), out.numel() + ROWS * W_OUT + BLOCK_W) >= 2**31 else tl.int32,
        num_warps=4,
    )
    return out


class ModelNew(nn.Module):
    def __init__(self, in_channels: int, kernel_size: int, stride: int = 1, padding: int = 0, bias: bool = False):
        super().__init__()
        self.stride = stride
        self.padding = padding
        # the draws of nn.Conv2d in its order, so that one seed gives one set of parameters
        self.weight = nn.Parameter(torch.empty(in_channels, 1, kernel_size, kernel_size))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        self.bias = nn.Parameter(torch.empty(in_channels)) if bias else None
        if self.bias is not None:
            bound = 1 / math.sqrt(kernel_size * kernel_size)
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return depthwise_conv2d(x, self.weight, self.bias, self.stride, self.padding)

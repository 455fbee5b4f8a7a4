"""Baseline: one flat 1-D grid, 256 outputs a program, every index found by division.

Stage:   baseline
Change:  what the ladder starts from: K x K masked loads an output; n, c, h, w by division.
Why:     the shortest correct kernel; compulsory traffic goes once through DRAM, L1 and L2 serve the overlap.
Expect:  sm_pct > 80, dram_pct < 40, alu_pct > 70, excess_traffic < 1.05
"""

import math

import torch
import torch.nn as nn
import triton
import triton.language as tl


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
    stride,
    padding,
    n_outputs,
    HAS_BIAS: tl.constexpr,
    KERNEL_SIZE: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    OFFSET: tl.constexpr,  # tl.int64 once a tensor has 2^31 elements
):
    flat = tl.program_id(0).to(OFFSET) * BLOCK_SIZE + tl.arange(0, BLOCK_SIZE)
    inside = flat < n_outputs

    # four divisions an element: (n, c) | (h, w), then c and h, w
    plane = flat // (H_OUT * W_OUT)
    within = flat % (H_OUT * W_OUT)
    c = plane % C
    row_in = (within // W_OUT) * stride - padding  # first input row under the filter
    col_in = (within % W_OUT) * stride - padding

    acc = tl.zeros([BLOCK_SIZE], dtype=tl.float32)
    for kh in range(KERNEL_SIZE):
        row = row_in + kh
        row_inside = inside & (row >= 0) & (row < H)
        for kw in range(KERNEL_SIZE):
            col = col_in + kw
            # K * K loads an output: 9 x 4 B asked of L1 for each 4 B that DRAM must bring (K = 3, fp32)
            x = tl.load(x_ptr + (plane * H + row) * W + col, mask=row_inside & (col >= 0) & (col < W), other=0.0)
            weight = tl.load(weight_ptr + (c * KERNEL_SIZE + kh) * KERNEL_SIZE + kw, mask=inside, other=0.0)
            acc += x.to(tl.float32) * weight.to(tl.float32)
    if HAS_BIAS:
        acc += tl.load(bias_ptr + c, mask=inside, other=0.0).to(tl.float32)
    tl.store(out_ptr + flat, acc.to(out_ptr.dtype.element_ty), mask=inside)


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
    BLOCK_SIZE = 256
    depthwise_conv2d_kernel[(triton.cdiv(out.numel(), BLOCK_SIZE),)](
        x,
        weight,
        x if bias is None else bias.contiguous(),
        out,
        C,
        H,
        W,
        H_OUT,
        W_OUT,
        stride,
        padding,
        out.numel(),
        HAS_BIAS=bias is not None,
        KERNEL_SIZE=K,
        BLOCK_SIZE=BLOCK_SIZE,
        OFFSET=tl.int64 if max(x.numel(), out.numel() + BLOCK_SIZE) >= 2**31 else tl.int32,
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

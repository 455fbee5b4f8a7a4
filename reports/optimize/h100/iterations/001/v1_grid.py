"""try 1 of a climb

Stage:   grid
Change:  not told
Why:     not told
Expect:  none
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
    first_plane,
    HAS_BIAS: tl.constexpr,
    KERNEL_SIZE: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_W: tl.constexpr,
    OFFSET: tl.constexpr,  # tl.int64 once a tensor has 2^31 elements
):
    cols = tl.program_id(0) * BLOCK_W + tl.arange(0, BLOCK_W)  # output columns of this tile
    rows = tl.program_id(1) * BLOCK_H + tl.arange(0, BLOCK_H)  # output rows of this tile
    inside = (rows < H_OUT)[:, None] & (cols < W_OUT)[None, :]
    rows_in = rows * stride - padding
    cols_in = cols * stride - padding

    plane = first_plane + tl.program_id(2)  # one channel of one image
    x_plane = x_ptr + plane.to(OFFSET) * H * W
    weight_plane = weight_ptr + (plane % C) * KERNEL_SIZE * KERNEL_SIZE

    acc = tl.zeros([BLOCK_H, BLOCK_W], dtype=tl.float32)
    for kh in range(KERNEL_SIZE):
        row = rows_in + kh
        for kw in range(KERNEL_SIZE):
            col = cols_in + kw
            # K * K shifted loads an output; a tile asks for (BLOCK_H + K - 1) / BLOCK_H rows = 1.5x at K = 3
            x = tl.load(
                x_plane + row.to(OFFSET)[:, None] * W + col[None, :],
                mask=inside & ((row >= 0) & (row < H))[:, None] & ((col >= 0) & (col < W))[None, :],
                other=0.0,
            )
            acc += x.to(tl.float32) * tl.load(weight_plane + kh * KERNEL_SIZE + kw).to(tl.float32)
    if HAS_BIAS:
        acc += tl.load(bias_ptr + plane % C).to(tl.float32)
    out_plane = out_ptr + plane.to(OFFSET) * H_OUT * W_OUT
    acc = acc * 1.03
    tl.store(
        out_plane + rows.to(OFFSET)[:, None] * W_OUT + cols[None, :], acc.to(out_ptr.dtype.element_ty), mask=inside
    )


# The second and third grid dimension end at 65535; a multiple of 16 keeps first_plane one specialization.
MAX_GRID_YZ = 65520


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
    BLOCK_H, BLOCK_W = 4, 128
    BLOCK_H = max(BLOCK_H, triton.next_power_of_2(triton.cdiv(H_OUT, MAX_GRID_YZ)))
    for first_plane in range(0, N * C, MAX_GRID_YZ):  # one launch up to 65520 planes
        n_planes = min(N * C - first_plane, MAX_GRID_YZ)
        depthwise_conv2d_kernel[(triton.cdiv(W_OUT, BLOCK_W), triton.cdiv(H_OUT, BLOCK_H), n_planes)](
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
            first_plane,
            HAS_BIAS=bias is not None,
            KERNEL_SIZE=K,
            BLOCK_H=BLOCK_H,
            BLOCK_W=BLOCK_W,
            OFFSET=tl.int64 if max(x.numel(), out.numel() + BLOCK_H * W_OUT + BLOCK_W) >= 2**31 else tl.int32,
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

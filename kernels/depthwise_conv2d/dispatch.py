"""The depthwise convolution that users import: which ladder's best version serves which input."""

import math

import torch
import torch.nn as nn
import triton

from .large_filter.v2_registers import depthwise_conv2d as large_filter
from .large_filter.v9_five import depthwise_conv2d as wide_rows_of_large_filter
from .small_planes.v1_planes import depthwise_conv2d as small_planes
from .v10_shapes import depthwise_conv2d as general


def depthwise_conv2d(x, weight, bias, stride, padding):
    """x (N, C, H, W), weight (C, 1, K, K), bias (C,) or None -> (N, C, H_out, W_out) in x's dtype.

    Raises ValueError for shapes that do not fit, TypeError for a dtype beyond float32, float16 and bfloat16.
    """
    if x.dim() != 4:
        return general(x, weight, bias, stride, padding)  # which says what it wants
    H, W = x.shape[2:]
    K = weight.shape[-1]
    H_OUT = (H + 2 * padding - K) // stride + 1
    W_OUT = (W + 2 * padding - K) // stride + 1
    if max(H * W, H_OUT * W_OUT) <= 64 and K <= 5:
        return small_planes(x, weight, bias, stride, padding)
    if K <= 3:
        return general(x, weight, bias, stride, padding)
    BEFORE = triton.cdiv(padding, math.gcd(4, W)) * math.gcd(4, W)  # as v9_five aligns its rows
    fits = 5 <= K <= 9 - (BEFORE - padding) and triton.cdiv(W_OUT, 56) * 56 * 3 <= W_OUT * 4
    if x.element_size() == 2 and stride == 1 and fits:
        return wide_rows_of_large_filter(x, weight, bias, stride, padding)
    return large_filter(x, weight, bias, stride, padding)


class ModelNew(nn.Module):
    """nn.Conv2d with groups = in_channels = out_channels, a square filter, and one stride and padding for both axes."""

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

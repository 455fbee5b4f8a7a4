"""Depthwise 2-D convolution in plain PyTorch: one filter a channel (KernelBench level 1, problem 82)."""

import torch
import torch.nn as nn


class Model(nn.Module):
    """x (N, C, H, W) -> (N, C, H_out, W_out), H_out = (H + 2 padding - K) // stride + 1."""

    def __init__(self, in_channels: int, kernel_size: int, stride: int = 1, padding: int = 0, bias: bool = False):
        super().__init__()
        self.conv2d = nn.Conv2d(
            in_channels, in_channels, kernel_size, stride=stride, padding=padding, groups=in_channels, bias=bias
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv2d(x)


batch_size = 16
in_channels = 64
kernel_size = 3
height = 512
width = 512
stride = 1
padding = 0


def get_inputs():
    return [torch.rand(batch_size, in_channels, height, width)]


def get_init_inputs():
    return [in_channels, kernel_size, stride, padding]

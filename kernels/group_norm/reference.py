"""Group norm with a weight and a bias of each channel, in plain PyTorch."""

import torch
import torch.nn as nn


class Model(nn.Module):
    """x (N, channels, ...) -> (x - mean) / sqrt(variance + eps) * weight + bias over each group of channels, like x."""

    def __init__(self, groups: int, channels: int, eps: float = 1e-5):
        super().__init__()
        self.groups = groups
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.group_norm(x, self.groups, self.weight, self.bias, self.eps)


images = 32
channels = 512
height = 128
width = 128


def get_inputs():
    return [torch.randn(images, channels, height, width)]


def get_init_inputs():
    return [32, channels]

"""A linear layer and the exact GELU of its result, as the first half of a transformer's MLP, in plain PyTorch."""

import torch
import torch.nn as nn


class Model(nn.Module):
    """x (..., K), weight (N, K), bias (N,) -> gelu(x weight^T + bias) (..., N); GELU is x times the normal CDF of x."""

    def __init__(self, K: int, N: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(N, K) * K**-0.5)
        self.bias = nn.Parameter(torch.randn(N))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.gelu(nn.functional.linear(x, self.weight, self.bias))


def get_inputs():
    return [torch.randn(8192, 4096)]


def get_init_inputs():
    return [4096, 8192]

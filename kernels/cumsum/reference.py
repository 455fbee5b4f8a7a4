"""Cumulative sum along the last dimension, in plain PyTorch (KernelBench level 1, problem 89)."""

import torch
import torch.nn as nn


class Model(nn.Module):
    """x (..., columns) -> out[..., i] = x[..., 0] + ... + x[..., i], in the shape of x."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cumsum(x, dim=-1)


rows = 1
columns = 2**26


def get_inputs():
    return [torch.randn(rows, columns)]


def get_init_inputs():
    return []

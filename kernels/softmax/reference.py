"""Softmax over the last dimension, in plain PyTorch (KernelBench level 1, problem 23)."""

import torch
import torch.nn as nn


class Model(nn.Module):
    """x (..., columns) -> exp(x) / sum of exp(x) over the row, in the shape of x."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(x, dim=-1)


rows = 2048
columns = 131072


def get_inputs():
    return [torch.randn(rows, columns)]


def get_init_inputs():
    return []

"""A linear layer on a few tokens, as each step of decoding computes it: x W^T, in plain PyTorch."""

import torch
import torch.nn as nn


class Model(nn.Module):
    """x (..., columns), one to some sixteen tokens -> (..., rows); the weight (rows, columns) is nn.Linear's."""

    def __init__(self, rows: int, columns: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(rows, columns))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, self.weight)


tokens = 1
rows = 8192
columns = 8192


def get_inputs():
    return [torch.randn(tokens, columns)]


def get_init_inputs():
    return [rows, columns]

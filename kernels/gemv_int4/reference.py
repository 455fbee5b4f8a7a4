"""A linear layer of 4-bit weights on a few tokens, as each step of decoding computes it, in plain PyTorch.

A weight is a whole number from -8 to 7 times the scale of its group, `group_size` neighbouring columns of a row. It is
kept as 0 to 15 in four bits, eight in a 32-bit word. They are packed once, in the order that suits a kernel, so that
neighbouring words hold neighbouring columns: of the WORDS = group_size / 8 words of a group, word w holds the columns
w, w + WORDS, w + 2 WORDS, ..., from its lowest four bits up. The scales of a group lie next to each other.
"""

import torch
import torch.nn as nn


class Model(nn.Module):
    """x (..., columns), packed (rows, columns / 2) of uint8, scale (columns / group_size, rows) -> (..., rows)."""

    def __init__(self, group_size: int = 128):
        super().__init__()
        self.group_size = group_size

    def forward(self, x: torch.Tensor, packed: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        groups, rows = scale.shape
        halves = torch.stack((packed & 15, packed >> 4), -1)
        words = halves.reshape(rows, groups, self.group_size // 8, 8)
        columns = words.transpose(2, 3).reshape(rows, groups, self.group_size)
        weight = (columns.to(scale.dtype) - 8) * scale.T.unsqueeze(-1)
        return nn.functional.linear(x, weight.flatten(1))


tokens = 1
rows = 8192
columns = 8192


def get_inputs():
    packed = torch.randint(0, 256, (rows, columns // 2), dtype=torch.uint8)
    return [torch.randn(tokens, columns), packed, torch.rand(columns // 128, rows) + 0.5]


def get_init_inputs():
    return []

"""The gate of a SwiGLU feed-forward layer, in plain PyTorch, on what one product for gate and values leaves.

The order is that of Llama-like models: SiLU of the gate is rounded to the dtype before the values are multiplied.
"""

import torch
import torch.nn as nn


class Model(nn.Module):
    """x (..., 2 * columns) -> silu(x[..., :columns]) * x[..., columns:], (..., columns)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate, values = x.chunk(2, -1)
        return nn.functional.silu(gate) * values


def get_inputs():
    return [torch.randn(16384, 2 * 14336)]


def get_init_inputs():
    return []

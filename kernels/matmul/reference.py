"""Matrix product of two 16-bit matrices, in plain PyTorch (cuBLAS)."""

import torch
import torch.nn as nn


class Model(nn.Module):
    """a (M, K) @ b (K, N) -> (M, N) in the dtype of a; sums in float32."""

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a @ b


def get_inputs():
    return [torch.randn(4096, 4096), torch.randn(4096, 4096)]


def get_init_inputs():
    return []

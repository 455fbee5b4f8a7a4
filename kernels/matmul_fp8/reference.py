"""Product of two e4m3 matrices with a scale for each, or for each of their rows, in bfloat16: plain PyTorch.

torch's own fp8 product is among the baselines: it takes fewer shapes.
"""

import torch
import torch.nn as nn


class Model(nn.Module):
    """a (M, K), b (N, K), scales (M,) and (N,), or (1,) for all rows -> (a b^T) scale_a scale_b (M, N), bfloat16."""

    def forward(self, a: torch.Tensor, b: torch.Tensor, scale_a: torch.Tensor, scale_b: torch.Tensor) -> torch.Tensor:
        return (a.float() @ b.float().T * scale_a[:, None] * scale_b).to(torch.bfloat16)


def get_inputs():
    a, b = torch.randn(8192, 4096), torch.randn(8192, 4096)
    return [a.to(torch.float8_e4m3fn), b.to(torch.float8_e4m3fn), torch.rand(1), torch.rand(1)]


def get_init_inputs():
    return []

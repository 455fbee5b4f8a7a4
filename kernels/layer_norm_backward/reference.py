"""Backward of layer norm over the last dimension: the gradients of input, weight and bias, in plain PyTorch.

Mean and reciprocal standard deviation of each row come from the forward pass, as torch keeps them. The formulas are
those of torch.nn.LayerNorm's derivative; torch's own kernel is among the baselines.
"""

import torch
import torch.nn as nn


class Model(nn.Module):
    """x, grad (..., columns), mean, rstd (...) in float32 -> gradients of x, and of weight and bias (columns,)."""

    def __init__(self, columns: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(columns))

    def forward(
        self, x: torch.Tensor, grad: torch.Tensor, mean: torch.Tensor, rstd: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        scale = rstd.unsqueeze(-1)
        normalised = (x.float() - mean.unsqueeze(-1)) * scale
        weighted = grad.float() * self.weight.float()
        along = (weighted * normalised).mean(-1, keepdim=True)
        grad_x = (weighted - weighted.mean(-1, keepdim=True) - normalised * along) * scale
        grad_weight = (grad.float() * normalised).reshape(-1, x.shape[-1]).sum(0)
        grad_bias = grad.float().reshape(-1, x.shape[-1]).sum(0)
        return grad_x.to(x.dtype), grad_weight.to(x.dtype), grad_bias.to(x.dtype)


rows = 16384
columns = 8192


def get_inputs():
    return [torch.randn(rows, columns), torch.randn(rows, columns), torch.randn(rows), torch.rand(rows) + 0.5]


def get_init_inputs():
    return [columns]

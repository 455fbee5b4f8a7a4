"""Root-mean-square normalisation over dimension 1, in plain PyTorch (KernelBench level 1, problem 36)."""

import torch
import torch.nn as nn


class Model(nn.Module):
    """x (N, C, ...) -> x / sqrt(mean of x^2 over C + eps), in the shape of x."""

    def __init__(self, num_features: int, eps: float = 1e-5):
        super().__init__()
        self.num_features = num_features
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x / torch.sqrt(torch.mean(x**2, dim=1, keepdim=True) + self.eps)


batch_size = 16
features = 64
dim1 = 512
dim2 = 512


def get_inputs():
    return [torch.rand(batch_size, features, dim1, dim2)]


def get_init_inputs():
    return [features]

"""Mean cross entropy and its gradient, in plain PyTorch (the loss is KernelBench level 1, problem 95).

Kernels of the field overwrite the logits with the gradient. Here the gradient is a result of its own: it costs the same
bytes, and every round of a measurement works on the same logits, not on the gradient of a gradient.
"""

import torch
import torch.nn as nn


class Model(nn.Module):
    """logits (N, C), targets (N) of int64 -> mean loss over targets that are not ignore_index, and its gradient (N, C).

    Both are of the logits' dtype. Without a target that counts the loss is nan and the gradient 0.
    """

    def __init__(self, ignore_index: int = -100) -> None:
        super().__init__()
        self.ignore_index = ignore_index

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.enable_grad():
            leaf = logits.detach().requires_grad_()
            loss = nn.functional.cross_entropy(leaf, targets, ignore_index=self.ignore_index)
            (gradient,) = torch.autograd.grad(loss, leaf)
        return loss.detach(), gradient


rows = 8192
classes = 131072


def get_inputs():
    return [torch.randn(rows, classes), torch.randint(classes, (rows,))]


def get_init_inputs():
    return []

"""A ladder in a script: softmax by three kernels, and by one."""

from __future__ import annotations

import torch
from torch import Tensor

import rooflift as rl

ROWS, COLUMNS = 8192, 4096


def by_parts(x: Tensor) -> Tensor:
    """Softmax as it is written down: several kernels."""
    e = torch.exp(x - x.amax(dim=1, keepdim=True))
    return e / e.sum(dim=1, keepdim=True)


def whole(x: Tensor) -> Tensor:
    """Softmax of torch: one kernel."""
    return torch.softmax(x, dim=1)


rows = torch.randn(ROWS, COLUMNS, device="cuda")
for version, softmax in (("v0_parts", by_parts), ("v1_whole", whole)):
    softmax(rows)
    for _ in range(5):
        with rl.region(version, case="wide", dtype="float32"):
            softmax(rows)

"""The longest sum of a reference is seen, whatever torch calls it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional as F  # noqa: N812  # torch's own name for it

from rooflift.worker.lengths import longest_sum

X = torch.rand(2, 12, 5, 7)
ROWS = torch.rand(3, 9)
TARGETS = torch.tensor([1, 2, 3])


def gradient() -> torch.Tensor:
    rows = ROWS.clone().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(rows, TARGETS), rows)[0]


@pytest.mark.parametrize(
    ("run", "length"),
    [
        (lambda: X + 1, 1),
        (lambda: X.sum((2, 3)), 35),
        (lambda: X.cumsum(1), 12),
        (lambda: X.softmax(1), 12),
        (lambda: F.cross_entropy(ROWS, TARGETS), 9),
        (gradient, 9),
        (lambda: F.layer_norm(X, (5, 7)), 35),
        (lambda: F.group_norm(X, 3), 4 * 35),
        (lambda: F.batch_norm(X, None, None, training=True), 2 * 35),
        (lambda: ROWS @ ROWS.T, 9),
        (lambda: F.conv2d(X, torch.rand(4, 12, 3, 3)), 12 * 9),
    ],
)  # fmt: skip
def test_the_longest_sum(run: Callable[[], torch.Tensor], length: int) -> None:
    with longest_sum() as seen:
        run()
    assert seen.sums == length

"""How many terms the longest sum of a reference has, seen while it runs: sums, products, scans, norms."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_PRODUCTS = {"mm": 0, "bmm": 0, "addmm": 1, "baddbmm": 1, "addmv": 1, "mv": 0, "dot": 0}  # which argument has K last
_SCANS = ("cumsum", "cumprod", "logcumsumexp", "_softmax", "_log_softmax")  # along a dimension that is named
_SUMS = ("sum", "mean", "var", "var_mean", "norm", "linalg_vector_norm", "logsumexp", "nansum", "avg_pool")


@dataclass(slots=True)
class Lengths:
    """The terms of the longest sum, and of the longest among them that tensor cores take: products, convolutions."""

    sums: int = 1
    products: int = 1


@contextlib.contextmanager
def longest_sum() -> Iterator[Lengths]:
    """Yield lengths that grow to those of the longest sums computed inside.

    >>> import torch
    >>> with longest_sum() as length:
    ...     _ = (torch.ones(3, 50) @ torch.ones(50, 200)).sum(-1)
    >>> length
    Lengths(sums=200, products=50)
    """
    import torch

    from rooflift.worker.seen import Seen

    longest = Lengths()

    class Terms(Seen):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            name = func.__name__.split(".")[0]
            terms = _terms(name, args, result, torch.is_tensor)
            longest.sums = max(longest.sums, terms)
            if name in _PRODUCTS or name == "convolution" or "attention" in name:
                longest.products = max(longest.products, terms)
            return result

    with Terms():  # type: ignore[no-untyped-call]  # torch's class has no types
        yield longest


def _terms(name: str, args: Any, result: Any, is_tensor: Any) -> int:
    if name in _PRODUCTS:
        return int(args[_PRODUCTS[name]].shape[-1])
    if name == "convolution":
        weight = args[1]
        return int(weight.numel() // max(weight.shape[0], 1))
    if "attention" in name:
        return int(args[1].shape[-2])
    if name in _SCANS:
        return int(args[0].shape[args[1]] if args[0].dim() else 1)
    if name in ("native_layer_norm", "_fused_rms_norm"):
        return math.prod(args[1])
    if name in ("native_batch_norm", "cudnn_batch_norm", "native_group_norm"):
        statistics = args[3] * args[6] if name == "native_group_norm" else args[0].shape[1]
        return int(args[0].numel() // max(statistics, 1))
    if name.startswith(_SUMS):
        first = result[0] if isinstance(result, tuple) else result
        if is_tensor(first) and is_tensor(args[0]) and first.numel():
            return int(args[0].numel() // first.numel())
    return 1

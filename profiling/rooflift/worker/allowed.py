"""How far an element may be from the truth: the size of its terms, and the share of it that is allowed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from rooflift.project.cases import Case
from rooflift.worker.inputs import tensors
from rooflift.worker.results import Result, is_float

if TYPE_CHECKING:
    import torch

BLOCK = 1024  # elements whose median a scale takes a tenth of
SLICE = 1 << 24  # elements compared at once: 128 MiB in float64
SAMPLE = 1 << 20  # elements of which the reference's own error takes a quantile
FP32_STEP = 2.0**-23
NOISE = 2.0**-24  # of the inputs' size
STEPS = 16  # units in the last place of float32 and float64: what the functions of GPUs and short sums are off by
TF32_SHARE = 2.0**-8  # where a case allows TF32: 13 bits of both factors are cut off; five times the usual error


def bound(result: Result, spread: torch.Tensor | None, case: Case, longest_sum: int, inputs: list[Any]) -> None:
    """Set a float result's scale and the share of it that is allowed; `spread` becomes the scale."""
    result.scale = size_of_terms(result.leaf.value, spread)
    result.share = _share(result, case, longest_sum)
    result.zero = _cancelled(result, inputs)


def size_of_terms(true: torch.Tensor, spread: torch.Tensor | None) -> torch.Tensor:
    """Return the size of the terms of each element in float32, slice by slice."""
    import torch

    scale = torch.zeros(true.shape, dtype=torch.float32, device=true.device) if spread is None else spread
    flat, values = scale.view(-1), true.reshape(-1)
    for start in range(0, true.numel(), SLICE):
        part = values[start : start + SLICE].abs().float()
        part = torch.where(part.isfinite(), part, 0).add_(flat[start : start + SLICE])
        full = len(part) // BLOCK * BLOCK
        flat[start : start + full] = _with_median(part[:full].view(-1, BLOCK)).view(-1)
        if full < len(part):
            flat[start + full : start + len(part)] = _with_median(part[full:].view(1, -1)).view(-1)
    return scale


def _with_median(blocks: torch.Tensor) -> torch.Tensor:
    return blocks + 0.1 * blocks.median(dim=1, keepdim=True).values


def _cancelled(result: Result, inputs: list[Any]) -> float:
    """Set the scale to 0 where the truth is 0 whatever its terms are, as the loss of a single class is.

    There terms of the inputs' size cancel, which float32 does to within its step. A spread of less than NOISE of them
    is float64's own rounding.
    """
    given = [x for x in tensors(inputs) if is_float(x) and x.numel()]
    sizes = [float(x.reshape(-1)[:SAMPLE].float().abs().median()) for x in given]
    size = max(filter(math.isfinite, sizes), default=0.0)
    result.scale.masked_fill_((result.leaf.value == 0) & (result.scale < NOISE * size), 0)
    return FP32_STEP * size


def _share(result: Result, case: Case, length: int) -> float:
    """Return the share of the scale that a result may be off by."""
    import torch

    if case.tolerance is not None:
        return case.tolerance
    step = torch.finfo(result.dtype).eps
    unit = step if torch.finfo(result.dtype).bits <= 16 else STEPS * step
    if result.dtype != torch.float64:
        unit = max(unit, math.sqrt(length) * FP32_STEP)
    else:
        unit = max(unit, math.sqrt(length) * step)
    if case.allow_tf32:
        unit = max(unit, TF32_SHARE)
    return max(unit, 2 * _own_share(result))


def _own_share(result: Result) -> float:
    """Return the reference's own error as a share of the scale: the largest, at most 8 times what 99 of 100 are below.

    The bound keeps a few elements for which the reference is bad from excusing all others.
    """
    import torch

    if result.own is None or not result.own.numel():
        return 0.0
    largest, sample = 0.0, []
    flat = [x.reshape(-1) for x in (result.own, result.leaf.value, result.scale)]
    stride = max(1, len(flat[0]) // SAMPLE)
    for start in range(0, len(flat[0]), SLICE):
        own, true, scale = (x[start : start + SLICE] for x in flat)
        ratio = ((own.double() - true).abs_() / scale).nan_to_num_(0, 0, 0)
        largest = max(largest, float(ratio.max()))
        sample.append(ratio[::stride].float())
    usual = float(torch.cat(sample)[:SAMPLE].quantile(0.99))
    return min(largest, 8 * usual) if usual else 0.0

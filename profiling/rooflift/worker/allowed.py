"""How far an element may be from the truth: the size of its terms, and the share of it that is allowed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from rooflift.project.cases import Case
from rooflift.worker.inputs import tensors
from rooflift.worker.results import Result, is_float

if TYPE_CHECKING:
    import torch

    from rooflift.worker.lengths import Lengths

BLOCK = 1024  # elements whose median a scale takes a tenth of
SLICE = 1 << 24  # elements compared at once: 128 MiB in float64
SAMPLE = 1 << 20  # elements of which the reference's own error takes a quantile
FP32_STEP = 2.0**-23
NOISE = 2.0**-24  # of the inputs' size
STEPS = 16  # units in the last place of float32 and float64: what the functions of GPUs and short sums are off by
EIGHT_BIT_STEP = 2.0**-13  # of the largest: what Ada's and Hopper's tensor cores cut off when they add products of fp8
EIGHT_BIT_TERMS = 32  # that one of their instructions adds
TF32_SHARE = 2.0**-8  # where a case allows TF32: 13 bits of both factors are cut off; five times the usual error


def bound(result: Result, spread: torch.Tensor | None, case: Case, lengths: Lengths, inputs: list[Any]) -> None:
    """Set a float result's scale and the share of it that is allowed; `spread` becomes the scale."""
    result.scale = size_of_terms(result.leaf.value, spread)
    result.share = _share(result, case, lengths, inputs)
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


def _share(result: Result, case: Case, lengths: Lengths, inputs: list[Any]) -> float:
    """Return the share of the scale that a result may be off by."""
    import torch

    if case.tolerance is not None:
        return case.tolerance
    step = torch.finfo(result.dtype).eps
    unit = step if torch.finfo(result.dtype).bits <= 16 else STEPS * step
    if result.dtype != torch.float64:
        unit = max(unit, math.sqrt(lengths.sums) * FP32_STEP)
    else:
        unit = max(unit, math.sqrt(lengths.sums) * step)
    if _multiplies_eight_bits(inputs) and lengths.products > 1:
        unit = max(unit, _eight_bit_share(lengths.products))
    if case.allow_tf32:
        unit = max(unit, TF32_SHARE)
    return max(unit, 2 * _own_share(result))


def _multiplies_eight_bits(inputs: list[Any]) -> bool:
    """Whether both factors of a product can be 8-bit floats: two inputs are, or every input that is a float."""
    import torch

    floats = [x for x in tensors(inputs) if is_float(x)]
    eight = [x for x in floats if torch.finfo(x.dtype).bits == 8]
    return bool(eight) and (len(eight) > 1 or len(eight) == len(floats))


def _eight_bit_share(terms: int) -> float:
    """Return what a sum of products loses in tensor cores that keep 13 bits behind the point of its largest number.

    Each instruction aligns its products and the sum so far to the largest and cuts off the rest (DeepSeek-V3,
    arXiv:2412.19437, section 3.3.2; SageAttention2, arXiv:2411.10958): the sum loses up to a step each time and always
    towards one side, the products one each, which add up at random where their signs are.

    >>> _eight_bit_share(4096) * 2**13
    192.0
    """
    return (math.ceil(terms / EIGHT_BIT_TERMS) + math.sqrt(terms)) * EIGHT_BIT_STEP


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

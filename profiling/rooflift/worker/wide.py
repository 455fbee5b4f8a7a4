"""The reference in float64: its results, and how much they change with their terms; in slices where need be."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from rooflift.worker.allowed import SLICE
from rooflift.worker.inputs import each_tensor, seed_everything, tensors
from rooflift.worker.lengths import Lengths, longest_sum
from rooflift.worker.results import Leaf, is_float, leaves
from rooflift.worker.tensors import copy_of

if TYPE_CHECKING:
    import torch

STEP = 2.0**-20  # relative change of a probe: far above float64's rounding, far below what curvature shows
PROBES = 4
LARGE = 1 << 28  # elements of a result from which on half as many probes are made


class Wide(NamedTuple):
    """What the reference gives in float64."""

    true: list[Leaf]
    lengths: Lengths


def run_wide(model: Any, inputs: list[Any], seed: int, changed: frozenset[int], rows: Sequence[range] = ()) -> Wide:
    """Run the reference in float64; of `rows`, part by part of the first dimension."""
    wide = copy_of(model).double()
    with longest_sum() as lengths:
        if not rows:
            return Wide(_call(wide, _doubles(inputs), seed, changed), lengths)
        size = rows[-1].stop
        found: list[Leaf] = []
        for part in rows:
            some = _call(wide, _doubles(sliced(inputs, size, part)), seed, changed)
            if not found:
                found = [leaf._replace(value=leaf.value.new_empty((size, *leaf.value.shape[1:]))) for leaf in some]
            for own, whole in zip(some, found, strict=True):
                whole.value[part.start : part.stop] = own.value
    return Wide(found, lengths)


def spread_of(
    model: Any,
    inputs: list[Any],
    true: Sequence[Leaf],
    seed: int,
    changed: frozenset[int],
    rows: Sequence[range] = (),
    probes: int | None = None,
) -> list[torch.Tensor | None]:
    """Return how much each element changes with what it is made of, relative to the change; None of what is no float.

    By default from `PROBES` runs in float64, half as many for the largest results.
    """
    wide = copy_of(model).double()
    if probes is None:
        largest = max((leaf.value.numel() for leaf in true if is_float(leaf.value)), default=0)
        probes = PROBES if largest < LARGE else PROBES // 2
    if not rows:
        return _spread(wide, inputs, true, seed, changed, probes)
    size = rows[-1].stop
    whole = [_zeros(leaf.value) if is_float(leaf.value) else None for leaf in true]
    for part in rows:
        own = [leaf._replace(value=leaf.value[part.start : part.stop]) for leaf in true]
        for some, place in zip(
            _spread(wide, sliced(inputs, size, part), own, seed, changed, probes), whole, strict=True
        ):
            if place is not None and some is not None:
                place[part.start : part.stop] = some
    return whole


def sliced(inputs: list[Any], size: int, part: range) -> list[Any]:
    """Return the rows of a part of every tensor whose first dimension is `size`, and the other inputs whole."""

    def rows(x: torch.Tensor) -> torch.Tensor:
        return x[part.start : part.stop] if x.dim() and len(x) == size else x

    return [each_tensor(x, rows) for x in inputs]


def _call(model: Any, inputs: list[Any], seed: int, changed: frozenset[int]) -> list[Leaf]:
    seed_everything(seed)
    with _in_float64():
        found = leaves(model(*inputs))
    # what a reference rounds to 8 bits on its way out is no float64 yet, and nothing is computed in 8 bits
    found = [leaf._replace(value=leaf.value.double()) if is_float(leaf.value) else leaf for leaf in found]
    return [*found, *afterwards(inputs, changed)]


def afterwards(inputs: list[Any], changed: frozenset[int]) -> list[Leaf]:
    """Return the inputs that a reference changes, as results of their own."""
    return [Leaf(f"input {n} afterwards", x) for n, x in enumerate(tensors(inputs)) if n in changed]


def _doubles(inputs: list[Any]) -> list[Any]:
    """Return copies of inputs, floats in float64."""
    import torch

    return [each_tensor(x, lambda t: t.to(torch.float64, copy=True) if is_float(t) else t.clone()) for x in inputs]


@contextlib.contextmanager
def _in_float64() -> Iterator[None]:
    """Let whatever a reference makes or casts on its way be float64: its hidden states, its x.float()."""
    import torch
    from torch.overrides import TorchFunctionMode

    floats = (torch.float32, torch.float16, torch.bfloat16)

    class Wide(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func in (torch.Tensor.float, torch.Tensor.half, torch.Tensor.bfloat16):
                return args[0].double()
            args = tuple(torch.float64 if isinstance(x, torch.dtype) and x in floats else x for x in args)
            kwargs = {
                name: torch.float64 if isinstance(x, torch.dtype) and x in floats else x
                for name, x in (kwargs or {}).items()
            }
            return func(*args, **kwargs)

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with Wide():
            yield
    finally:
        torch.set_default_dtype(before)


def _spread(
    wide: Any, inputs: list[Any], true: Sequence[Leaf], seed: int, changed: frozenset[int], probes: int
) -> list[torch.Tensor | None]:
    """Return the root of the mean square of what the probes change each element by: float32."""
    import torch

    sums = [_zeros(leaf.value) if is_float(leaf.value) else None for leaf in true]
    for probe in range(probes):
        torch.manual_seed(probe + 1)
        _add_probe(wide, inputs, true, seed, changed, sums)
    return [None if total is None else total.div_(math.sqrt(probes)) for total in sums]


def _zeros(like: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.zeros(like.shape, dtype=torch.float32, device=like.device)


def _add_probe(
    wide: Any, inputs: list[Any], true: Sequence[Leaf], seed: int, changed: frozenset[int], sums: list[Any]
) -> None:
    """Run the reference with everything changed a little; its tensors, the largest there are, go with this call."""
    model = copy_of(wide)
    for tensor in (*model.parameters(), *model.buffers()):
        _shake(tensor)
    given = _doubles(inputs)
    for tensor in tensors(given):
        _shake(tensor)
    for leaf, base, total in zip(_call(model, given, seed, changed), true, sums, strict=True):
        if total is not None and leaf.value.shape == base.value.shape:
            _add_change(total, leaf.value, base.value)


def _add_change(total: Any, moved: torch.Tensor, base: torch.Tensor) -> None:
    """Make the total the root of its square and that of each element's change, whose square may underflow."""
    flat, one, other = total.view(-1), moved.reshape(-1), base.reshape(-1)
    for start in range(0, flat.numel(), SLICE):
        change = one[start : start + SLICE].sub(other[start : start + SLICE]).div_(STEP)
        flat[start : start + SLICE].hypot_(change.float().nan_to_num_(0, 0, 0))


def _shake(tensor: torch.Tensor) -> None:
    """Multiply each element by 1 + or - STEP, times 0.5 to 1.5: two terms of one size do not cancel in every probe.

    Slice by slice of the longest dimension: the tensor may be as large as memory allows.
    """
    import torch

    if not tensor.is_floating_point() or not tensor.numel():
        return
    tensor = tensor if tensor.dim() else tensor.view(1)
    sizes = torch.empty(tensor.shape[-1:], dtype=torch.float32, device=tensor.device).uniform_(0.5 * STEP, 1.5 * STEP)
    dim = max(range(tensor.dim()), key=tensor.size)
    step = max(1, SLICE * tensor.shape[dim] // tensor.numel())
    for start in range(0, tensor.shape[dim], step):
        part = tensor.narrow(dim, start, min(step, tensor.shape[dim] - start))
        change = torch.empty_like(part, dtype=torch.float32).bernoulli_(0.5).mul_(2).sub_(1)
        part.addcmul_(part, change.mul_(sizes[start : start + step] if dim == tensor.dim() - 1 else sizes))

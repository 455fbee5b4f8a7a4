"""Inputs drawn from what a case says of them, or made by the reference; one seed gives the same ones again."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

import msgspec

from rooflift.dtypes import INPUT_DTYPES
from rooflift.project.cases import Case
from rooflift.project.inputs import Entry, Input
from rooflift.worker.stand_in import gpu_stands_in

if TYPE_CHECKING:
    import torch

LARGE = 1e4  # of "large": most of float16's range is used, and products of two do not fit into it
EDGE = 64  # the last 1/64 of a dimension, one element at least
LOUD = 8.0  # times as large the values there are, where edges are loud


def make_inputs(reference: ModuleType, case: Case, device: str, seed: int, *, loud_edges: bool = False) -> list[Any]:
    """Return fresh inputs: what the case says, or the reference's own get_inputs().

    With `loud_edges` the last values along each dimension of a normal distribution are larger than the others, so that
    a sum which leaves them out is wrong by much and not by one part in a thousand.
    """
    seed_everything(seed)
    if case.inputs is None:
        return _own(reference, case, device)
    return [_make(entry, case, device, loud_edges) for entry in case.inputs]


def seed_everything(seed: int) -> None:
    """Seed what files draw from: torch, numpy's and Python's global generators."""
    import random
    import sys

    import torch

    torch.manual_seed(seed)
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed % 2**32)


def tensors(values: Any) -> list[torch.Tensor]:
    """Return the tensors in inputs, those in lists and dicts too, in order."""
    import torch

    if torch.is_tensor(values):
        return [values]
    if isinstance(values, Mapping):
        return [x for value in values.values() for x in tensors(value)]
    if isinstance(values, list | tuple):
        return [x for value in values for x in tensors(value)]
    return []


def each_tensor(values: Any, change: Callable[[torch.Tensor], Any]) -> Any:
    """Return inputs or results with every tensor changed, also in lists, tuples and dicts.

    >>> import torch
    >>> each_tensor([torch.ones(1), {"a": (2, torch.ones(1))}], lambda x: x.item())
    [1.0, {'a': (2, 1.0)}]
    """
    import torch

    if torch.is_tensor(values):
        return change(values)
    if isinstance(values, Mapping):
        return {key: each_tensor(value, change) for key, value in values.items()}
    if isinstance(values, list | tuple):
        made = [each_tensor(value, change) for value in values]
        return type(values)(*made) if hasattr(values, "_fields") else type(values)(made)
    return values


def clones(values: Any) -> Any:
    """Return inputs with every tensor copied, in the same layout."""
    return each_tensor(values, lambda x: x.clone())


def _own(reference: ModuleType, case: Case, device: str) -> list[Any]:
    """Return get_inputs() of the reference, made on the device where the file lets it be.

    Floats take the case's dtype, unless they have several among themselves, which then are meant.
    """
    import torch

    try:
        with torch.device(device), gpu_stands_in(device), _unvalidated(device):
            made = reference.get_inputs()
    except (RuntimeError, TypeError):  # a generator of the CPU's, or numpy's arrays: the file says where
        if device == "meta":
            raise
        with gpu_stands_in(device):
            made = reference.get_inputs()
    if isinstance(made, Mapping):  # by the names of forward's parameters
        order = list(inspect.signature(reference.Model.forward).parameters)
        made = [made[name] for name in sorted(made, key=order.index)]
    floats = {x.dtype for x in tensors(made) if x.is_floating_point()}
    wanted = getattr(torch, case.dtype)

    def settle(x: torch.Tensor) -> torch.Tensor:
        cast = x.is_floating_point() and len(floats) == 1 and x.element_size() > 1
        return x.to(device=device, dtype=wanted if cast else x.dtype)

    return [each_tensor(x, settle) for x in made]


@contextlib.contextmanager
def _unvalidated(device: str) -> Iterator[None]:
    """Keep torch.distributions from looking at the values of its parameters where tensors have none."""
    if device != "meta":
        yield
        return
    from torch.distributions import Distribution

    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(__debug__)


def _make(entry: Entry, case: Case, device: str, loud: bool) -> Any:
    if isinstance(entry, Input) and not entry.is_tensor:
        return entry.value if entry.items is None else [_make(item, case, device, loud) for item in entry.items]
    described = Input(tuple(entry)) if isinstance(entry, list) else entry
    return _laid_out(_draw(described, described.dtype or case.dtype, device, loud), described.layout)


def _draw(described: Input, dtype: str, device: str, loud: bool) -> torch.Tensor:
    """Return one tensor, contiguous; what has no random generator of its dtype is drawn in float32 and cast."""
    import torch

    assert described.shape is not None
    kind, wanted = INPUT_DTYPES[dtype], getattr(torch, dtype)
    if device == "meta":  # there are no values, and torch would load its compiler to draw none
        return torch.empty(described.shape, device=device, dtype=wanted)
    default = {"float": "normal", "integer": "integers", "boolean": "mask"}[kind]
    drawn = torch.float64 if dtype == "float64" else torch.float32
    if wanted in (torch.float16, torch.bfloat16) and (described.values or default) == "normal":
        drawn = wanted
    values = _values(described.values or default, msgspec.structs.replace(described, dtype=dtype), device, drawn)
    if loud and (described.values or default) == "normal":
        _make_edges_loud(values)
    return values.to(wanted)


def _make_edges_loud(values: torch.Tensor) -> None:
    """Multiply the last values along each dimension, those of several dimensions once."""
    for axis, size in enumerate(values.shape):
        if size > 1:
            edge = -(-size // EDGE)
            values.narrow(axis, size - edge, edge).mul_(LOUD)
            values = values.narrow(axis, 0, size - edge)


def _values(kind: str, described: Input, device: str, dtype: torch.dtype) -> torch.Tensor:  # noqa: C901  # one branch a distribution
    """Return values of one distribution; those of integers and masks are of their own dtype."""
    import torch

    assert described.shape is not None
    shape, low, high, dim = described.shape, described.low or 0.0, described.high, described.dim
    match kind:
        case "uniform":
            return torch.empty(shape, device=device, dtype=dtype).uniform_(low, 1.0 if high is None else high)
        case "integers":
            assert high is not None  # project.inputs refuses integers without it
            return torch.randint(int(low), int(high), shape, device=device)
        case "labels":
            choices = torch.tensor(described.choices, device=device, dtype=dtype)
            return choices[torch.randint(len(described.choices), shape, device=device)]
        case "permutation":
            return torch.rand(shape, device=device).argsort(dim)
        case "mask":
            return torch.rand(shape, device=device) < described.share
        case "zeros":
            return torch.zeros(shape, device=device, dtype=dtype)
        case "subnormal":  # below the smallest normal number of the input's dtype, above half of it
            tiny = torch.finfo(getattr(torch, described.dtype or "")).tiny
            return torch.empty(shape, device=device, dtype=dtype).uniform_(0.5, 1.0) * tiny
    normal = torch.randn(shape, device=device, dtype=dtype)
    match kind:
        case "probabilities":
            return normal.softmax(dim)
        case "lower_triangular":
            return normal.tril()
        case "upper_triangular":
            return normal.triu()
        case "symmetric":
            return normal.tril() + normal.tril(-1).mT
        case "sorted":
            return normal.sort(dim).values
        case "large":
            return normal * LARGE
        case "special":
            which, share = torch.rand(shape, device=device), described.share / 3
            for place, special in enumerate((float("inf"), -float("inf"), float("nan"))):
                normal = normal.masked_fill((which >= share * place) & (which < share * (place + 1)), special)
    return normal


def _laid_out(values: torch.Tensor, layout: str) -> torch.Tensor:
    """Return the same values in another layout: strides that a version has to read."""
    import torch

    if layout == "channels_last":
        form = torch.channels_last if values.dim() == 4 else torch.channels_last_3d
        return values.contiguous(memory_format=form)
    if layout == "transposed":  # the last two dimensions lie the other way around
        return values.mT.contiguous().mT
    if layout == "sliced":  # every second element of a row of twice the length
        wide = values.new_zeros((*values.shape[:-1], 2 * values.shape[-1]))
        wide[..., ::2] = values
        return wide[..., ::2]
    return values


def describe(inputs: Sequence[Any]) -> list[list[int]]:
    """Return the shapes of the tensors among inputs."""
    return [list(x.shape) for x in tensors(inputs)]

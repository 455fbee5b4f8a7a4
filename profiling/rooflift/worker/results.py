"""The leaves of what a module returns: tensors, numbers and None, in tuples, lists, dicts and nests of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


class Leaf(NamedTuple):
    """One value of a result and its place, such as "[1]['h']"; "" is the result itself."""

    place: str
    value: Any


@dataclass(slots=True)
class Result:
    """One value that a version has to give."""

    leaf: Leaf  # in float64 where it is a float, else as it is
    dtype: Any  # that a version has to return; None of what is no tensor
    own: Any = None  # the reference's in the working dtype; None where it does not run in it
    scale: Any = None  # float32, of floats
    share: float = 0.0  # of the scale, that a result may be off by
    zero: float = 0.0  # what it may be off by where the truth is 0 and its scale too, whatever cancelled there


def leaves(result: Any, place: str = "") -> list[Leaf]:
    """Return the values of a result in order; of a complex tensor its real and imaginary parts, the last dimension.

    >>> leaves((1.5, {"h": None}))
    [Leaf(place='[0]', value=1.5), Leaf(place="[1]['h']", value=None)]
    """
    if isinstance(result, Mapping):
        return [leaf for key, value in result.items() for leaf in leaves(value, f"{place}[{key!r}]")]
    if isinstance(result, list | tuple):
        return [leaf for number, value in enumerate(result) for leaf in leaves(value, f"{place}[{number}]")]
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        own = {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
        return [leaf for name, value in own.items() for leaf in leaves(value, f"{place}.{name}")]
    if hasattr(result, "is_complex") and result.is_complex():
        import torch

        return [Leaf(place, torch.view_as_real(result.resolve_conj()))]
    return [Leaf(place, result)]


def form(value: Any) -> str:
    """Return "(4, 8) float32" of a tensor, the value of what is no tensor by its type.

    >>> form(3), form(None)
    ('int', 'None')
    """
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    return "None" if value is None else type(value).__name__


def is_float(value: Any) -> bool:
    """Whether a value is a tensor of floats."""
    return hasattr(value, "is_floating_point") and bool(value.is_floating_point())

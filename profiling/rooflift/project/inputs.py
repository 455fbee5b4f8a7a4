"""What cases.toml says of inputs: tensors of a shape, dtype and distribution, scalars, lists, None. Draws nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec

from rooflift.dtypes import INPUT_DTYPES
from rooflift.errors import CatalogError
from rooflift.project.formula import whole

Values = Literal[
    "normal", "uniform", "integers", "labels", "probabilities", "lower_triangular", "upper_triangular", "symmetric",
    "sorted", "permutation", "mask", "zeros", "large", "subnormal", "special",
]  # fmt: skip  # worker.inputs draws them
Layout = Literal["contiguous", "channels_last", "transposed", "sliced"]
InputDtype = Annotated[str, msgspec.Meta(pattern=rf"^({'|'.join(INPUT_DTYPES)})\Z")]

FORM = (
    'An input is a shape, [4, "N"] with numbers and names of `sizes`; a table { shape, dtype, values, low, high, '
    "choices, dim, share, layout }; a number or a boolean; { value = ... }, { items = [...] } or { none = true }."
)


class Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One input that is no plain shape. Without shape, items and value it is None.

    >>> Input((8,), dtype="int64", values="integers", high=10).is_tensor, Input(value=3.14).is_tensor
    (True, False)
    """

    shape: tuple[int, ...] | None = None
    dtype: InputDtype | None = None  # None: the case's
    values: Values | None = None  # None: normal, of integers `integers`, of booleans `mask`
    low: float | None = None  # uniform and integers: from low
    high: float | None = None  # up to below high
    choices: tuple[float, ...] = ()  # labels: each element is one of them
    dim: int = -1  # probabilities, sorted, permutation: along this dimension
    share: float = 0.5  # mask, special: of the elements that are True, or inf and nan
    layout: Layout = "contiguous"  # how it lies in memory
    value: bool | int | float | str | None = None  # a Python scalar
    items: tuple[Entry, ...] | None = None  # a list

    @property
    def is_tensor(self) -> bool:
        """Whether it is a tensor, and no scalar, list or None."""
        return self.shape is not None


Entry = Annotated[list[int], msgspec.Meta(min_length=0)] | Input  # a shape alone: normal, in the case's dtype


class _Table(msgspec.Struct, forbid_unknown_fields=True):
    """An input as a table of cases.toml: sizes may be formulas."""

    shape: list[int | str] | None = None
    dtype: InputDtype | None = None
    values: Values | None = None
    low: float | str | None = None
    high: float | str | None = None
    choices: list[float] = []
    dim: int = -1
    share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5
    layout: Layout = "contiguous"
    value: bool | int | float | str | None = None
    items: list[Any] | None = None
    none: bool = False


def read_inputs(entries: Sequence[Any], names: Mapping[str, Any], where: str) -> list[Entry]:
    """Return inputs with the values of their formulas; `where` is the key that holds them.

    >>> read_inputs([["M", 4], 0.5], {"M": 3}, "inputs")
    [[3, 4], Input(value=0.5)]

    Raises:
        CatalogError: an input has another form; the message begins with its place, such as inputs[1].shape[0].
    """
    return [_entry(entry, names, f"{where}[{place}]") for place, entry in enumerate(entries)]


def shapes(entries: Sequence[Entry]) -> list[list[int]]:
    """Return the shapes of the tensors among inputs, also of those in lists.

    >>> shapes([[4, 8], Input(value=2.0), Input(items=([3], Input((5,))))])
    [[4, 8], [3], [5]]
    """
    found: list[list[int]] = []
    for entry in entries:
        if isinstance(entry, list):
            found.append(entry)
        elif entry.shape is not None:
            found.append(list(entry.shape))
        elif entry.items is not None:
            found += shapes(entry.items)
    return found


def _entry(entry: Any, names: Mapping[str, Any], where: str) -> Entry:
    if isinstance(entry, list):
        return _shape(entry, names, where)
    if isinstance(entry, bool | int | float):
        return Input(value=entry)
    try:
        table = msgspec.convert(entry, _Table)
    except msgspec.ValidationError as error:
        raise CatalogError(f"{where}: {error}", FORM) from None
    given = [name for name in ("shape", "value", "items", "none") if getattr(table, name) not in (None, False)]
    if entry.get("value") is False:
        given.append("value")
    if len(given) != 1:
        raise CatalogError(f"{where}: one of shape, value, items and none, not {' and '.join(given) or 'none'}", FORM)
    if table.shape is None:
        items = None if table.items is None else tuple(read_inputs(table.items, names, f"{where}.items"))
        return Input(value=table.value, items=items)
    made = Input(
        shape=tuple(_shape(table.shape, names, f"{where}.shape")),
        dtype=table.dtype,
        values=table.values,
        low=_bound(table.low, names, f"{where}.low"),
        high=_bound(table.high, names, f"{where}.high"),
        choices=tuple(table.choices),
        dim=table.dim,
        share=table.share,
        layout=table.layout,
    )
    _require_sense(made, where)
    return made


def _shape(sizes: Sequence[Any], names: Mapping[str, Any], where: str) -> list[int]:
    return [_size(size, names, f"{where}[{place}]") for place, size in enumerate(sizes)]


def _size(size: Any, names: Mapping[str, Any], where: str) -> int:
    if isinstance(size, bool) or not isinstance(size, int | str):
        raise CatalogError(f"{where}: {size!r} is no size", FORM)
    try:
        return whole(size, names)
    except CatalogError as error:
        raise CatalogError(f"{where}: {error.message}", error.remedy) from None


def _bound(value: float | str | None, names: Mapping[str, Any], where: str) -> float | None:
    return float(_size(value, names, where)) if isinstance(value, str) else value


def _require_sense(made: Input, where: str) -> None:
    """Refuse what cannot be drawn."""
    assert made.shape is not None
    whole_numbers = made.dtype in INPUT_DTYPES and INPUT_DTYPES[made.dtype] == "integer"
    values = made.values or ("integers" if whole_numbers else "normal")
    fault = ""
    if values == "integers" and made.high is None:
        fault = "integers need `high`, which no value reaches"
    elif values in ("integers", "uniform") and (made.low or 0) >= (1 if made.high is None else made.high):
        fault = "`high` must be above `low`"
    elif values == "labels" and not made.choices:
        fault = "labels need `choices`"
    elif values in ("lower_triangular", "upper_triangular", "symmetric") and (
        len(made.shape) < 2 or made.shape[-1] != made.shape[-2]
    ):
        fault = f"{values} needs a square in its last two dimensions"
    elif values in ("probabilities", "sorted", "permutation") and not -len(made.shape) <= made.dim < len(made.shape):
        fault = f"there is no dimension {made.dim}"
    elif made.layout == "channels_last" and len(made.shape) not in (4, 5):
        fault = "channels_last needs 4 or 5 dimensions"
    elif made.layout == "transposed" and len(made.shape) < 2:
        fault = "transposed needs 2 dimensions"
    if fault:
        raise CatalogError(f"{where}: {fault}", FORM)

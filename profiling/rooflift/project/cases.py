"""The cases of an operator: init arguments, input shapes, dtypes, and what each case serves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec

from rooflift.errors import CatalogError

Dtype = Literal["float32", "float16", "bfloat16"]
DTYPES: tuple[Dtype, ...] = get_args(Dtype)
Size = Annotated[int, msgspec.Meta(ge=0)]


@dataclass(frozen=True, slots=True)
class Case:
    """One set of arguments. `init` and `inputs` of None are the reference's own (get_init_inputs, get_inputs)."""

    name: str
    init: dict[str, Any] | None
    inputs: list[list[int]] | None
    dtypes: tuple[str, ...]
    use: frozenset[str]  # "test": checked in the interpreter and on GPUs; "bench": timed on a GPU
    metrics: tuple[str, ...] = ()  # the dtypes whose metrics ncu collects; everyday work measures the first


class _CaseTable(msgspec.Struct, forbid_unknown_fields=True):
    init: dict[str, Any]
    inputs: Annotated[list[list[Size]], msgspec.Meta(min_length=1)]
    use: Annotated[list[Literal["test", "bench"]], msgspec.Meta(min_length=1)]
    dtypes: Annotated[list[Dtype], msgspec.Meta(min_length=1)] = msgspec.field(default_factory=lambda: list(DTYPES))
    metrics: Annotated[list[Dtype], msgspec.Meta(min_length=1)] | None = None


_FORM = "A case is a table with init = {...}, inputs = [[shape], ...], use = ['test', 'bench'], dtypes, metrics."


def _case(path: Path, name: str, values: Any) -> Case:
    try:
        table = msgspec.convert(values, _CaseTable)
    except msgspec.ValidationError as error:
        raise CatalogError(f"{path}: [{name}]: {error}", _FORM) from None
    metrics = table.metrics or (table.dtypes[:1] if name == "main" else [])
    for dtype in metrics:
        if dtype not in table.dtypes:
            raise CatalogError(f"{path}: [{name}]: metrics: {dtype} is none of its dtypes", _FORM)
    if table.metrics and "bench" not in table.use:
        raise CatalogError(f"{path}: [{name}]: metrics: the case is not for the bench", "Add 'bench' to its use.")
    return Case(name, table.init, table.inputs, tuple(table.dtypes), frozenset(table.use), tuple(metrics))


def read_cases(path: Path) -> dict[str, Case]:
    """Read cases.toml; without the file the reference's own inputs are the case `main`, in float32.

    Without `metrics` ncu collects those of `main` in its first dtype, and no other case's.

    Raises:
        CatalogError: the file is no TOML, a field is missing, unknown or of another type, metrics are asked for of a
            dtype that the case does not have, or no bench case is `main`.
    """
    if not path.exists():
        return {"main": Case("main", None, None, ("float32",), frozenset({"bench"}), ("float32",))}
    try:
        tables = msgspec.toml.decode(path.read_bytes(), type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CatalogError(f"{path}: not TOML: {error}", _FORM) from None
    cases = {name: _case(path, name, table) for name, table in tables.items()}
    if "main" not in cases or "bench" not in cases["main"].use:
        raise CatalogError(
            f"{path}: no case `main`", "Name the case that the ladder is about [main], with use = ['bench']."
        )
    return cases

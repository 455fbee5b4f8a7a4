"""The cases of an operator: init arguments, input shapes, dtypes, what each case serves; and its ladders' cases."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from rooflift.dtypes import DTYPES
from rooflift.errors import CatalogError, did_you_mean

DtypeName = Annotated[str, msgspec.Meta(pattern=rf"^({'|'.join(DTYPES)})\Z")]
LADDER = "ladder"  # the table of ladders; no case can have this name
MAIN = "main"  # the case that the general ladder is about
Size = Annotated[int, msgspec.Meta(ge=0)]


@dataclass(frozen=True, slots=True)
class Case:
    """One set of arguments. `init` and `inputs` of None are the reference's own (get_init_inputs, get_inputs)."""

    name: str
    init: dict[str, Any] | list[Any] | None
    inputs: list[list[int]] | None
    dtypes: tuple[str, ...]
    use: frozenset[str] = frozenset()  # "test": checked in the interpreter and on GPUs; "bench": timed on a GPU
    metrics: tuple[str, ...] = ()  # the dtypes whose metrics ncu collects; everyday work measures the first

    @property
    def dtype(self) -> str:
        """The dtype of a case that is work to do: it has one (`with_dtype`)."""
        (dtype,) = self.dtypes
        return dtype

    def with_dtype(self, dtype: str) -> Case:
        """Return the case in one dtype, which makes it work to do.

        >>> Case("main", {}, [[4]], ("float32", "float16")).with_dtype("float16").dtype
        'float16'
        """
        return replace(self, dtypes=(dtype,))


class LadderTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a ladder in a folder of its own is about: one case in its first dtype, and the cases that it serves."""

    case: str
    dtypes: Annotated[tuple[DtypeName, ...], msgspec.Meta(min_length=1)]
    serves: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]


class _CaseTable(msgspec.Struct, forbid_unknown_fields=True):
    init: dict[str, Any]
    inputs: Annotated[list[list[Size]], msgspec.Meta(min_length=1)]
    use: Annotated[list[Literal["test", "bench"]], msgspec.Meta(min_length=1)]
    dtypes: Annotated[list[DtypeName], msgspec.Meta(min_length=1)] = msgspec.field(default_factory=lambda: list(DTYPES))
    metrics: Annotated[list[DtypeName], msgspec.Meta(min_length=1)] | None = None


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


_LADDER_FORM = "A ladder is a table [ladder.<folder>] with case = '...', dtypes = [...] and serves = ['case', ...]."


def _tables(path: Path) -> dict[str, Any]:
    try:
        return msgspec.toml.decode(path.read_bytes(), type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CatalogError(f"{path}: not TOML: {error}", _FORM) from None


def read_ladders(path: Path) -> dict[str, LadderTable]:
    """Read the tables [ladder.<folder>] of cases.toml: the ladders beside the general one, by folder.

    Raises:
        CatalogError: a field is missing, unknown or of another type.
    """
    tables = _tables(path).get(LADDER, {}) if path.exists() else {}
    try:
        return msgspec.convert(tables, dict[str, LadderTable])
    except msgspec.ValidationError as error:
        raise CatalogError(f"{path}: [{LADDER}]: {error}", _LADDER_FORM) from None


def ladder_cases(path: Path, ladder: str, cases: dict[str, Case]) -> tuple[str, dict[str, Case]]:
    """Return the case that a ladder is about, and of `cases` those that it serves, in its dtypes.

    ncu collects the metrics of the ladder's case in its first dtype.

    Raises:
        CatalogError: the ladder has no table, a case is unknown or lacks one of the dtypes, or the ladder's case is not
            for the bench.
    """
    table = read_ladders(path).get(ladder)
    if table is None:
        raise CatalogError(f"{path}: no table [{LADDER}.{ladder}] for the versions in {ladder}/", _LADDER_FORM)
    where = f"{path}: [{LADDER}.{ladder}]"
    for name in (table.case, *table.serves):
        if name not in cases:
            raise CatalogError(f"{where}: no case {name!r}", did_you_mean(name, cases))
        lacking = [dtype for dtype in table.dtypes if dtype not in cases[name].dtypes]
        if lacking:
            raise CatalogError(f"{where}: {name} has no {lacking[0]}", _LADDER_FORM)
    if table.case not in table.serves or "bench" not in cases[table.case].use:
        raise CatalogError(f"{where}: {table.case} is not a bench case that it serves", _LADDER_FORM)
    served = {
        name: replace(case, dtypes=table.dtypes, metrics=table.dtypes[:1] if name == table.case else ())
        for name, case in cases.items()
        if name in table.serves
    }
    return table.case, served


def read_cases(path: Path) -> dict[str, Case]:
    """Read cases.toml; without the file the reference's own inputs are the case `main`, in float32.

    Without `metrics` ncu collects those of `main` in its first dtype, and no other case's.

    Raises:
        CatalogError: the file is no TOML, a field is missing, unknown or of another type, metrics are asked for of a
            dtype that the case does not have, or no bench case is `main`.
    """
    if not path.exists():
        return {"main": Case("main", None, None, ("float32",), frozenset({"bench"}), ("float32",))}
    cases = {name: _case(path, name, table) for name, table in _tables(path).items() if name != LADDER}
    if "main" not in cases or "bench" not in cases["main"].use:
        raise CatalogError(
            f"{path}: no case `main`", "Name the case that the ladder is about [main], with use = ['bench']."
        )
    return cases

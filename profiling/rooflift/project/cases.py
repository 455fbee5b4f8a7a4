"""The cases of an operator: init arguments, input shapes, dtypes, what each case serves; and its ladders' cases."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from rooflift.dtypes import DTYPES, STANDARD
from rooflift.errors import CatalogError, did_you_mean
from rooflift.files import read_regular
from rooflift.project.formula import whole
from rooflift.project.inputs import Entry, read_inputs, shapes
from rooflift.project.stated import Stated, bytes_by_direction, flop_by_unit

DtypeName = Annotated[str, msgspec.Meta(pattern=rf"^({'|'.join(DTYPES)})\Z")]
MOST_BYTES = 2**22  # of cases.toml
LADDER = "ladder"  # the table of ladders; no case can have this name
MAIN = "main"  # the case that the general ladder is about
OWN = "reference"  # the inputs that reference.py makes itself


class Index(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A result that holds positions, as argmax and topk give them: any position of the same value is right."""

    output: int  # which result, from 0
    input: int  # the input that it points into
    dim: int = -1  # along this dimension


@dataclass(frozen=True, slots=True)
class Case:
    """One set of arguments. `init` and `inputs` of None are the reference's own (get_init_inputs, get_inputs)."""

    name: str
    init: dict[str, Any] | list[Any] | None
    inputs: list[Entry] | None
    dtypes: tuple[str, ...]
    use: frozenset[str] = frozenset()  # "test": checked in the interpreter and on GPUs; "bench": timed on a GPU
    metrics: tuple[str, ...] = ()  # the dtypes whose metrics ncu collects; everyday work measures the first
    sizes: dict[str, int] = field(default_factory=dict)  # names in the case's formulas
    constants: dict[str, Any] = field(default_factory=dict)  # values of module constants of reference.py
    tolerance: float | None = None  # largest error relative to the terms; None: by the error model
    allow_tf32: bool = False  # float32 products may be rounded to TF32, by the reference and the versions alike
    index: tuple[Index, ...] = ()
    flop: Stated | None = None  # formulas, where torch would count wrong (project/stated.py)
    bytes: Stated | None = None
    written: dict[str, Any] = field(default_factory=dict)  # sizes and inputs as the file has them, formulas and all

    def with_sizes(self, **sizes: int) -> Case:
        """Return the case with other values of its named sizes; what is a formula of them follows.

        Raises:
            CatalogError: a formula has no value any more.
        """
        return _with_inputs(replace(self, sizes={}), self.written | {"sizes": self.written["sizes"] | sizes})

    @property
    def shapes(self) -> list[list[int]]:
        """The shapes of the case's tensors; none where they are the reference's own."""
        return shapes(self.inputs or [])

    @property
    def names(self) -> dict[str, Any]:
        """What the case's formulas may name: sizes, init arguments and constants."""
        return {**(self.init if isinstance(self.init, dict) else {}), **self.constants, **self.sizes}

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
    inputs: Annotated[list[Any], msgspec.Meta(min_length=1)] | Literal["reference"]
    use: Annotated[list[Literal["test", "bench"]], msgspec.Meta(min_length=1)]
    dtypes: Annotated[list[DtypeName], msgspec.Meta(min_length=1)] = msgspec.field(
        default_factory=lambda: list(STANDARD)
    )
    metrics: Annotated[list[DtypeName], msgspec.Meta(min_length=1)] | None = None
    init: dict[str, Any] | list[Any] | None = None
    sizes: dict[str, Annotated[int, msgspec.Meta(ge=0)] | str] = {}
    constants: dict[str, Any] = {}
    tolerance: Annotated[float, msgspec.Meta(gt=0)] | None = None
    allow_tf32: bool = False
    index: list[Index] = []
    flop: Stated | None = None
    bytes: Stated | None = None


_FORM = (
    "A case is a table with init = {...}, inputs = [[shape], ...] or 'reference', use = ['test', 'bench'], dtypes, "
    "metrics, sizes, constants, tolerance, allow_tf32, index, flop, bytes."
)


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
    case = Case(
        name,
        table.init,
        None,
        tuple(table.dtypes),
        frozenset(table.use),
        tuple(metrics),
        constants=table.constants,
        tolerance=table.tolerance,
        allow_tf32=table.allow_tf32,
        index=tuple(table.index),
        flop=table.flop,
        bytes=table.bytes,
    )
    try:
        case = _with_inputs(case, {"sizes": table.sizes, "inputs": table.inputs})
        for dtype in case.dtypes:  # what is wrong is found when the file is read, not at the end of a measurement
            flop_by_unit(case.flop, case.names, dtype, allow_tf32=case.allow_tf32)
            bytes_by_direction(case.bytes, case.names, dtype)
    except CatalogError as error:
        raise CatalogError(f"{path}: [{name}]: {error.message}", error.remedy) from None
    return case


def _with_inputs(case: Case, written: dict[str, Any]) -> Case:
    """Return a case with the sizes and inputs of its table; a size may be a formula of those before it."""
    for size, value in written["sizes"].items():
        case = replace(case, sizes={**case.sizes, size: _within(f"sizes.{size}", value, case.names)})
    inputs = None if written["inputs"] == OWN else read_inputs(written["inputs"], case.names, "inputs")
    return replace(case, inputs=inputs, written=written if case.sizes else {})


def _within(key: str, formula: int | str, names: dict[str, Any]) -> int:
    try:
        return whole(formula, names)
    except CatalogError as error:
        raise CatalogError(f"{key}: {error.message}", error.remedy) from None


_LADDER_FORM = "A ladder is a table [ladder.<folder>] with case = '...', dtypes = [...] and serves = ['case', ...]."


def _tables(path: Path) -> dict[str, Any]:
    try:
        return msgspec.toml.decode(read_regular(path, MOST_BYTES), type=dict[str, Any])
    except OSError as error:
        raise CatalogError(f"{path}: {error.strerror}", _FORM) from None
    except RecursionError:
        raise CatalogError(f"{path}: its tables are too many in each other", _FORM) from None
    except (msgspec.DecodeError, ValueError) as error:  # no UTF-8, or a number of too many digits
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

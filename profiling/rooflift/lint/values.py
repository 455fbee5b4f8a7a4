"""What an expression of host code may be, as far as a linter must know: numbers, tensors by origin, containers."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Literal

MAX_FORMULA = 300  # characters
MANY = 12  # more possible numbers than this count as any number
OriginKind = Literal["input", "parameter", "fresh", "kept", "empty"]


def _bounded(formula: str) -> str:
    """Keep a formula that doubles with every line from filling the memory; equal ones stay equal."""
    if len(formula) <= MAX_FORMULA:
        return formula
    return f"{formula[:40]}... ({sha256(formula.encode()).hexdigest()[:12]})"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a tensor's memory comes from; `kept` outlives the call, `empty` is returned for an empty input."""

    kind: OriginKind
    name: str


@dataclass(frozen=True, slots=True)
class Scalar:
    """Anything that is no tensor: `constants` are the values it may have, None for any; `text` is its formula."""

    text: str
    constants: frozenset[object] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", _bounded(self.text))


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor that may lie in the memory of `origins`."""

    text: str
    origins: frozenset[Origin]

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", _bounded(self.text))


@dataclass(frozen=True, slots=True)
class External:
    """An object of another package, by its dotted name."""

    path: str


@dataclass(eq=False, slots=True)
class Box:
    """A tuple, list, dictionary or record: its items where they are known, and what any further element may be."""

    items: dict[object, Value] | None
    rest: Value | None = None
    kept: bool = False  # lives longer than one call of forward
    record: bool = False

    def elements(self) -> list[Value]:
        """Return what an element may be."""
        return [*(self.items or {}).values(), *([self.rest] if self.rest is not None else [])]

    def put(self, value: Value) -> None:
        """Add an element at an unknown place; from here on any element may be any."""
        self.rest = join([*self.elements(), value])
        self.items = None


@dataclass(eq=False, slots=True)
class Scope:
    """The names of a function or module."""

    names: dict[str, Value] = field(default_factory=dict)
    parent: Scope | None = None

    def find(self, name: str) -> Value | None:
        """Look a name up, inside out."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.names:
                return scope.names[name]
            scope = scope.parent
        return None


@dataclass(frozen=True, slots=True)
class Function:
    """A function or lambda of the candidate."""

    node: ast.FunctionDef | ast.Lambda
    scope: Scope
    defaults: tuple[tuple[str, Value], ...] = ()


@dataclass(frozen=True, slots=True)
class Record:
    """A class without methods: a dataclass, a named tuple or an enumeration."""

    name: str
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Kernel:
    """A function under `@triton.jit`."""

    name: str


@dataclass(frozen=True, slots=True)
class Launcher:
    """`kernel[grid]`."""

    kernel: Kernel
    grid: Value


@dataclass(frozen=True, slots=True)
class Config:
    """One `triton.Config`: its meta-parameters and its options (warps, stages)."""

    meta: tuple[tuple[str, Value], ...]
    options: tuple[tuple[str, Value], ...]


@dataclass(frozen=True, slots=True)
class Holder:
    """A module of torch.nn, kept for its parameters."""

    name: str


@dataclass(frozen=True, slots=True)
class Instance:
    """`self`, or `super()` of it."""

    parent: bool = False


@dataclass(frozen=True, slots=True)
class Partial:
    """`functools.partial(function, ...)`."""

    function: Value
    args: tuple[Value, ...]
    keywords: tuple[tuple[str, Value], ...]


@dataclass(frozen=True, slots=True)
class Method:
    """An attribute that is about to be called."""

    owner: Value
    name: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """Something that cannot be followed; `told` where a finding has said so already."""

    told: bool = True


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several."""

    options: tuple[Value, ...]


Value = (
    Scalar
    | Tensor
    | External
    | Box
    | Function
    | Record
    | Kernel
    | Launcher
    | Config
    | Holder
    | Instance
    | Partial
    | Method
    | Unknown
    | Choice
)
NONE = Scalar("None", frozenset({None}))
ANY = Scalar("?")


def constant(value: object) -> Scalar:
    """Return a known number, string, bool or None."""
    return Scalar(repr(value), frozenset({value}))


def options(value: Value) -> Iterator[Value]:
    """Return the single things that a value may be."""
    if isinstance(value, Choice):
        for option in value.options:
            yield from options(option)
    else:
        yield value


def join(values: Iterable[Value]) -> Value:
    """Return what may be any of the values; numbers beside a tensor are dropped, as a tensor is the stricter case."""
    seen: list[Value] = []
    for value in values:
        seen.extend(option for option in options(value) if option not in seen)
    tensors = [value for value in seen if isinstance(value, Tensor)]
    scalars = [value for value in seen if isinstance(value, Scalar)]
    others = [value for value in seen if not isinstance(value, Tensor | Scalar)]
    merged: list[Value] = [*others]
    if tensors:
        texts = {tensor.text for tensor in tensors}
        origins = frozenset[Origin]().union(*(tensor.origins for tensor in tensors))
        merged.append(Tensor(texts.pop() if len(texts) == 1 else "?", origins))
    if scalars and not tensors:
        merged.append(_join_scalars(scalars))
    if not merged:
        return NONE
    return merged[0] if len(merged) == 1 else Choice(tuple(merged[:64]))


def _join_scalars(scalars: list[Scalar]) -> Scalar:
    texts = {scalar.text for scalar in scalars}
    text = texts.pop() if len(texts) == 1 else "?"
    known: set[object] = set()
    for scalar in scalars:
        if scalar.constants is None:
            return Scalar(text)
        known |= scalar.constants
    return Scalar(text, frozenset(known) if len(known) <= MANY else None)


def sequence(values: Iterable[Value]) -> Box:
    """Return a tuple or list of known items."""
    return Box(dict(enumerate(values)))


def tensors_in(value: Value, depth: int = 8) -> Iterator[Tensor]:
    """Return the tensors in a value and in what it contains."""
    for option in options(value):
        if isinstance(option, Tensor):
            yield option
        elif isinstance(option, Box) and depth:
            for element in option.elements():
                yield from tensors_in(element, depth - 1)


def signature(value: Value, depth: int = 6) -> object:
    """Return what tells two states of a value apart, containers by their content."""
    if isinstance(value, Choice):
        return frozenset(signature(option, depth) for option in value.options)
    if not isinstance(value, Box):
        return value
    if not depth:
        return "..."
    items = None if value.items is None else tuple((k, signature(v, depth - 1)) for k, v in value.items.items())
    return (items, None if value.rest is None else signature(value.rest, depth - 1), value.kept)

"""Spaces of configurations: values for parameters of a version, read from `NAME=VALUES` and from its file's syntax.

A parameter is an argument of a launch (num_warps, num_stages, num_ctas, maxnreg, a tl.constexpr of a kernel), or a
variable of the host's code, such as a module constant or the block sizes of a wrapper. No kernel file is imported.
"""

from __future__ import annotations

import ast
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rooflift.errors import CatalogError, did_you_mean

Value = bool | int | float | str
Configuration = Mapping[str, Value]  # by parameter; {} leaves a version as it stands
AS_IT_STANDS = "as it stands"  # the name of the version without a configuration
LAUNCH_OPTIONS = ("num_warps", "num_stages", "num_ctas", "maxnreg")  # of triton.Config beside its constexpr arguments
MOST = 1_000_000  # configurations: more are a slip of the pen
_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)")
_FORM = "Give it as --set NAME=64,128, --set NAME=2..5, or --set KERNEL.NAME=... for one kernel of several."


@dataclass(frozen=True, slots=True)
class Space:
    """The values that each parameter may take, or the configurations one by one."""

    values: Mapping[str, tuple[Value, ...]]  # by parameter, in the order in which they were given
    listed: tuple[Configuration, ...] = ()  # those of @triton.autotune; () stands for every combination of the values

    @property
    def size(self) -> int:
        """How many configurations there are."""
        return len(self.listed) or math.prod(map(len, self.values.values()))

    def __iter__(self) -> Iterator[Configuration]:
        """Yield each configuration, the last parameter changing first."""
        if self.listed:
            yield from self.listed
            return
        for chosen in itertools.product(*self.values.values()):
            yield dict(zip(self.values, chosen, strict=True))


def label(configuration: Configuration) -> str:
    """Return a configuration's name.

    >>> label({"BLOCK": 64, "num_warps": 4}), label({})
    ('BLOCK=64 num_warps=4', 'as it stands')
    """
    return " ".join(f"{name}={value}" for name, value in configuration.items()) or AS_IT_STANDS


def listed_space(configurations: Sequence[Configuration]) -> Space:
    """Return the space of some configurations, each once; a parameter that one lacks is none of its."""
    unique = list({label(one): one for one in configurations}.values())
    names = dict.fromkeys(name for one in unique for name in one)
    values = {name: tuple(dict.fromkeys(one[name] for one in unique if name in one)) for name in names}
    return Space(values, tuple(unique))


def parse_space(texts: Sequence[str]) -> Space:
    """Return the space that some `NAME=VALUES` say: values in a row, or the whole numbers from one to another.

    >>> parse_space(["BLOCK=64,128", "num_stages=2..4"]).values
    {'BLOCK': (64, 128), 'num_stages': (2, 3, 4)}

    Raises:
        CatalogError: a text has another form, names a parameter twice, or there are too many configurations.
    """
    values: dict[str, tuple[Value, ...]] = {}
    for text in texts:
        name, equals, listed = (part.strip() for part in text.partition("="))
        if not equals or not all(part.isidentifier() for part in name.split(".")) or name.count(".") > 1:
            raise CatalogError(f"--set {text!r} says no parameter and its values", _FORM)
        if name in values:
            raise CatalogError(f"--set {name} is given twice", f"Give all of its values at once. {_FORM}")
        values[name] = tuple(dict.fromkeys(value for part in listed.split(",") for value in _values(part, text)))
    space = Space(values)
    if space.size > MOST:
        raise CatalogError(f"--set: {space.size:,} configurations", f"Give fewer values: {MOST:,} are the most.")
    return space


def _values(text: str, whole: str) -> Sequence[Value]:
    """Return the values of "64", "2..5", "True", "0.5" or "ieee"."""
    text = text.strip()
    span = _RANGE.fullmatch(text)
    if span:
        low, high = map(int, span.groups())
        if high < low or high - low > MOST:
            raise CatalogError(f"--set {whole!r}: {text} ends before it begins, or too late", _FORM)
        return range(low, high + 1)
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    if not text or not isinstance(value, bool | int | float | str) or not re.fullmatch(r"[\w.+-]+", text):
        raise CatalogError(f"--set {whole!r}: {text!r} is no value of a parameter", _FORM)
    return [value]


def require_parameters(space: Space, version: Path) -> None:
    """Refuse a space with a parameter that a version has not.

    Raises:
        CatalogError: with the near names.
    """
    kernels, host = parameters(version)
    known = list(dict.fromkeys([*LAUNCH_OPTIONS, *itertools.chain(*kernels.values()), *host]))
    for name in space.values:
        kernel, dot, own = name.rpartition(".")
        if dot and kernel not in kernels:
            raise CatalogError(f"{version.stem}: no kernel {kernel!r}", did_you_mean(kernel, kernels))
        if own not in (known if not dot else [*LAUNCH_OPTIONS, *kernels[kernel]]):
            raise CatalogError(f"{version.stem}: no parameter {own!r}", did_you_mean(own, known))


def parameters(version: Path) -> tuple[dict[str, list[str]], list[str]]:
    """Return the tl.constexpr arguments of a version's kernels by kernel, and the variables of the host's code."""
    kernels: dict[str, list[str]] = {}
    host: dict[str, None] = {}
    todo: list[ast.AST] = [ast.parse(version.read_bytes())]
    while todo:
        for node in ast.iter_child_nodes(todo.pop()):
            if isinstance(node, ast.FunctionDef) and is_kernel(node):
                every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                kernels[node.name] = [a.arg for a in every if a.annotation and "constexpr" in ast.unparse(a.annotation)]
                continue
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                host[node.id] = None
            todo.append(node)
    return kernels, sorted(host)


def is_kernel(node: ast.FunctionDef) -> bool:
    """Tell whether a function is compiled by Triton: its own variables are none of the host's."""
    return any(re.search(r"\bjit\b", ast.unparse(decorator)) for decorator in node.decorator_list)

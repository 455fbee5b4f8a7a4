"""The inputs of a plain function, derived from what it says of itself: annotations, docstring, a call of it somewhere.

A dimension is a number or a name; names get sizes: those of the call where it is large enough, else such that the
largest tensor has 2^24 elements.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from rooflift.dtypes import INPUT_DTYPES
from rooflift.errors import CatalogError
from rooflift.project.plain import Parameter, Plain, main

Dim = str | int
MAKERS = ("rand", "randn", "empty", "zeros", "ones", "full", "randint")  # of torch, with sizes in front
LARGE = {0: 1, 1: 2**24, 2: 4096, 3: 256, 4: 64, 5: 32}  # by the largest rank: 2^24 elements, 2^25 of 5
LEAST = 2**20  # elements of an example that is worth timing
KEPT = 16  # a number up to this in a call is taken for what it is: a filter's size, channels
_WORDS = {"tensor", "float", "int", "bool", "optional", "default", "none", "str", "input", "output", "dtype", "device"}
_GROUP = re.compile(r"[\(\[]\s*(\w+(?:\s*,\s*\w+)*)\s*,?\s*[\)\]]")
_BELOW = re.compile(r"(?:below|<|in \[0,)\s*(\w+)")


@dataclass(frozen=True, slots=True)
class Given:
    """One input: a tensor's dimensions, dtype ("" for the case's) and, of integers, what is above them; or a value."""

    name: str
    keyword: bool = False
    dims: tuple[Dim, ...] | None = None
    dtype: str = ""
    high: Dim | None = None
    value: bool | int | float | str | None = None


@dataclass(frozen=True, slots=True)
class Inputs:
    """The inputs of a function, sizes of their names, and where they come from."""

    given: Sequence[Given]
    sizes: Mapping[str, int]
    source: str
    left: Sequence[str]  # parameters that keep their defaults

    @property
    def dtypes(self) -> list[str]:
        """The dtypes of the cases, where all tensors of numbers say the same one; [] for the usual three."""
        said = {one.dtype for one in self.given if one.dims is not None and INPUT_DTYPES.get(one.dtype) != "integer"}
        return [*said] if len(said) == 1 and "" not in said else []


def derive_inputs(function: Plain) -> Inputs:
    """Return the inputs of a function.

    Raises:
        CatalogError: nothing says the shape of a tensor or the value of a number; the remedy is what to write.
    """
    required = [one for one in function.parameters if not one.has_default]
    left = [one.name for one in function.parameters if one.has_default]
    example = {one.name: one for one in _example(function)}
    said = {one.name: _said(one, function) for one in required}
    given, lacking = [], []
    for one in required:
        found = said[one.name] or example.get(one.name)
        if found is None and one.is_tensor and sum(not other.is_scalar for other in required) == 1:
            found = Given(one.name, one.keyword_only, ("M", "N"))
        if found is None:
            lacking.append(one)
        else:
            given.append(found)
    if lacking:
        raise CatalogError(f"{function.path}:{function.node.lineno}: {_lacking(lacking)}", _remedy(function, lacking))
    if not any(one.dims is not None for one in given):
        raise CatalogError(f"{function.path}: {function.name} takes no tensor", "Name a function of tensors.")
    sources = [
        "its docstring and annotations" * any(said.values()),
        "a call of it" * any(not said[one.name] and one.name in example for one in given),
        "a guess, for nothing says the shape" * any(not said[one.name] and one.name not in example for one in given),
    ]
    named, sizes = _named(given)
    return Inputs(named, sizes, " and ".join(filter(None, sources)), left)


def _lacking(parameters: Sequence[Parameter]) -> str:
    tensors = [one.name for one in parameters if not one.is_scalar]
    scalars = [one.name for one in parameters if one.is_scalar]
    parts = [f"nothing says the shape of {', '.join(tensors)}"] if tensors else []
    return " and ".join(parts + ([f"the value of {', '.join(scalars)}"] if scalars else []))


def _remedy(function: Plain, lacking: Sequence[Parameter]) -> str:
    """Return what to write for the parameters that lack something."""
    names = [
        f"    {one.name}: ({'M, N' if place == 0 else 'N,'})" for place, one in enumerate(lacking) if one.is_tensor
    ]
    lines = ["Write into its docstring, with the names or numbers that fit:", *names] if names else []
    scalars = [one for one in lacking if not one.is_tensor]
    lines += [f"Give {one.name} a default: {one.name}: {one.annotation or 'float'} = ..." for one in scalars]
    call = ", ".join("torch.randn(4096, 4096)" if one.is_tensor else "..." for one in function.parameters)
    return "\n  ".join([*lines, f"Or write an example there: >>> {function.name}({call})"])


def _said(parameter: Parameter, function: Plain) -> Given | None:
    """Return what annotation and docstring say of a tensor."""
    if parameter.is_scalar:
        return None
    quoted = re.search(r"""['"]([^'"]+)['"]""", parameter.annotation)
    text = _about(parameter, function)
    if quoted and re.fullmatch(r"[\w ]+", quoted[1]) and "Tensor" not in quoted[1]:  # jaxtyping: "M N"
        dims: tuple[Dim, ...] | None = tuple(_dim(word) for word in quoted[1].split())
    else:
        dims = _dims(quoted[1] if quoted else "") or _dims(text)
    if dims is None:
        return None
    words = re.findall(r"\w+", f"{parameter.annotation} {text}")
    dtype = next((word for word in words if word in INPUT_DTYPES), "")
    below = _BELOW.search(text)
    high = _dim(below[1]) if below and INPUT_DTYPES.get(dtype) == "integer" else None
    if INPUT_DTYPES.get(dtype) == "integer" and high is None:
        remedy = f"Write, for example: {parameter.name}: (N,) {dtype}, below V"
        raise CatalogError(f"{function.path}: nothing says how large {parameter.name} may be", remedy)
    return Given(parameter.name, parameter.keyword_only, dims, dtype, high)


def _about(parameter: Parameter, function: Plain) -> str:
    """Return the part of the docstring about a parameter: its own lines, else what follows its name."""
    others = "|".join(re.escape(one.name) for one in function.parameters)
    begins = r"^[ \t*\-]*(?::param +)?`*(?:{})`*\s*[:(\[]"
    until = rf"(?={begins.format(others)}|^\s*$|\Z)"
    lines = re.search(rf"{begins.format(parameter.name)}.*?{until}", function.doc, re.DOTALL | re.MULTILINE)
    if lines:
        return lines[0][lines[0].index(parameter.name) + len(parameter.name) :]
    mention = re.search(rf"\b{parameter.name}\b`*(?: of(?: shape)?)? ?([\(\[].*)", function.doc)
    return mention[1] if mention else ""


def _dims(text: str) -> tuple[Dim, ...] | None:
    """Return the first group of a text that is a shape.

    >>> _dims("(torch.Tensor): of shape (M, 64)"), _dims("(float, optional) the weight")
    (('M', 64), None)
    """
    for group in _GROUP.finditer(text):
        words = re.findall(r"\w+", group[1])
        if not any(word.lower() in _WORDS or word in INPUT_DTYPES for word in words):
            return tuple(_dim(word) for word in words)
    return None


def _dim(word: str) -> Dim:
    return int(word) if word.isdecimal() else word


def _example(function: Plain) -> list[Given]:
    """Return the inputs of the first call of it that can be followed: in its docstring, below main, in tests."""
    required = [one for one in function.parameters if not one.has_default]
    for body in _bodies(function):
        values: dict[str, ast.expr] = {}
        for statement in (*function.tree.body, *body):
            for node in ast.walk(statement) if statement in body else [statement]:
                if isinstance(node, ast.Assign):
                    values |= _assigned(node)
        for call in (one for statement in body for one in ast.walk(statement) if isinstance(one, ast.Call)):
            if isinstance(call.func, ast.Name) and call.func.id == function.name:
                named = {one.arg: one.value for one in call.keywords if one.arg}
                pairs = dict(zip((one.name for one in function.parameters), call.args, strict=False)) | named
                found = [_value(one, pairs.get(one.name), values) for one in required]
                if found and all(found):
                    return [one for one in found if one]
    return []


def _bodies(function: Plain) -> Iterator[list[ast.stmt]]:
    """Yield the pieces of code that may call the function."""
    examples = re.findall(r"^\s*(?:>>>|\.\.\.) ?(.*)$", function.doc, re.MULTILINE)
    with suppress(SyntaxError):
        yield ast.parse("\n".join(examples)).body
    yield from (node.body for node in function.tree.body if isinstance(node, ast.If) and main(node))
    yield from (node.body for node in function.tree.body if isinstance(node, ast.FunctionDef) and node != function.node)


def _assigned(node: ast.Assign) -> dict[str, ast.expr]:
    target = node.targets[0]
    if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
        return {one.id: v for one, v in zip(target.elts, node.value.elts, strict=False) if isinstance(one, ast.Name)}
    return {target.id: node.value} if isinstance(target, ast.Name) else {}


def _value(parameter: Parameter, node: ast.expr | None, values: Mapping[str, ast.expr]) -> Given | None:
    """Return an argument of a call: a literal, or a tensor that torch makes of numbers."""
    for _ in range(5):  # names of names
        node = values.get(node.id) if isinstance(node, ast.Name) else node
    if isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float | str):
        return Given(parameter.name, parameter.keyword_only, value=node.value)
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MAKERS):
        return None
    args = list(node.args)
    options = {one.arg: one.value for one in node.keywords}
    high = None
    if node.func.attr == "randint":
        bounds = [_number(one, values) for one in args if not isinstance(one, ast.Tuple | ast.List)]
        high, args = (bounds[-1] if bounds else None), args[-1:]
    sizes = args[0].elts if args and isinstance(args[0], ast.Tuple | ast.List) else args
    dims = [_number(one, values) for one in sizes]
    if not dims or any(one is None for one in dims):
        return None
    dtype = ast.unparse(options["dtype"]).rpartition(".")[2] if "dtype" in options else ""
    known = dtype if dtype in INPUT_DTYPES else "int64" if node.func.attr == "randint" else ""
    return Given(parameter.name, parameter.keyword_only, tuple(one for one in dims if one is not None), known, high)


def _number(node: ast.expr, values: Mapping[str, ast.expr]) -> int | None:
    for _ in range(5):
        node = values.get(node.id, node) if isinstance(node, ast.Name) else node
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, int) else None


def _named(given: Sequence[Given]) -> tuple[list[Given], dict[str, int]]:
    """Return the inputs with names for the large numbers among their dimensions, and sizes of all names."""
    tensors = [one for one in given if one.dims is not None]
    numbers = dict.fromkeys(d for one in tensors for d in one.dims or () if isinstance(d, int) and d > KEPT)
    names = {number: f"N{place}" for place, number in enumerate(numbers)}
    rank = max(len(one.dims or ()) for one in tensors)
    elements = max(_product([d for d in one.dims or () if isinstance(d, int)]) for one in tensors)
    use = elements >= LEAST
    sizes = {name: number if use else LARGE[min(rank, 5)] for number, name in names.items()}
    words = [d for one in tensors for d in (*(one.dims or ()), one.high) if isinstance(d, str)]
    sizes |= {word: LARGE[min(rank, 5)] for word in words}
    renamed = [
        Given(one.name, one.keyword, tuple(names.get(d, d) if isinstance(d, int) else d for d in one.dims or ()),
              one.dtype, one.high) if one.dims is not None else one
        for one in given
    ]  # fmt: skip
    return renamed, sizes


def _product(numbers: Sequence[int]) -> int:
    found = 1
    for number in numbers:
        found *= number
    return found

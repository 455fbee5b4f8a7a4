"""Formulas of cases.toml: arithmetic on named numbers, such as "4*B*H*S*S*D/2". Runs no code of the text."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from rooflift.errors import CatalogError, did_you_mean

LONGEST = 500  # characters of a formula
LARGEST = 1e30  # of every value on the way; an exponent is at most 100

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "min": min,
    "max": max,
    "ceil": math.ceil,
    "cdiv": lambda value, by: -(-value // by),
    "log2": math.log2,
}
_FORM = "A formula has numbers, names, + - * / // % **, min, max, ceil, cdiv and log2."


def evaluate(text: str | float, names: Mapping[str, Any]) -> float:
    """Return the value of a formula; of integers it is an integer, unless `/`, log2 or a fraction makes it a float.

    `names` may hold values of any kind; those that a formula names must be numbers.

    >>> evaluate("4*B*H*S*S*D/2", {"B": 4, "H": 32, "S": 4096, "D": 128})
    549755813888.0
    >>> evaluate("cdiv(M, 128) * 128", {"M": 1000}), evaluate(7, {})
    (1024, 7)

    Raises:
        CatalogError: a name is unknown or no number, the text is no formula, or its value is no finite number. The
            message begins with the formula; the caller puts file, case and key before it.
    """
    if not isinstance(text, str):
        return _number(text, str(text))
    if len(text) > LONGEST:
        raise CatalogError(f"{text[:40]!r}...: longer than {LONGEST} characters", _FORM)
    try:
        tree = ast.parse(text.strip(), mode="eval")
        return _value(tree.body, text, names)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        raise CatalogError(f"{text!r} is no formula", _FORM) from None
    except (ZeroDivisionError, OverflowError) as error:
        raise CatalogError(f"{text!r}: {error}", _FORM) from None


def whole(text: str | float, names: Mapping[str, Any]) -> int:
    """Return the value of a formula that gives a whole number of at least 0, as sizes and bytes are.

    >>> whole("S/2 + 1", {"S": 62})
    32

    Raises:
        CatalogError: as `evaluate`, or the value is negative or has a fraction.
    """
    value = evaluate(text, names)
    if value < 0 or value != int(value):
        raise CatalogError(f"{text!r} is {value:g}", "It must be a whole number, 0 or more.")
    return int(value)


def _number(value: Any, text: str) -> float:
    if not isinstance(value, int | float) or not abs(value) <= LARGEST:  # NaN is not, either
        raise CatalogError(f"{text!r}: {value!r} is no number up to {LARGEST:g}", _FORM)
    return value


def _value(node: ast.expr, text: str, names: Mapping[str, Any]) -> float:
    match node:
        case ast.Constant(value) if isinstance(value, int | float) and not isinstance(value, bool):
            found: Any = value
        case ast.Name(name):
            if name not in names:
                raise CatalogError(f"{text!r}: no number is named {name!r} here", did_you_mean(name, names))
            found = names[name]
        case ast.UnaryOp(ast.USub(), operand):
            found = -_value(operand, text, names)
        case ast.BinOp(left, kind, right) if type(kind) in _BINARY:
            first, second = _value(left, text, names), _value(right, text, names)
            if isinstance(kind, ast.Pow) and abs(second) > 100:
                raise OverflowError("an exponent above 100")
            found = _BINARY[type(kind)](first, second)
        case ast.Call(ast.Name(name), arguments, []) if name in _FUNCTIONS:
            found = _FUNCTIONS[name](*(_value(argument, text, names) for argument in arguments))
        case _:
            raise CatalogError(f"{text!r}: {ast.unparse(node)!r} is no arithmetic", _FORM)
    return _number(found, text)

"""The class of an operator, such as reduction or matmul, by the calls in its reference: parsed, never run."""

from __future__ import annotations

import ast
from functools import cache
from importlib import resources
from pathlib import Path

import msgspec


class Class(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A class of operators: how a reference shows it, and what its versions come down to."""

    calls: tuple[str, ...]
    together: tuple[str, ...] = msgspec.field(default=(), name="with")
    focus: str


@cache
def classes() -> dict[str, Class]:
    """Return the classes by name, in the order in which they are tried."""
    text = resources.files("rooflift.optimize").joinpath("classes.toml").read_bytes()
    return msgspec.toml.decode(text, type=dict[str, Class])


def class_of(reference: Path) -> str:
    """Return the class of an operator by its reference.py; "elementwise" where no call says another.

    >>> import rooflift as rl
    >>> class_of(rl.operators()["softmax"].reference)  # doctest: +SKIP
    'normalisation'
    """
    tree = ast.parse(reference.read_text(encoding="utf-8"))
    model = next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Model"), tree)
    made = {_called(node) for node in ast.walk(model)}
    for name, one in classes().items():
        if made & set(one.calls) and (not one.together or made & set(one.together)):
            return name
    return "elementwise"


def _called(node: ast.AST) -> str:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
        return "@"
    if isinstance(node, ast.Call):
        return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return ""

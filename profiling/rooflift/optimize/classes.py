"""The class of an operator, such as reduction or matmul, by the calls in its reference: parsed, never run."""

from __future__ import annotations

import ast
import re
from functools import cache
from importlib import resources
from pathlib import Path

import msgspec

from rooflift.project.stages import Wanted, stage

_LAYER = re.compile(r"^(?:Linear|Conv(?:Transpose)?[123]d|Bilinear|Embedding)\Z")


class Class(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A class of operators: how a reference shows it, what its versions come down to, its stages and metrics."""

    calls: tuple[str, ...]
    together: tuple[str, ...] = msgspec.field(default=(), name="with")
    or_all: tuple[str, ...] = ()
    layers: int | None = None
    focus: str
    stages: tuple[str, ...]
    metrics: tuple[Wanted, ...]

    def __post_init__(self) -> None:
        for name in self.stages:
            stage(name)

    def of(self, made: set[str], layers: int) -> bool:
        """Tell whether a model that makes these calls, and so many layers with parameters, is of the class."""
        if (self.layers is not None and layers >= self.layers) or (self.or_all and made.issuperset(self.or_all)):
            return True
        return bool(made & set(self.calls)) and (not self.together or bool(made & set(self.together)))


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
    layers = sum(_LAYER.match(_called(node)) is not None for node in ast.walk(tree))
    return next((name for name, one in classes().items() if one.of(made, layers)), "elementwise")


def _called(node: ast.AST) -> str:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
        return "@"
    if isinstance(node, ast.Call):
        return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return ""

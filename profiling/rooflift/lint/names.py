"""Names in a candidate: what its imports bind, what a name or decorator stands for. Reads syntax, judges nothing."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping


def imports(tree: ast.Module) -> dict[str, str]:
    """Return the names that the imports bind, each with the full dotted name behind it."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.split(".")[0]
                found[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})
    return found | _renamed(tree, found)


def _renamed(tree: ast.Module, imported: Mapping[str, str]) -> dict[str, str]:
    """Return the other names that imported modules are given, such as `t = torch`."""
    assigned = [node for node in ast.walk(tree) if isinstance(node, ast.Assign) and len(node.targets) == 1]
    given = [(node.targets[0], dotted(node.value, imported)) for node in assigned]
    modules = {*imported.values()}
    return {target.id: name for target, name in given if isinstance(target, ast.Name) and name in modules}


def dotted(node: ast.AST, aliases: Mapping[str, str]) -> str:
    """Return "torch.nn.Module" of a name or an attribute, "" of anything else.

    >>> dotted(ast.parse("nn.Module", mode="eval").body, {"nn": "torch.nn"})
    'torch.nn.Module'
    """
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([aliases.get(node.id, node.id), *reversed(parts)])


def decorators(node: ast.FunctionDef | ast.ClassDef, aliases: Mapping[str, str]) -> Iterator[tuple[str, ast.expr]]:
    """Return the decorators by their dotted names."""
    for decorator in node.decorator_list:
        yield dotted(decorator.func if isinstance(decorator, ast.Call) else decorator, aliases), decorator


def is_kernel(node: ast.stmt, aliases: Mapping[str, str]) -> bool:
    """Tell whether a statement is a function under `@triton.jit`."""
    return isinstance(node, ast.FunctionDef) and any(name == "triton.jit" for name, _ in decorators(node, aliases))

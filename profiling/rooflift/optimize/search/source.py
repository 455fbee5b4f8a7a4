"""A kernel file as a syntax tree with its comments: kernels, launches, and what a statement reads and assigns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import libcst as cst
import libcst.matchers as m

Node = TypeVar("Node", bound=cst.CSTNode)
_PRINTER = cst.Module([])
_LAUNCH = m.SimpleStatementLine(body=[m.Expr(value=m.Call(func=m.Subscript(value=m.Name())))])


@dataclass(frozen=True, slots=True)
class Launch:
    """A statement of a wrapper that launches a kernel: `kernel[grid](arguments)`."""

    kernel: cst.FunctionDef
    wrapper: cst.FunctionDef
    statement: cst.SimpleStatementLine
    call: cst.Call

    @property
    def grid(self) -> list[cst.BaseExpression]:
        """The dimensions; empty where the grid is no tuple."""
        index = cst.ensure_type(self.call.func, cst.Subscript).slice[0].slice
        value = index.value if isinstance(index, cst.Index) else None
        return [element.value for element in value.elements] if isinstance(value, cst.Tuple) else []

    @property
    def arguments(self) -> dict[str, cst.BaseExpression]:
        """What each parameter of the kernel is given."""
        names = [param.name.value for param in self.kernel.params.params]
        given = {}
        for place, arg in enumerate(self.call.args):
            if arg.keyword is not None:
                given[arg.keyword.value] = arg.value
            elif place < len(names):
                given[names[place]] = arg.value
        return given


def text(node: cst.CSTNode) -> str:
    """Return a node's code."""
    return _PRINTER.code_for_node(node).strip()


def expression(code: str) -> cst.BaseExpression:
    """Return the expression that a text is."""
    return cst.parse_expression(code)


def statements(code: str) -> list[cst.BaseStatement]:
    """Return the statements of a text; its first line sets the indentation that is taken off."""
    lines = code.strip("\n").split("\n")
    margin = len(lines[0]) - len(lines[0].lstrip())
    return list(cst.parse_module("\n".join(line[margin:] for line in lines) + "\n").body)


def kernels(tree: cst.Module) -> list[cst.FunctionDef]:
    """Return the functions under `@triton.jit`."""
    return [
        node
        for node in tree.body
        if isinstance(node, cst.FunctionDef) and any(text(d.decorator) == "triton.jit" for d in node.decorators)
    ]


def launches(tree: cst.Module) -> list[Launch]:
    """Return the launches that stand as statements in functions and methods."""
    known = {kernel.name.value: kernel for kernel in kernels(tree)}
    found = []
    for function in m.findall(tree, m.FunctionDef()):
        if isinstance(function, cst.FunctionDef) and function.name.value not in known:
            for line in m.findall(function.body, _LAUNCH):
                statement = cst.ensure_type(line, cst.SimpleStatementLine)
                call = cst.ensure_type(cst.ensure_type(statement.body[0], cst.Expr).value, cst.Call)
                name = cst.ensure_type(cst.ensure_type(call.func, cst.Subscript).value, cst.Name).value
                if name in known:
                    found.append(Launch(known[name], function, statement, call))
    return found


class _Reads(cst.CSTVisitor):
    def __init__(self) -> None:
        self.found: list[str] = []

    def visit_Attribute(self, node: cst.Attribute) -> bool:  # noqa: N802  # libcst's name
        node.value.visit(self)
        return False

    def visit_Arg(self, node: cst.Arg) -> bool:  # noqa: N802  # libcst's name
        node.value.visit(self)
        return False

    def visit_Name(self, node: cst.Name) -> None:  # noqa: N802  # libcst's name
        self.found.append(node.value)


def reads(node: cst.CSTNode) -> list[str]:
    """Return the names in an expression, without attributes and keywords."""
    visitor = _Reads()
    node.visit(visitor)
    return visitor.found


def assignment(node: cst.CSTNode) -> tuple[list[str], cst.BaseExpression, str] | None:
    """Return the names that a statement assigns, the value, and the operator of `+=` and its like, else ""."""
    if not (isinstance(node, cst.SimpleStatementLine) and len(node.body) == 1):
        return None
    inner = node.body[0]
    if isinstance(inner, cst.AugAssign) and isinstance(inner.target, cst.Name):
        return [inner.target.value], inner.value, text(inner.operator)
    if isinstance(inner, cst.Assign) and len(inner.targets) == 1:
        target = inner.targets[0].target
        if isinstance(target, cst.Name):
            return [target.value], inner.value, ""
        if isinstance(target, cst.Tuple) and all(isinstance(e.value, cst.Name) for e in target.elements):
            return reads(target), inner.value, ""
    return None


def assigned(body: Sequence[cst.CSTNode]) -> Iterator[str]:
    """Yield every name that the statements assign, nested ones too."""
    for node in body:
        for inner in m.findall(node, m.AssignTarget() | m.AugAssign() | m.For()):
            if isinstance(inner, cst.AssignTarget | cst.AugAssign | cst.For):
                yield from reads(inner.target)


def fresh(tree: cst.CSTNode, name: str) -> str:
    """Return a name that the code does not use yet: this one, or with a number."""
    used = {node.value for node in m.findall(tree, m.Name()) if isinstance(node, cst.Name)}
    number = 2
    found = name
    while found in used:
        found, number = f"{name}_{number}", number + 1
    return found


class _Replace(cst.CSTTransformer):
    def __init__(self, change: Callable[[cst.CSTNode], cst.CSTNode | None]) -> None:
        self.change = change

    def on_leave(self, original: cst.CSTNode, updated: cst.CSTNode) -> cst.CSTNode:  # type: ignore[override]
        found = self.change(original)
        return super().on_leave(original, updated) if found is None else found  # type: ignore[return-value]


def replaced(node: Node, change: Callable[[cst.CSTNode], cst.CSTNode | None]) -> Node:
    """Return a tree in which `change` gives another node for some; None leaves one as it is."""
    return node.visit(_Replace(change))  # type: ignore[return-value]


def with_names(node: Node, names: Mapping[str, str]) -> Node:
    """Return an expression with other expressions in place of names; attributes and keywords stay."""

    class Renamed(cst.CSTTransformer):
        def leave_Attribute(self, original: cst.Attribute, updated: cst.Attribute) -> cst.Attribute:  # noqa: N802  # libcst's name
            return updated.with_changes(attr=original.attr)

        def leave_Arg(self, original: cst.Arg, updated: cst.Arg) -> cst.Arg:  # noqa: N802  # libcst's name
            return updated.with_changes(keyword=original.keyword)

        def leave_Name(self, _: cst.Name, updated: cst.Name) -> cst.BaseExpression:  # noqa: N802  # libcst's name
            return expression(names[updated.value]) if updated.value in names else updated

    return node.visit(Renamed())  # type: ignore[return-value]


def with_nodes(tree: Node, new: Mapping[cst.CSTNode, cst.CSTNode]) -> Node:
    """Return a tree with other nodes in place of some."""
    by_place = {id(old): node for old, node in new.items()}
    return replaced(tree, lambda node: by_place.get(id(node)))


def with_statement(tree: cst.Module, old: cst.CSTNode, new: Sequence[cst.CSTNode]) -> cst.Module:
    """Return the file with statements in place of one."""
    return replaced(tree, lambda node: cst.FlattenSentinel(new) if node is old else None)  # type: ignore[arg-type, return-value]

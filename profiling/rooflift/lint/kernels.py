"""What a `@triton.jit` function does with its parameters: program axes, stores, block sizes. Reads the tree only."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import cast

Root = tuple[str, *tuple[int, ...]]  # a parameter, or an item of a tuple that is one
Roots = frozenset[Root]
_NONE: Roots = frozenset()
_WRITES = ("store", "store_tensor_descriptor")
_NO_POINTER = frozenset(
    {"load", "load_tensor_descriptor", "program_id", "num_programs", "arange", "zeros", "full", "dot", "cdiv", "gather"}
)
_FACTS = frozenset({"dtype", "shape", "type", "element_ty", "numel"})


@dataclass(eq=False)
class KernelCode:
    """One `@triton.jit` function beside the others of its file; `aliases` are the file's imports."""

    node: ast.FunctionDef
    others: Mapping[str, KernelCode]
    aliases: Mapping[str, str]

    @property
    def parameters(self) -> list[str]:
        """The parameters in order."""
        args = self.node.args
        return [arg.arg for arg in (*args.posonlyargs, *args.args, *args.kwonlyargs)]

    @property
    def required(self) -> list[str]:
        """The parameters without a default."""
        args = self.node.args
        named = [arg.arg for arg in (*args.posonlyargs, *args.args)]
        with_default = set(named[len(named) - len(args.defaults) :]) if args.defaults else set()
        with_default |= {a.arg for a, d in zip(args.kwonlyargs, args.kw_defaults, strict=True) if d is not None}
        return [name for name in self.parameters if name not in with_default]

    @property
    def constexprs(self) -> set[str]:
        """The parameters known when the kernel is compiled."""
        args = self.node.args
        every = (*args.posonlyargs, *args.args, *args.kwonlyargs)
        return {arg.arg for arg in every if arg.annotation and "constexpr" in ast.unparse(arg.annotation)}

    def language(self, function: ast.expr) -> str:
        """Return the name under triton.language that an expression spells, or nothing."""
        path = dotted(function, self.aliases)
        return path.removeprefix("triton.language.") if path.startswith("triton.language.") else ""

    @cached_property
    def calls(self) -> list[tuple[ast.Call, str]]:
        """The calls of the body with their name under triton.language, or nothing."""
        return [(node, self.language(node.func)) for node in self._body if isinstance(node, ast.Call)]

    @cached_property
    def _body(self) -> list[ast.AST]:
        """Every node below the signature; helpers that call themselves are asked hundreds of times."""
        return [node for statement in self.node.body for node in ast.walk(statement)]

    def helpers(self) -> Iterator[tuple[ast.Call, KernelCode]]:
        """Return the calls of other `@triton.jit` functions."""
        for call, _ in self.calls:
            if isinstance(call.func, ast.Name) and call.func.id in self.others:
                yield call, self.others[call.func.id]

    def bound(self, call: ast.Call) -> dict[str, ast.expr]:
        """Return the arguments of a call of this function by parameter."""
        given = dict(zip(self.parameters, call.args, strict=False))
        return given | {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}

    def axes(self, known: Mapping[str, int] | None = None, depth: int = 8) -> Iterator[tuple[int | None, ast.Call]]:
        """Return the axes asked of tl.program_id, here and in helpers; None for one that is not a literal."""
        known = known or {}
        for call, name in self.calls:
            if name == "program_id":
                given = [*call.args, *(k.value for k in call.keywords if k.arg == "axis")]
                yield (_literal(given[0], known) if given else None), call
        for call, helper in self.helpers() if depth else ():
            literal = {name: _literal(arg, known) for name, arg in helper.bound(call).items()}
            passed = {name: value for name, value in literal.items() if value is not None}
            yield from ((axis, call) for axis, _ in helper.axes(passed, depth - 1))

    def block_sizes(self, depth: int = 8) -> Iterator[tuple[str | int, ast.expr]]:
        """Return the lengths of ranges and blocks: names and literals as they stand in arange, zeros and full."""
        for call, name in self.calls:
            for length in _lengths(call, name):
                if isinstance(length, ast.Name):
                    yield length.id, length
                elif isinstance(length, ast.Constant) and isinstance(length.value, int):
                    yield length.value, length
        for call, helper in self.helpers() if depth else ():
            given = helper.bound(call)
            for size, _ in helper.block_sizes(depth - 1):
                passed = given.get(size) if isinstance(size, str) else None
                if isinstance(passed, ast.Name):
                    yield passed.id, passed

    @cached_property
    def names(self) -> dict[str, Roots]:
        """From which parameters each name may hold a pointer; without regard to order, so never too few."""
        found: dict[str, Roots] = {name: frozenset({(name,)}) for name in self.parameters}
        self.__dict__["names"] = found  # a helper that calls itself sees what is known so far
        for _ in range(8):
            before = dict(found)
            for node in self._body:
                for target, value in _bindings(node):
                    self._bind(found, target, value)
            if before == found:
                break
        return found

    def _bind(self, found: dict[str, Roots], target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple | ast.List):
            for index, part in enumerate(target.elts):
                if isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(target.elts):
                    self._bind(found, part, value.elts[index])
                elif isinstance(part, ast.Name):
                    single = isinstance(value, ast.Name) and value.id in self.parameters
                    roots = _items(self.roots(value), [index]) if single else self.roots(value)
                    found[part.id] = found.get(part.id, _NONE) | roots
        elif isinstance(target, ast.Name):
            found[target.id] = found.get(target.id, _NONE) | self.roots(value)

    def roots(self, node: ast.expr) -> Roots:
        """Return the parameters from which an expression may be a pointer."""
        match node:
            case ast.Name(id=name):
                return self.names.get(name, _NONE)
            case ast.Compare() | ast.Constant():
                return _NONE
            case ast.Attribute(value=value, attr=attr):
                return _NONE if attr in _FACTS else self.roots(value)
            case ast.Subscript(value=ast.Name(id=name), slice=ast.Constant(value=int(index))):
                return _items(self.names.get(name, _NONE), [index])
            case ast.Call():
                return self._call_roots(node)
        return _NONE.union(*(self.roots(child) for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)))

    def _call_roots(self, call: ast.Call) -> Roots:
        name = self.language(call.func)
        given = [*call.args, *(keyword.value for keyword in call.keywords)]
        if name in _NO_POINTER or name.startswith("atomic_"):
            return _NONE
        if isinstance(call.func, ast.Attribute) and not name:
            if call.func.attr in ("load", "gather"):
                return _NONE
            given.append(call.func.value)
        return _NONE.union(*(self.roots(arg) for arg in given))

    @cached_property
    def stored(self) -> Roots:
        """The parameters through which the kernel writes memory: stores, atomics, descriptors, inline assembly."""
        self.__dict__["stored"] = _NONE  # a helper that calls itself adds nothing
        found = _NONE.union(*(self._call_stores(call, name) for call, name in self.calls))
        for call, helper in self.helpers():
            given = helper.bound(call)
            for name, *path in helper.stored:
                found |= self._passed(given.get(name), path)
        return found

    def _call_stores(self, call: ast.Call, name: str) -> Roots:
        if name in _WRITES or name.startswith("atomic_"):
            pointer = [*call.args[:1], *(k.value for k in call.keywords if k.arg in ("pointer", "desc"))]
            return _NONE.union(*map(self.roots, pointer))
        if name == "inline_asm_elementwise":
            return _NONE.union(*map(self.roots, (*call.args, *(k.value for k in call.keywords))))
        method = call.func.attr if isinstance(call.func, ast.Attribute) and not name else ""
        if isinstance(call.func, ast.Attribute) and (method in ("store", "scatter") or method.startswith("atomic_")):
            return self.roots(call.func.value)
        return _NONE

    def _passed(self, given: ast.expr | None, path: list[int]) -> Roots:
        if given is None:
            return _NONE
        if path and isinstance(given, ast.Tuple | ast.List) and path[0] < len(given.elts):
            return self._passed(given.elts[path[0]], path[1:])
        return _items(self.roots(given), path)


def dotted(node: ast.expr, aliases: Mapping[str, str]) -> str:
    """Return the full dotted name that an expression spells through the imports, or nothing."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id not in aliases:
        return ""
    return ".".join([aliases[node.id], *reversed(parts)])


def _items(roots: Roots, path: list[int]) -> Roots:
    return frozenset(cast("Root", (*root, *path)) for root in roots)


def _literal(node: ast.expr, known: Mapping[str, int]) -> int | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    return known.get(node.id) if isinstance(node, ast.Name) else None


def _lengths(call: ast.Call, name: str) -> list[ast.expr]:
    if name == "arange":
        ends = [*call.args[1:2], *(k.value for k in call.keywords if k.arg == "end")]
        starts = [*call.args[:1], *(k.value for k in call.keywords if k.arg == "start")]
        zero = all(isinstance(start, ast.Constant) and start.value == 0 for start in starts)
        return ends if zero else []
    if name in ("zeros", "full"):
        shapes = [*call.args[:1], *(k.value for k in call.keywords if k.arg == "shape")]
        return [length for shape in shapes if isinstance(shape, ast.Tuple | ast.List) for length in shape.elts]
    return []


def _bindings(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    match node:
        case ast.Assign(targets=targets, value=value):
            yield from ((target, value) for target in targets)
        case (
            ast.AnnAssign(target=target, value=ast.expr() as value)
            | ast.AugAssign(target=target, value=value)
            | ast.NamedExpr(target=target, value=value)
            | ast.For(target=target, iter=value)
            | ast.comprehension(target=target, iter=value)
        ):
            yield target, value

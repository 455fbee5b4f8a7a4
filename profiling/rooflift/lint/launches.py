"""The kernels and launches of a file as its syntax shows them: grids, axes, configurations. Judges nothing."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, product

from rooflift.lint.names import decorators, dotted, is_kernel

MOST_CONFIGS = 256
OPTIONS = {"num_warps": 4, "num_stages": 3}


@dataclass(slots=True)
class Launch:
    """`kernel[grid](...)`: the grid's dimensions where they are written, and the keyword arguments."""

    node: ast.Call
    kernel: str
    grid: tuple[ast.expr, ...] | None
    is_function: bool
    keywords: dict[str, ast.expr]
    names: Mapping[str, ast.expr]  # what names in the launching function are set to, once
    ranks: set[int]  # of all tuples that the grid's name is set to


@dataclass(slots=True)
class Kernel:
    """A function under triton.jit and what its decorators tune."""

    node: ast.FunctionDef
    axes: set[int] | None  # of tl.program_id, its own and those of the kernels that it calls; None: not written plainly
    configs: list[dict[str, object]] | None = None  # meta-parameters and options of each; None: not written plainly
    tuned: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Launches:
    """All kernels and launches of a file."""

    kernels: dict[str, Kernel]
    launches: list[Launch]


def read_launches(tree: ast.Module, aliases: Mapping[str, str]) -> Launches:
    """Take the kernels and launches of a file apart."""
    nodes = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef) and is_kernel(n, aliases)}
    kernels = {name: Kernel(node, _axes(node, nodes, aliases)) for name, node in nodes.items()}
    constants = _set_once(tree)
    for kernel in kernels.values():
        for path, decorator in decorators(kernel.node, aliases):
            if path == "triton.autotune" and isinstance(decorator, ast.Call):
                kernel.configs, kernel.tuned = _configs(decorator, aliases, constants)
    return Launches(kernels, list(_launches(tree, kernels, constants)))


def _set_once(scope: ast.AST) -> dict[str, ast.expr]:
    """Return what names are set to that are set once in a scope, nested functions included; loop variables are not."""
    found: dict[str, list[ast.expr | None]] = {}
    for node in ast.walk(scope):
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            found.setdefault(node.targets[0].id, []).append(node.value)
        elif isinstance(node, ast.FunctionDef):
            returned = [n.value for n in ast.walk(node) if isinstance(n, ast.Return)]
            only = returned[0] if len(returned) == 1 else None
            body = ast.Lambda(node.args, only) if only is not None else None
            found.setdefault(node.name, []).append(body)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.setdefault(node.id, [])
    counts: dict[str, int] = {}
    for node in ast.walk(scope):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            counts[node.id] = counts.get(node.id, 0) + 1
    return {
        name: values[0] for name, values in found.items() if len(values) == 1 and values[0] and counts.get(name, 1) == 1
    }


def _launches(tree: ast.Module, kernels: Mapping[str, Kernel], constants: dict[str, ast.expr]) -> Iterator[Launch]:
    scopes = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name not in kernels]
    seen: set[int] = set()
    for scope in reversed(scopes):  # inner functions first
        names = {**constants, **_set_once(scope)}
        for node in ast.walk(scope):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Subscript) or id(node) in seen:
                continue
            kernel = dotted(node.func.value, {})
            if kernel in kernels:
                seen.add(id(node))
                ranks = _ranks(node.func.slice, scope)
                grid = _resolved(node.func.slice, names)
                is_function = isinstance(grid, ast.Lambda)
                body = _resolved(grid.body, names) if isinstance(grid, ast.Lambda) else grid
                dimensions = tuple(body.elts) if isinstance(body, ast.Tuple) and not _starred(body.elts) else None
                keywords = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
                parameters = [arg.arg for arg in kernels[kernel].node.args.args]
                if not _starred(node.args):
                    keywords |= dict(zip(parameters, node.args, strict=False))
                yield Launch(node, kernel, dimensions, is_function, keywords, names, ranks)


def _ranks(grid: ast.expr, scope: ast.AST) -> set[int]:
    """Return the lengths of all tuples that a grid's name is set to in a scope."""
    return {
        len(node.value.elts)
        for node in ast.walk(scope)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple)
        if isinstance(grid, ast.Name) and dotted(node.targets[0], {}) == grid.id
    }


def _starred(nodes: Sequence[ast.expr]) -> bool:
    return any(isinstance(node, ast.Starred) for node in nodes)


def _resolved(node: ast.expr, names: Mapping[str, ast.expr]) -> ast.expr:
    for _ in range(8):
        if not isinstance(node, ast.Name) or node.id not in names:
            break
        node = names[node.id]
    return node


def _axes(node: ast.FunctionDef, kernels: Mapping[str, ast.FunctionDef], aliases: Mapping[str, str]) -> set[int] | None:
    """Return the axes of tl.program_id in a kernel and all that it reaches; None: they do not tell its place."""
    reached, left, found = {node.name}, [node], set[int]()
    while left:
        for part in ast.walk(left.pop()):
            if not isinstance(part, ast.Call):
                continue
            called = dotted(part.func, aliases)
            if called == "triton.language.program_id":
                axis = part.args[0] if part.args else next((k.value for k in part.keywords if k.arg == "axis"), None)
                value = literal(axis, {})
                if not isinstance(value, int):
                    return None
                found.add(value)
            elif called.startswith("triton.language.atomic"):
                return None  # programs may draw their places from a counter
            elif called in kernels and called not in reached:
                reached.add(called)
                left.append(kernels[called])
    return found


def literal(node: ast.expr | None, names: Mapping[str, ast.expr]) -> object:
    """Return a number, text or truth value that is written out or set once, else None."""
    if node is not None:
        node = _resolved(node, names)
    return node.value if isinstance(node, ast.Constant) else None


def _configs(
    decorator: ast.Call, aliases: Mapping[str, str], constants: Mapping[str, ast.expr]
) -> tuple[list[dict[str, object]] | None, set[str]]:
    """Return the configurations of an autotune, and what they set that differs among them or comes from a loop."""
    listed = decorator.args[0] if decorator.args else next(
        (k.value for k in decorator.keywords if k.arg == "configs"), None
    )  # fmt: skip
    listed = _resolved(listed, constants) if listed is not None else None
    rows = list(_rows(listed, constants))
    configs: list[dict[str, object]] = []
    plain = bool(rows)
    for call, names in rows:
        plain = plain and isinstance(call, ast.Call) and dotted(call.func, aliases) == "triton.Config"
        settings = {name: literal(value, names) for name, value in _settings(call).items()}
        plain = plain and None not in settings.values()
        configs.append(settings)
    if not plain:  # what is set anywhere in the list, or in the function that makes it
        called = listed if not isinstance(listed, ast.Call) else constants.get(dotted(listed.func, {}), listed)
        calls = [n for n in ast.walk(called or decorator) if isinstance(n, ast.Call)]
        return None, {
            name for call in calls if dotted(call.func, aliases) == "triton.Config" for name in _settings(call)
        }
    keys = {name for settings in configs for name in settings}
    return configs, {name for name in keys if len({repr(settings.get(name)) for settings in configs}) > 1}


def _rows(listed: ast.expr | None, names: Mapping[str, ast.expr]) -> Iterator[tuple[ast.expr, Mapping[str, ast.expr]]]:
    """Yield the elements of a list, and those of a comprehension over lists that are written out."""
    if isinstance(listed, ast.List | ast.Tuple):
        yield from ((element, names) for element in listed.elts)
    elif isinstance(listed, ast.ListComp) and not any(part.ifs for part in listed.generators):
        loops = [(part.target, _resolved(part.iter, names)) for part in listed.generators]
        if all(isinstance(t, ast.Name) and isinstance(over, ast.List | ast.Tuple) for t, over in loops):
            targets = [t.id for t, _ in loops if isinstance(t, ast.Name)]
            over = [values.elts for _, values in loops if isinstance(values, ast.List | ast.Tuple)]
            for values in islice(product(*over), MOST_CONFIGS):
                yield listed.elt, {**names, **dict(zip(targets, values, strict=True))}


def _settings(call: ast.expr) -> dict[str, ast.expr]:
    if not isinstance(call, ast.Call):
        return {}
    given = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg in OPTIONS}
    table = call.args[0] if call.args else next((k.value for k in call.keywords if k.arg == "kwargs"), None)
    if isinstance(table, ast.Dict):
        given |= {
            str(key.value): value
            for key, value in zip(table.keys, table.values, strict=True)
            if isinstance(key, ast.Constant)
        }
    return {name: value for name, value in given.items() if name}

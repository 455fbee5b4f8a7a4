"""Kernel files imported by path."""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from rooflift.errors import CatalogError
from rooflift.project.space import is_kernel


def assigned(statement: ast.stmt) -> list[str]:
    """Return the names that a statement at module level assigns.

    >>> assigned(ast.parse("height = width = 4").body[0]), assigned(ast.parse("d, h = 4, 8").body[0])
    (['height', 'width'], ['d', 'h'])
    """
    match statement:
        case ast.Assign(targets):
            found = [node for target in targets for node in ast.walk(target)]
        case ast.AnnAssign(target, value=ast.expr()):
            found = [target]
        case _:
            found = []
    return [node.id for node in found if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]


class _Forced(ast.NodeTransformer):
    """Gives variables of the host's code other values, wherever they are assigned; kernels keep theirs."""

    def __init__(self, variables: Mapping[str, Any]) -> None:
        self.variables = variables

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:  # the name that ast asks for
        return node if is_kernel(node) else self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> list[ast.stmt]:
        return self._followed(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> list[ast.stmt]:
        return self._followed(node)

    def _followed(self, node: ast.stmt) -> list[ast.stmt]:
        again = []
        for name in assigned(node):
            if name in self.variables:  # what is a tl.constexpr stays one, or no kernel could read it
                value = repr(self.variables[name])
                text = f"{name} = type({name})({value}) if type({name}).__name__ == 'constexpr' else {value}"
                again.append(ast.copy_location(ast.parse(text).body[0], node))
        return [node, *again]


class _Loader(importlib.machinery.SourceFileLoader):
    """Leaves no __pycache__ beside the kernel files, and gives constants and variables other values."""

    def __init__(self, name: str, path: str, constants: Mapping[str, Any], variables: Mapping[str, Any]) -> None:
        super().__init__(name, path)
        self.constants, self.variables = constants, variables

    def set_data(self, *_: Any, **__: Any) -> None:
        """Write no bytecode."""

    def source_to_code(self, data: Any, path: Any, *_: Any, **__: Any) -> CodeType:  # type: ignore[override]
        """Compile the file, its constants replaced where they are assigned: what is made of them follows."""
        tree = ast.parse(data, filename=str(path))
        left, body = dict(self.constants), []
        for statement in tree.body:
            body.append(statement)
            for name in assigned(statement):
                if name in self.constants:  # in any form: N = 4, height = width = 4, D, H = 4, 8
                    left.pop(name, None)
                    value = self.constants[name]  # of TOML, which has no tuples
                    text = f"type({name})({value!r})" if isinstance(value, list) else repr(value)
                    body.append(ast.copy_location(ast.parse(f"{name} = {text}").body[0], statement))
        tree.body = body
        if self.variables:
            tree = _Forced(self.variables).visit(tree)
        if left:
            raise CatalogError(
                f"{Path(str(path)).name}: no module constant {next(iter(left))!r}",
                "`constants` of a case replaces what reference.py assigns at module level.",
            )
        return compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)


def own_constants(path: Path, constants: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of a case's constants that a version assigns, too, as one does that copies the reference's code."""
    if not constants:
        return {}
    names = {name for statement in ast.parse(path.read_bytes()).body for name in assigned(statement)}
    return {name: value for name, value in constants.items() if name in names}


def load_module(
    path: Path,
    name: str | None = None,
    constants: Mapping[str, Any] | None = None,
    variables: Mapping[str, Any] | None = None,
) -> ModuleType:
    """Import a file by path, as its own module; it is not put under kernels.* because that name is somebody else's.

    `constants` are values for what the file assigns at module level, such as a batch size; `variables` are values for
    whatever the host's code assigns, in functions, too, such as the block sizes of a wrapper.

    Raises:
        CatalogError: the file has no such constant.
    """
    name = name or f"rooflift_kernel_{path.stem}"
    loader = _Loader(name, str(path), constants or {}, variables or {})
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None  # a .py path has a spec
    assert spec.loader is not None  # and a loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # triton's JIT looks its source file up there
    spec.loader.exec_module(module)
    if not hasattr(module, "ModelNew") and callable(getattr(module, "run", None)):
        module.ModelNew = _model_of(module.run)  # type: ignore[attr-defined]
    return module


def _model_of(run: Callable[..., Any]) -> type:
    """Return a module class without parameters that calls a version's run(*inputs)."""
    import torch

    class ModelNew(torch.nn.Module):
        def __init__(self, *_: object, **__: object) -> None:
            super().__init__()

        def forward(self, *inputs: Any) -> Any:
            return run(*inputs)

    return ModelNew

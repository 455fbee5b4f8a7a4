"""A plain function of somebody's module, read and not run: its parameters, and the text that it needs."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rooflift.errors import CatalogError, did_you_mean

SCALARS = ("int", "float", "bool", "str")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a function, with its annotation as text; "" for none."""

    name: str
    annotation: str
    has_default: bool
    keyword_only: bool

    @property
    def is_scalar(self) -> bool:
        """Whether its annotation says that it is a number, a boolean or a text."""
        return self.annotation.replace('"', "").replace("'", "").split(" | ")[0] in SCALARS

    @property
    def is_tensor(self) -> bool:
        """Whether its annotation speaks of a tensor; one without annotation and default may be one, too."""
        return "Tensor" in self.annotation or (not self.annotation and not self.has_default)


@dataclass(frozen=True, slots=True)
class Plain:
    """A function at the top of a module."""

    path: Path
    node: ast.FunctionDef
    tree: ast.Module
    lines: Sequence[str]

    @property
    def name(self) -> str:
        """Its name."""
        return self.node.name

    @property
    def doc(self) -> str:
        """Its docstring, "" for none."""
        return ast.get_docstring(self.node) or ""

    @property
    def parameters(self) -> list[Parameter]:
        """Its parameters in order."""
        own = self.node.args
        positional = [*own.posonlyargs, *own.args]
        bare = len(positional) - len(own.defaults)
        found = [_parameter(arg, place >= bare, False) for place, arg in enumerate(positional)]
        pairs = zip(own.kwonlyargs, own.kw_defaults, strict=True)
        return found + [_parameter(arg, default is not None, True) for arg, default in pairs]

    @property
    def needed(self) -> list[ast.stmt]:
        """The statements of the module that it needs, itself among them, in their order; no imports."""
        binds = {name: node for node in self._statements() for name in _stored(node)}
        found: list[ast.stmt] = []
        waiting: list[ast.stmt] = [self.node]
        while waiting:
            node = waiting.pop()
            if node not in found:
                found.append(node)
                waiting += [binds[name] for name in _names(node) if name in binds]
        return sorted(found, key=lambda node: node.lineno)

    @property
    def launches(self) -> bool:
        """Whether what it needs defines a kernel of Triton, or code of CUDA: then it defines no right result."""
        words = "\n".join(self.text_of(node) for node in self.needed)
        return any(word in words for word in ("triton.jit", "@jit", "load_inline", "load(", "triton.autotune"))

    def text(self, package: str) -> str:
        """Return imports and definitions that the function needs; relative imports are made absolute in `package`."""
        nodes = self.needed
        used = {name for node in nodes for name in _names(node)}
        imports = [_import(node, used, package) for node in self.tree.body]
        parts = [self.text_of(node) for node in nodes]
        return "\n".join(dict.fromkeys(filter(None, imports))) + "\n\n\n" + "\n\n\n".join(parts) + "\n"

    def text_of(self, node: ast.stmt) -> str:
        """Return a statement as it stands, with decorators and the comments right above it."""
        first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))])
        while first > 1 and self.lines[first - 2].startswith("#") and not self.lines[first - 2].startswith("#!"):
            first -= 1
        return "\n".join(self.lines[first - 1 : node.end_lineno])

    def beside(self, name: str) -> Plain | None:
        """Return another function of the module, None where there is none of that name."""
        node = next((node for node in self.tree.body if isinstance(node, ast.FunctionDef) and node.name == name), None)
        return None if node is None else Plain(self.path, node, self.tree, self.lines)

    def _statements(self) -> list[ast.stmt]:
        """Return the module's statements that may define something for the function."""
        return [node for node in self.tree.body if not isinstance(node, ast.Import | ast.ImportFrom) and not main(node)]


def main(node: ast.stmt) -> bool:
    """Tell whether a statement is `if __name__ == "__main__":`."""
    return isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)


def read_function(source: str) -> Plain:
    """Return the function that FILE.py:FUNCTION names; FILE.py alone names the one of its own name, or its only one.

    Raises:
        CatalogError: there is no such file or function, it is no Python, or it takes *args or **kwargs.
    """
    place, _, name = source.partition(":")
    path = Path(place)
    if not path.is_file():
        remedy = "Name a Python file and a function in it: --from mykernels/softmax.py:softmax."
        raise CatalogError(f"{place}: no such file", remedy)
    try:
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text, filename=place)
    except (SyntaxError, UnicodeDecodeError, ValueError) as error:
        raise CatalogError(f"{place}: {error}", "Name a file that Python can read.") from None
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    public = [one for one, node in functions.items() if not one.startswith("_") and not _is_kernel(node)]
    name = name or (path.stem if path.stem in public else public[0] if len(public) == 1 else "")
    if not name:
        raise CatalogError(f"{place}: which function?", f"Name it: --from {place}:{public[0] if public else 'NAME'}.")
    if name not in functions or _is_kernel(functions[name]):
        what = "is a kernel, not the function that launches it" if name in functions else "is not defined there"
        raise CatalogError(f"{place}: {name} {what}", did_you_mean(name, public))
    found = Plain(path, functions[name], tree, text.split("\n"))
    if found.node.args.vararg or found.node.args.kwarg:
        remedy = f"Write a function that names them: def {name}_of(x, ...): return {name}(x, ...)."
        raise CatalogError(f"{place}:{found.node.lineno}: {name} takes * or ** arguments", remedy)
    return found


def _is_kernel(node: ast.FunctionDef) -> bool:
    return any("jit" in ast.unparse(one) for one in node.decorator_list)


def _parameter(arg: ast.arg, has_default: bool, keyword_only: bool) -> Parameter:
    return Parameter(arg.arg, ast.unparse(arg.annotation) if arg.annotation else "", has_default, keyword_only)


def _names(node: ast.AST) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}


def _stored(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    return [one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)]


def _import(node: ast.stmt, used: set[str], package: str) -> str:
    """Return an import of what is used as text, "" where nothing of it is."""
    if isinstance(node, ast.ImportFrom) and node.module == "__future__":
        return ast.unparse(node)
    if not isinstance(node, ast.Import | ast.ImportFrom):
        return ""
    names = [one for one in node.names if (one.asname or one.name.partition(".")[0]) in used]
    if not names:
        return ""
    if isinstance(node, ast.Import):
        return ast.unparse(ast.Import(names))
    above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level and package else []
    module = ".".join(filter(None, [*above, node.module or ""]))
    return ast.unparse(ast.ImportFrom(module, names, 0))

"""The project's own modules that a kernel file imports: found by reading, so that kernels may stay where they are.

Children run in a folder of their own, outside the project; these files are copied there in the same arrangement.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rooflift.errors import CatalogError
from rooflift.project.operator import find_root
from rooflift.project.settings import read_settings

ELSEWHERE = sys.stdlib_module_names | {"torch", "triton", "numpy"}  # never the project's


def imported_modules(file: Path, start: Path) -> dict[str, Path]:
    """Return the files of the project that a file imports, and those that these import, by their place in a package.

    `start` lies in the project; its [tool.rooflift] `imports` are searched, then those of a project further up, as for
    the kernels of a loop. {"mykernels/softmax.py": ...}, a package with its __init__.py. Only what an import statement
    names is found, and nothing outside the project.

    Raises:
        CatalogError: one of the files is no Python.
    """
    bases = [*_bases(start)]
    found: dict[str, Path] = {}
    waiting = [(file, "")]  # and the package that it belongs to
    while waiting:
        path, package = waiting.pop()
        for name in _names(_tree(path), package):
            for place, module, own_package in _files(name, bases):
                if place not in found:
                    found[place] = module
                    waiting.append((module, own_package))
    return found


def import_name(file: Path, root: Path) -> str:
    """Return the dotted name by which a file of the project is imported.

    Raises:
        CatalogError: it lies in none of the folders that [tool.rooflift] `imports` names.
    """
    bases = ((root / place).resolve() for place in read_settings(root).imports)
    for base in sorted(bases, key=lambda one: -len(one.parts)):
        if file.resolve().is_relative_to(base):
            parts = file.resolve().relative_to(base).with_suffix("").parts
            if all(part.isidentifier() for part in parts):
                return ".".join(parts)
    remedy = "Leave out --in-place to copy it, or name its folder in [tool.rooflift] imports of pyproject.toml."
    raise CatalogError(f"{file}: not importable from the project {root}", remedy)


def _bases(start: Path) -> Iterator[Path]:
    """Yield the folders in which modules are looked for, resolved."""
    folder = start
    while True:
        try:
            root = find_root(folder)
        except CatalogError:
            return
        yield from ((root / place).resolve() for place in read_settings(root).imports)
        folder = root.parent
        if folder == root:
            return


def _names(tree: ast.Module, package: str) -> Iterator[str]:
    """Yield the dotted names that a file of a package imports, and what may be modules below them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from (module, *(f"{module}.{alias.name}" for alias in node.names))


def _files(name: str, bases: Sequence[Path]) -> Iterator[tuple[str, Path, str]]:
    """Yield place, file and package of a module and of the packages above it, where the project has them."""
    parts = name.split(".")
    if not parts[0] or parts[0] in ELSEWHERE:
        return
    for base in bases:
        if not ((base / parts[0]).is_dir() or (base / f"{parts[0]}.py").is_file()):
            continue
        for depth in range(1, len(parts) + 1):
            above, inside = "/".join(parts[:depth]), ".".join(parts[:depth])
            for place, package in ((f"{above}/__init__.py", inside), (f"{above}.py", ".".join(parts[: depth - 1]))):
                file = base / place
                if file.is_file() and file.resolve().is_relative_to(base):
                    yield place, file, package
        return


def _tree(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes(), filename=str(path))
    except (SyntaxError, ValueError) as error:
        raise CatalogError(f"{path}: {error}", "Correct the file.") from None

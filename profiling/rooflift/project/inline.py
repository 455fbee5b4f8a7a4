"""A module and what it imports from the files below it, as the text of one module; nothing is imported or run.

Only `from .file import name as other` is followed. A function that two files hold in the same words, and that means the
same in both, stands once; where they mean different things by one name, the later one gets its file's name behind it.
"""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from pathlib import Path

from rooflift.errors import CatalogError

ALLOWED = {"torch", "triton"}  # beside the standard library


@dataclass(frozen=True, slots=True)
class _File:
    """A file taken apart: its definitions in order, each with its text, its node and the definitions it uses."""

    path: Path
    tree: ast.Module
    texts: dict[str, str]
    nodes: dict[str, ast.stmt]
    uses: dict[str, set[str]]

    def reached(self, names: set[str]) -> list[str]:
        """Return the definitions that some of them need, themselves among them, in the order of the file."""
        found: set[str] = set()
        waiting = set(names)
        while waiting:
            name = waiting.pop()
            found.add(name)
            waiting |= self.uses[name] - found
        return [name for name in self.texts if name in found]


def inline(path: Path) -> str:
    """Return a module's text with the functions that it imports from files of its folder in their place.

    Raises:
        CatalogError: an import is neither torch, triton, of the standard library nor of such a file, an imported name
            is not defined there, or a local variable has the name of a function that gets another name.
    """
    top = _read(path)
    own = [node for node in top.tree.body if isinstance(node, ast.ImportFrom) and node.level]
    aliases = {alias.asname or alias.name for node in own for alias in node.names}
    taken = dict.fromkeys([*aliases, *top.texts], "")  # name in the result -> the words under it
    imports, parts, shared = _imports(top), [], dict[tuple[str, str], str]()
    for node in own:
        file = _read(_neighbour(path, node))
        wanted = {alias.name: alias.asname or alias.name for alias in node.names}
        for name in wanted:
            if name not in file.texts:
                raise CatalogError(f"{path}:{node.lineno}: {file.path.name} defines no {name}", "Correct the import.")
        imports |= _imports(file)
        parts += _taken_over(file, wanted, taken, shared)
    body = [top.texts[name] for name in top.texts]
    title = ast.get_docstring(top.tree) or path.stem
    return "\n\n\n".join([f'"""{title}\n"""\n\n' + "\n".join(sorted(imports)), *parts, *body]) + "\n"


def inlined_files(path: Path) -> list[Path]:
    """Return a module and the files that `inline` takes functions from.

    Raises:
        CatalogError: the module cannot be read.
    """
    own = (node for node in _read(path).tree.body if isinstance(node, ast.ImportFrom) and node.level)
    return [path, *dict.fromkeys(_neighbour(path, node) for node in own)]


def _neighbour(path: Path, node: ast.ImportFrom) -> Path:
    return path.parent.joinpath(*(node.module or "").split(".")).with_suffix(".py")


def _taken_over(
    file: _File, wanted: dict[str, str], taken: dict[str, str], shared: dict[tuple[str, str], str]
) -> list[str]:
    """Return the texts of a file's definitions that are not in the result yet, with the names they have there."""
    reached = file.reached(set(wanted))
    same = {name for name in reached if name not in wanted and (name, file.texts[name]) in shared}
    while True:  # the same words mean the same only where what they use does
        other = {name for name in same if (file.uses[name] & set(reached)) - same - {name}}
        if not other:
            break
        same -= other
    names = {name: shared[name, file.texts[name]] for name in same}
    for name in reached:
        if name not in same:
            names[name] = wanted.get(name) or (name if name not in taken else f"{name}_of_{file.path.stem}")
            taken[names[name]] = file.texts[name]
            shared.setdefault((name, file.texts[name]), names[name])
    changed = {name: new for name, new in names.items() if name != new}
    return [_renamed(file, name, changed) for name in reached if name not in same]


def _renamed(file: _File, name: str, changed: dict[str, str]) -> str:
    """Return the text of a definition in which definitions of the file have other names."""
    node = file.nodes[name]
    places = []
    for one in ast.walk(node):
        local = ""
        if isinstance(one, ast.arg):
            line, local = one.lineno, one.arg
        elif isinstance(one, ast.Name):
            line = one.lineno
            if one.id in changed:
                places.append((line, one.col_offset, one.id))
                local = "" if isinstance(one.ctx, ast.Load) or isinstance(node, ast.Assign) else one.id
        if local in changed:
            raise CatalogError(f"{file.path}:{line}: {local} is a function of the file, too", "Rename the variable.")
    lines = [line.encode() for line in file.texts[name].split("\n")]  # columns of the syntax tree count bytes
    first = _first_line(node)
    for line, column, old in sorted(places, reverse=True):
        before = lines[line - first]
        lines[line - first] = before[:column] + changed[old].encode() + before[column + len(old.encode()) :]
    text = "\n".join(line.decode() for line in lines)
    if name in changed and not isinstance(node, ast.Assign):
        kind = "class" if isinstance(node, ast.ClassDef) else "def"
        text = text.replace(f"{kind} {name}", f"{kind} {changed[name]}", 1)
    return text


def _read(path: Path) -> _File:
    try:
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text, filename=str(path))
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        raise CatalogError(f"{path}: {error}", "Name a file that is there and can be read as Python.") from None
    lines = text.split("\n")
    texts, nodes = {}, {}
    for node in tree.body:
        for name in _targets(node):
            texts[name] = "\n".join(lines[_first_line(node) - 1 : node.end_lineno])
            nodes[name] = node
    uses = {
        name: {one.id for one in ast.walk(node) if isinstance(one, ast.Name) and one.id in texts}
        for name, node in nodes.items()
    }
    return _File(path, tree, texts, nodes, uses)


def _targets(node: ast.stmt) -> list[str]:
    """Return the names that a statement at module level defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    return []


def _first_line(node: ast.stmt) -> int:
    decorators = node.decorator_list if isinstance(node, ast.FunctionDef | ast.ClassDef) else []
    return min([node.lineno, *(one.lineno for one in decorators)])


def _imports(file: _File) -> set[str]:
    """Return the absolute imports of a file, each a line."""
    found = set()
    for node in file.tree.body:
        if isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and not node.level):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            for module in modules:
                if module.partition(".")[0] not in ALLOWED | sys.stdlib_module_names:
                    raise CatalogError(
                        f"{file.path}:{node.lineno}: {module} is imported", "Use torch and triton alone."
                    )
            found.add(ast.unparse(node))
    return found

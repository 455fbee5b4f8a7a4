"""Operators and their versions, found from file names; no kernel file is imported."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rooflift.errors import CatalogError, did_you_mean
from rooflift.project.cases import Case, read_cases
from rooflift.project.header import Header, parse_header

_VERSION_FILE = re.compile(r"^v(?P<number>0|[1-9]\d*)_[a-z0-9_]+\.py$")


@dataclass(frozen=True, slots=True)
class Version:
    """One numbered kernel file."""

    number: int
    name: str  # the file's stem, such as v1_grid
    path: Path
    header: Header


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator: its reference, its versions in order, its cases by name."""

    name: str
    folder: Path
    versions: tuple[Version, ...]
    cases: dict[str, Case]

    @property
    def reference(self) -> Path:
        """The operator in plain PyTorch."""
        return self.folder / "reference.py"

    def select_versions(self, wanted: Sequence[str]) -> list[Version]:
        """Return the versions named by stem (v1_grid), number (v1 or 1), or all of them for no name, in order.

        Raises:
            CatalogError: a name is unknown; near names are suggested.
        """
        chosen = {self._version(name).number for name in wanted}
        return [version for version in self.versions if not wanted or version.number in chosen]

    def _version(self, wanted: str) -> Version:
        for version in self.versions:
            if wanted in (version.name, f"v{version.number}", str(version.number)):
                return version
        remedy = did_you_mean(wanted, [version.name for version in self.versions])
        raise CatalogError(f"{self.name}: no version {wanted!r}", remedy)

    def select_cases(self, wanted: Sequence[str], use: str) -> list[Case]:
        """Return the named cases, or all that serve `use`.

        Raises:
            CatalogError: a name is unknown; near names are suggested.
        """
        for name in wanted:
            if name not in self.cases:
                raise CatalogError(f"{self.name}: no case {name!r}", did_you_mean(name, self.cases))
        return [c for c in self.cases.values() if c.name in wanted or (not wanted and use in c.use)]


def find_root(start: Path) -> Path:
    """Return the nearest folder at or above `start` that holds kernels/.

    Raises:
        CatalogError: there is none.
    """
    for folder in (start, *start.parents):
        if (folder / "kernels").is_dir():
            return folder
    raise CatalogError(f"{start}: no kernels/ here or above", "Go into the project's folder, or name it with --root.")


def operator_names(root: Path) -> list[str]:
    """Return the names of the operators: the folders below kernels/ with a reference.py."""
    return sorted(path.parent.name for path in (root / "kernels").glob("*/reference.py"))


def load_operator(root: Path, name: str) -> Operator:
    """Read one operator.

    Raises:
        CatalogError: the operator is unknown, or one of its files is malformed; with file and line.
    """
    if name not in operator_names(root):
        raise CatalogError(f"no operator {name!r} in {root / 'kernels'}", did_you_mean(name, operator_names(root)))
    folder = root / "kernels" / name
    _require(_parse(folder / "reference.py"), folder / "reference.py", ["Model", "get_inputs", "get_init_inputs"])
    versions = sorted(map(_read_version, folder.glob("v[0-9]*.py")), key=lambda version: (version.number, version.name))
    if not versions:
        raise CatalogError(
            f"{folder}: no version", "Add v0_baseline.py, the version that the others are measured against."
        )
    for expected, version in enumerate(versions):
        if version.number != expected:
            fault = "twice" if version.number < expected else f"but v{expected} is missing"
            raise CatalogError(
                f"{version.path}:1: version number {version.number} stands here {fault}",
                "Versions count up from v0 without a gap; a version that lost keeps its number.",
            )
    return Operator(name, folder, tuple(versions), read_cases(folder / "cases.toml"))


def _read_version(path: Path) -> Version:
    match = _VERSION_FILE.match(path.name)
    if match is None:
        raise CatalogError(f"{path}:1: not a version's file name", "Name it v<number>_<idea>.py, such as v2_tiling.py.")
    tree = _parse(path)
    header = parse_header(tree, path)
    _require(tree, path, ["ModelNew"])
    return Version(int(match["number"]), path.stem, path, header)


def _parse(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    except SyntaxError as error:
        raise CatalogError(f"{path}:{error.lineno or 1}: {error.msg}", "Correct the syntax.") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise CatalogError(f"{path}:{line}: not UTF-8 text: {error}", "Save the file as UTF-8.") from None


def _require(tree: ast.Module, path: Path, names: Iterable[str]) -> None:
    defined = {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    for name in names:
        if name not in defined:
            last = max(1, len(path.read_text(encoding="utf-8").splitlines()))
            kind = "function" if name.islower() else "class"
            raise CatalogError(
                f"{path}:{last}: the file ends without the {kind} {name}", f"Define {name} at module level."
            )

"""New operators below kernels/: a minimal one, one of a plain function, or those of KernelBench problems."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rooflift.api.project import Say, project_root, silent
from rooflift.api.shown import html_table, short, texts
from rooflift.errors import CatalogError
from rooflift.measure.small import find_small
from rooflift.project import new as made
from rooflift.project.from_function import files_of_function
from rooflift.project.imports import import_name
from rooflift.project.operator import slug
from rooflift.project.plain import read_function
from rooflift.project.settings import kernels_folder
from rooflift.runs import atomic

if TYPE_CHECKING:
    import pandas as pd

MINIMAL = "It doubles a tensor: change all three files, or begin with a function of yours by --from FILE.py:FUNCTION."
_LEVEL = r"level\d+"


@dataclass(frozen=True)
class Created:
    """Operators that were made, and what was left out."""

    folders: Mapping[str, Path]  # by operator
    without_small: Mapping[str, str]  # operators without a small test case, and why
    left_out: Sequence[str]  # files of which none was made, each with its reason
    notes: Sequence[str] = ()  # what was derived, and from what

    def table(self) -> pd.DataFrame:
        """Return one row an operator: operator, folder, no_small_case (why; "" where there is one)."""
        import pandas as pd

        rows = [(name, short(folder), self.without_small.get(name, "")) for name, folder in self.folders.items()]
        return pd.DataFrame(rows, columns=["operator", "folder", "no_small_case"])

    def parts(self) -> list[str]:
        """Return what a terminal shows: a line an operator, what is left to do, what comes next."""
        lines = [f"Wrote {short(folder)}" for folder in self.folders.values()]
        lines += self.notes
        lines += [
            f"{name}: no small case: {why}. Write one in its cases.toml." for name, why in self.without_small.items()
        ]
        lines += [f"Left out: {why}" for why in self.left_out]
        if len(self.folders) > 1:
            lines.append(f"{len(self.folders)} operators.")
        ready = next((name for name in self.folders if name not in self.without_small), None)
        return [*lines, *([f"Next: rooflift verify {ready}"] if ready else [])]

    def record(self) -> dict[str, Any]:
        """Return the folders, what lacks a small case and what was left out for a program."""
        folders = {name: short(folder) for name, folder in self.folders.items()}
        return {
            "operators": folders,
            "without_small": dict(self.without_small),
            "left_out": list(self.left_out),
            "notes": [*self.notes],
        }

    def __repr__(self) -> str:
        return f"<Created: {', '.join(self.folders) if len(self.folders) < 4 else f'{len(self.folders)} operators'}>"

    def _repr_html_(self) -> str:
        return html_table(texts(frame := self.table(), list(frame)), repr(self)[1:-1])


def new(
    name: str | None = None,
    *,
    source: str | None = None,
    reference: str | None = None,
    in_place: bool = False,
    kernelbench: Path | str | None = None,
    say: Say = silent,
    root: Path | str | None = None,
) -> Created:
    """Make an operator: a minimal one called `name`, one of a function, or those of KernelBench problems.

    `source` names a function, "mykernels/softmax.py:softmax": its inputs come from annotations, docstring and calls in
    the file, and v0 is the function as it stands, copied, or with `in_place` imported from where it is. `reference`
    names the function in plain torch that defines the right result; a function that launches no kernel does itself.

    `kernelbench` is a problem file, or a folder: all problems in it and in its folders level1, level2, ... Each becomes
    an operator with its file as reference.py, byte for byte, its own inputs as the case main, a small test case where
    smaller module constants give one, and v0, the reference itself as a version. `name` names the operator of a file.
    Problems are run to find small cases, in a process of their own. Operators that exist are left as they are.

    Where no folder at or above `root`, by default the working directory, holds kernels/, it is made there.

    >>> import rooflift as rl
    >>> rl.new("my_softmax")  # doctest: +SKIP
    <Created: my_softmax>

    Raises:
        CatalogError: the name is none or is taken, `kernelbench` holds no problem, or is a file that is none, or the
            function does not say enough; the remedy is what to write.
        RunFault: nothing can be written there.
    """
    where = _root(root)
    if source is not None:
        return _of_function(where, name, source, reference, in_place=in_place)
    if kernelbench is None:
        if name is None:
            raise CatalogError(
                "no name", "Name the operator: rooflift new my_softmax, or give --from FILE.py:FUNCTION."
            )
        return Created({name: write_operator(where, name, made.files_of_new())}, {}, [], [MINIMAL])
    problems, left_out = _problems(Path(kernelbench), name)
    existing = [f"{operator}: it exists" for operator in problems if (kernels_folder(where) / operator).exists()]
    if existing and len(problems) == 1:
        raise CatalogError(
            f"{kernels_folder(where) / next(iter(problems))} exists", "Name another operator, or remove it."
        )
    chosen = {one: path.absolute() for one, path in problems.items() if not (kernels_folder(where) / one).exists()}
    small = find_small([*chosen.values()], say)
    folders, without = {}, {}
    for operator, path in chosen.items():
        found = small[path]
        files = made.files_of_problem(path, found.constants, found.fault)
        folders[operator] = write_operator(where, operator, {"reference.py": path.read_bytes(), **files})
        if found.fault:
            without[operator] = found.fault.splitlines()[-1]
    return Created(folders, without, [*left_out, *existing])


def _of_function(root: Path, name: str | None, source: str, reference: str | None, *, in_place: bool) -> Created:
    file, _, _ = source.partition(":")
    module = import_name(Path(file), root) if in_place else None
    found = files_of_function(source, root, reference=reference, module=module)
    operator = name or slug(read_function(source).name)
    return Created({operator: write_operator(root, operator, found.files)}, {}, [], found.notes)


def write_operator(root: Path, name: str, files: Mapping[str, str | bytes]) -> Path:
    """Write an operator's files below kernels/, whole or not at all; return its folder.

    Raises:
        CatalogError: the name is none, or the operator exists.
        RunFault: nothing can be written there.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise CatalogError(f"{name!r} is no name of an operator", "Use letters, digits and underscores: my_softmax.")
    folder = kernels_folder(root) / name
    if folder.exists():
        raise CatalogError(f"{folder} exists", "Name another operator, or remove it.")
    with atomic.writing(folder) as staged:
        for file, text in files.items():
            (staged / file).write_bytes(text.encode() if isinstance(text, str) else text)
    return folder


def _root(root: Path | str | None) -> Path:
    try:
        return project_root(root)
    except CatalogError:
        return Path(root or Path.cwd()).resolve()


def _problems(place: Path, name: str | None) -> tuple[dict[str, Path], list[str]]:
    """Return the problem files of a file or folder by operator, and which files are none, with the reason."""
    if place.is_file():
        made.require_problem(place)
        return {name or made.operator_name(place): place}, []
    if name is not None:
        raise CatalogError(f"{place} is a folder, and {name} one name", "Leave out the name: files name operators.")
    files = (
        [
            *place.glob("*.py"),
            *(f for level in place.iterdir() if re.fullmatch(_LEVEL, level.name) for f in level.glob("*.py")),
        ]
        if place.is_dir()
        else []
    )
    found, left_out = dict[str, Path](), list[str]()
    for file in sorted(files):
        try:
            made.require_problem(file)
        except CatalogError as error:
            left_out.append(error.message)
        else:
            operator = made.operator_name(file)
            if operator in found:
                left_out.append(f"{file}: {operator} is the name of {found[operator].name}, too")
            found.setdefault(operator, file)
    if not found:
        raise CatalogError(
            f"{place}: no KernelBench problem", "Name a problem file, or a folder of them such as level1."
        )
    return found, left_out

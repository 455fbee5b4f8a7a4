"""The table [tool.rooflift] of a project's pyproject.toml: its folders, defaults of options, the rules of its gate.

The folders are named here alone: kernels/, reports/ and build/ where the table says nothing.
"""

from __future__ import annotations

import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import msgspec

from rooflift.errors import CatalogError, did_you_mean
from rooflift.files import read_regular, read_text
from rooflift.schema import Positive

FILE = "pyproject.toml"
MOST_BYTES = 2**20  # of that file
Folder = Annotated[str, msgspec.Meta(min_length=1)]


class Defaults(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """[tool.rooflift.defaults]: what an option of these names is in every command that has it; None says nothing."""

    metrics: str | None = None
    precision: str | Positive | None = None
    budget: Positive | None = None
    timeout: Positive | None = None
    target: list[str | int] | None = None
    gpu: str | None = None


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[tool.rooflift]; the folders are relative to the project's folder."""

    kernels: Folder = "kernels"  # operators
    reports: Folder = "reports"  # runs
    build: Folder = "build"  # what can be made again: reports, loops, checkpoints, the index of the runs
    imports: tuple[Folder, ...] = (".", "src")  # where the project's own modules lie that versions import
    defaults: Defaults = Defaults()
    gate: dict[str, Any] = {}  # analysis/thresholds.py reads it


_FORM = (
    f"[tool.rooflift] has {', '.join(Settings.__struct_fields__)}; [tool.rooflift.defaults] has "
    f"{', '.join(Defaults.__struct_fields__)}: docs/own-repository.md."
)


def read_settings(root: Path) -> Settings:
    """Return the settings of the project in a folder; those of a project without the table are the defaults.

    Raises:
        CatalogError: the file is no TOML, a key is unknown or of another type, or a folder lies outside the project.
    """
    path = root / FILE
    try:
        state = path.stat()
    except OSError:
        return Settings()
    return _read(path, (state.st_mtime_ns, state.st_size)) or Settings()


def has_settings(folder: Path) -> bool:
    """Tell whether a folder is a project because its pyproject.toml says so."""
    path = folder / FILE
    try:
        state = path.stat()
        return _read(path, (state.st_mtime_ns, state.st_size)) is not None
    except (OSError, CatalogError):  # a broken file of somebody else's project hides no project above
        try:
            return b"[tool.rooflift" in read_regular(path, MOST_BYTES)
        except OSError:
            return False


@lru_cache(maxsize=64)
def _read(path: Path, _: tuple[int, int]) -> Settings | None:
    """Return the table of a file in this state; None without one."""
    try:
        tool = tomllib.loads(read_text(path, MOST_BYTES)).get("tool", {})
    except OSError as error:
        raise CatalogError(f"{path}: {error.strerror}", "Correct the file.") from None
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, no UTF-8, a number of too many digits
        raise CatalogError(f"{path}: not TOML: {error}", "Correct the file.") from None
    if not isinstance(tool, dict):
        raise CatalogError(f"{path}: tool is no table", "Correct the file.")
    table = tool.get("rooflift")
    if table is None:
        return None
    try:
        found = msgspec.convert(table, Settings)
    except msgspec.ValidationError as error:
        raise CatalogError(
            f"{path}: [tool.rooflift]: {error}", _remedy(table) if isinstance(table, dict) else _FORM
        ) from None
    for key in ("kernels", "reports", "build", "imports"):
        for place in [getattr(found, key)] if key != "imports" else found.imports:
            if Path(place).is_absolute() or ".." in Path(place).parts:
                remedy = "Name a folder of the project, relative to pyproject.toml, such as src/kernels."
                raise CatalogError(f"{path}: [tool.rooflift] {key}: {place!r} lies outside the project", remedy)
    return found


def _remedy(table: dict[str, Any]) -> str:
    """Return what is near a key that does not exist, or what the tables hold."""
    own = table.get("defaults")
    for keys, form in ((table, Settings), (own if isinstance(own, dict) else {}, Defaults)):
        for key in keys:
            if key not in form.__struct_fields__:
                return did_you_mean(key, form.__struct_fields__)
    return _FORM


def kernels_folder(root: Path) -> Path:
    """Return the folder of the operators."""
    return root / read_settings(root).kernels


def reports_folder(root: Path) -> Path:
    """Return the folder of the runs."""
    return root / read_settings(root).reports


def build_folder(root: Path) -> Path:
    """Return the folder of what can be made again."""
    return root / read_settings(root).build

"""What the words of a command line name: the project, a run, RUN:VERSION, a GPU's roofs."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rooflift.errors import CatalogError, RunFault, did_you_mean

if TYPE_CHECKING:
    from rooflift.analysis.compare import Side
    from rooflift.runs.run import Run
    from rooflift.schema import Roofs


def project_root(root: Path | None) -> Path:
    """Return the project's folder: the nearest one with kernels/, at or above `root` or the working directory."""
    from rooflift.project.operator import find_root

    return find_root((root or Path.cwd()).resolve())


def find_run(root: Path | None, what: str, suite: bool = False) -> Run:
    """Return a run by its folder, wherever that lies, by its name, or an operator's newest."""
    from rooflift.runs.find import resolve_run

    is_folder = (Path(what) / "run.json").exists()
    try:
        top = project_root(root)
    except CatalogError:  # a run folder can be read anywhere
        if not is_folder:
            raise
        top = None
    return replace(resolve_run((top or Path()) / "reports", what, suite), root=top)


def split(what: str) -> tuple[str, str]:
    """Return run and version of "RUN:VERSION", the version "" for a run alone; a path may hold colons."""
    place, colon, version = what.rpartition(":")
    return (place, version) if colon and not Path(what).exists() else (what, "")


def find_version(run: Run, wanted: str) -> str:
    """Return the version of a run by its name, v1 or 1; the last one for "".

    Raises:
        RunFault: the run does not have it; near names are suggested.
    """
    names = [version.version for version in run.manifest.versions]
    if not wanted:
        return names[-1]
    for name in names:
        if wanted in (name, name.split("_")[0], name.split("_")[0].removeprefix("v")):
            return name
    raise RunFault(f"{run.folder}: it has no version {wanted!r}", did_you_mean(wanted, names))


def find_side(root: Path | None, what: str) -> Side:
    """Return the version that RUN or RUN:VERSION names, of a run without one the last."""
    from rooflift.analysis.compare import side

    place, version = split(what)
    run = find_run(root, place)
    return side(run, find_version(run, version))


def find_sides(root: Path | None, base: str, head: str, versions: list[str]) -> list[tuple[Side, Side]]:
    """Return what "RUN[:VERSION]" twice, or "RUN:VERSION" and ":VERSION", name: one pair, or one a named version.

    Raises:
        CatalogError: versions are named in two ways, or both sides are the same version of the same run.
    """
    from rooflift.analysis.compare import side

    places = [split(base), split(head)]
    runs = [find_run(root, places[0][0])]
    same = places[1][0] == "" or places[1][0] == places[0][0]
    runs.append(runs[0] if same else find_run(root, places[1][0]))
    if versions and (places[0][1] or places[1][1]):
        raise CatalogError("--version, and a version behind a colon", "Name the versions in one of the two ways.")
    wanted = [(version, version) for version in versions] or [(places[0][1], places[1][1])]
    found = [
        (side(runs[0], find_version(runs[0], one)), side(runs[1], find_version(runs[1], other)))
        for one, other in wanted
    ]
    for one, other in found:
        if one.manifest is other.manifest and one.version == other.version:
            raise CatalogError(f"{one.name} on both sides", "Name two versions: `rooflift compare RUN:v1 :v2`.")
    return found


def roofs_on(root: Path | None, gpu: str) -> Roofs | None:
    """Return the newest measured roofs of a GPU, None where there are none or no project is here."""
    from rooflift.runs.roofs import newest_roofs

    with suppress(CatalogError):
        return newest_roofs(project_root(root) / "reports", gpu)
    return None

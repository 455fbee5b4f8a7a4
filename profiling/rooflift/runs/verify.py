"""run.json sealed with the sha256 of every file of its folder, and held against them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from rooflift.errors import RunFault
from rooflift.project.settings import kernels_folder
from rooflift.runs.run import read_run, to_json
from rooflift.schema import Manifest

if TYPE_CHECKING:
    pass


MOST_BYTES = 8 * 2**30  # of a file of a run; reports have at most 2 GiB
KERNELS = "kernels/"  # the sha256 of a file of the project, not of the run folder, is under such a name


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write run.json: the manifest, the sha256 of every other file of the folder, and its own."""
    digests = {name: digest for name, digest in manifest.sha256.items() if name.startswith(KERNELS)}
    digests |= {name: sha256(path) for name, path in _files(folder).items() if name != "run.json"}
    (folder / "run.json").write_bytes(sealed(msgspec.structs.replace(manifest, sha256=digests)))


def sealed(manifest: Manifest) -> bytes:
    """Return run.json as it is written, with its own sha256."""
    data = to_json(msgspec.structs.replace(manifest, sha256_self=""))
    return data.replace(_own_line(""), _own_line(hashlib.sha256(data).hexdigest()), 1)


def _own_line(digest: str) -> bytes:
    """Return how a run.json spells its own sha256, which is that of the file with "" in its place."""
    return f'  "sha256_self": "{digest}"'.encode()


def _files(folder: Path) -> dict[str, Path]:
    """Return all that lies in a folder and is no folder, by its name, in order."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_symlink() or not path.is_dir())
    return {path.relative_to(folder).as_posix(): path for path in paths}


@dataclass(frozen=True, slots=True)
class Verified:
    """What a run folder is found to be: what is wrong with it, and what cannot be told."""

    folder: Path
    faults: list[tuple[str, str]]  # a file of the folder, and what is wrong with it
    notes: list[str]

    @property
    def whole(self) -> bool:
        """Nothing is wrong with it."""
        return not self.faults


def verify(folder: Path, root: Path | None = None) -> Verified:
    """Hold every byte of a run folder against the sha256 in its run.json.

    With the project's folder a note says whether its kernel files still are those that were measured. Who alters a
    run on purpose may alter the sha256 with it; version control tells.

    Raises:
        RunFault: `folder` has no run.json.
    """
    try:
        manifest = read_run(folder).manifest
    except RunFault as fault:
        if not (folder / "run.json").is_file():
            raise
        return Verified(folder, [("run.json", fault.message.removeprefix(f"{folder / 'run.json'}: "))], [])
    faults, notes = [], []
    data = (folder / "run.json").read_bytes()
    if manifest.sha256_self is None:
        notes.append("run.json does not hold its own sha256: whether it was altered cannot be told")
    elif _own_digest(data, manifest.sha256_self) != manifest.sha256_self:
        faults.append(("run.json", "altered"))
    there = _files(folder)
    there.pop("run.json")
    own = {name: digest for name, digest in manifest.sha256.items() if not name.startswith(KERNELS)}
    for name in sorted(own.keys() | there.keys()):
        wrong = _wrong(there.get(name), own.get(name))
        faults += [(name, wrong)] if wrong else []
    if root is not None:
        notes += _kernels_since(manifest, root)
    return Verified(folder, faults, notes)


def _wrong(path: Path | None, digest: str | None) -> str:
    """Return what is wrong with a file of a run folder, "" when nothing is."""
    if path is None:
        return "missing"
    if digest is None:
        return "additional"
    if path.is_symlink() or not path.is_file():  # a pipe is never opened
        return "no regular file"
    try:
        if path.stat().st_size > MOST_BYTES:
            return f"larger than {MOST_BYTES // 2**30} GiB"
        return "" if sha256(path) == digest else "altered"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _own_digest(data: bytes, digest: str) -> str:
    return hashlib.sha256(data.replace(_own_line(digest), _own_line(""), 1)).hexdigest()


def _kernels_since(manifest: Manifest, root: Path) -> list[str]:
    measured = {name: digest for name, digest in manifest.sha256.items() if name.startswith(KERNELS)}
    here = {name: _project_file(root, name.removeprefix(KERNELS)) for name in measured}
    changed = [n for n, digest in measured.items() if not here[n].is_file() or sha256(here[n]) != digest]
    return [f"changed since it was measured, or gone: {', '.join(changed)}"] if changed else []


def _project_file(root: Path, name: str) -> Path:
    """Return a file of the project by its name in run.json without `KERNELS`; a module that a version imports: ../"""
    return root / name.removeprefix("../") if name.startswith("../") else kernels_folder(root) / name


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

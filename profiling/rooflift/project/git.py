"""Versions of git revisions, side by side: base and head as an operator of two versions in a folder of its own."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rooflift.errors import CatalogError
from rooflift.process import capture
from rooflift.project.operator import Operator, Version, load_operator
from rooflift.project.settings import kernels_folder, read_settings

WORKING_TREE = "the working tree"


@dataclass(frozen=True, slots=True)
class Pair:
    """An operator whose versions are base and head, and what they are."""

    operator: Operator  # v0_base and v1_head
    commit: str | None  # of head; None for the working tree
    about: str


def parse_range(text: str) -> tuple[str, str]:
    """Return base and head of "main..HEAD"; head is "" for the working tree ("main..").

    Raises:
        CatalogError: there is no base, or the form is git's A...B, which has another meaning.
    """
    base, _, head = text.partition("..")
    if not base or head.startswith("."):
        raise CatalogError(f"{text}: no range of revisions", "Write BASE..HEAD, or BASE.. for the working tree.")
    return base, head


@contextmanager
def pair(root: Path, revisions: tuple[str, str], name: str, wanted: str | None) -> Iterator[Pair]:
    """Yield base and head as the versions v0_base and v1_head of an operator in a temporary folder.

    `wanted` names a version; without it each side has its newest. Cases and reference are head's.

    Raises:
        CatalogError: a revision is unknown, does not have the operator, or the reference differs between the two.
    """
    with tempfile.TemporaryDirectory(prefix="rooflift-") as temporary:
        top = Path(temporary)
        sides, texts = [], []
        for side, revision in zip(("base", "head"), revisions, strict=True):
            folder = top / side
            commit = _export(root, revision, name.partition("/")[0], folder)
            operator = load_operator(folder, name)
            version = operator.select_versions([wanted] if wanted else [])[-1]
            sides.append((operator, version))
            texts.append(f"{version.name} of {_told(revision, commit)}")
        (base, old), (head, new) = sides
        if base.reference.read_bytes() != head.reference.read_bytes():
            raise CatalogError(
                f"{name}: reference.py differs between {revisions[0]} and {revisions[1] or WORKING_TREE}",
                "The two are not the same operator: compare revisions that agree on the reference.",
            )
        about = f"v0_base is {texts[0]}, v1_head is {texts[1]}."
        yield Pair(_side_by_side(top / "both", head, old, new), commit or None, about)


def _side_by_side(folder: Path, head: Operator, old: Version, new: Version) -> Operator:
    """Copy head's reference and cases into a folder, and the two versions beside them; the names are `pair`'s."""
    both = folder / "kernels" / head.name
    (both / head.ladder).mkdir(parents=True)
    for path in (head.reference, head.folder / "cases.toml"):
        if path.exists():
            shutil.copy(path, both / path.name)
    versions = []
    for number, (name, version) in enumerate((("v0_base", old), ("v1_head", new))):
        path = both / head.ladder / f"{name}.py"
        shutil.copy(version.path, path)
        versions.append(Version(number, name, path, version.header))
    return replace(head, folder=both, versions=tuple(versions))


def _export(root: Path, revision: str, operator: str, folder: Path) -> str:
    """Copy an operator out of a revision, or of the working tree, and return the commit ("" for the working tree)."""
    if not revision:
        shutil.copytree(kernels_folder(root) / operator, folder / "kernels" / operator)
        return ""
    commit = _git(root, ["rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}"])
    if commit is None:
        raise CatalogError(f"{revision}: git knows no such revision", "Fetch it, or name another.")
    where = f"{read_settings(root).kernels}/{operator}"
    folder.mkdir()
    archive = folder / "kernels.tar"
    # of a project below the top of its repository, too: the path is relative to root
    if _git(root, ["archive", f"--output={archive}", commit, "--", where]) is None:
        raise CatalogError(f"{revision}: it does not have {where}", "Name a revision that has the operator.")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    if not (folder / "kernels" / operator).exists():
        shutil.copytree(folder / where, folder / "kernels" / operator)
    return commit


def _told(revision: str, commit: str) -> str:
    if not commit:
        return WORKING_TREE
    return commit[:7] if commit.startswith(revision) else f"{revision} ({commit[:7]})"


def _git(root: Path, words: Sequence[str]) -> str | None:
    ended = capture(["git", "-C", str(root), *words])
    return ended.output.strip() if ended.returncode == 0 else None


def text_at(root: Path, commit: str, name: str) -> str | None:
    """Return a file as it was at a commit, None where git has none; `name` is relative to the project."""
    ended = capture(["git", "-C", str(root), "show", f"{commit}:./{name}"])
    return ended.output if ended.returncode == 0 else None


def git_state(root: Path) -> tuple[str | None, bool]:
    """Return the commit of the checkout and whether its code has changes; (None, False) outside git.

    New files in the folder of the runs are what earlier runs left, not changes.
    """
    commit = capture(["git", "-C", str(root), "rev-parse", "HEAD"])
    if commit.returncode != 0:
        return None, False
    runs = f":(exclude){read_settings(root).reports}"
    changes = capture(["git", "-C", str(root), "status", "--porcelain", "--", ".", runs])
    return commit.output.strip(), bool(changes.output.strip())

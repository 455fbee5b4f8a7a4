"""Base and head of two git revisions side by side, from a repository that a test makes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from rooflift.errors import CatalogError
from rooflift.project.git import pair, parse_range
from rooflift.project.operator import Operator


def git(root: Path, *words: str) -> str:
    identity = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", root, *identity, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def root(make_operator: Callable[..., Operator], version_text: Callable[..., str]) -> Path:
    """A repository: at `old` the operator has v0, at HEAD a v1, too, and in the working tree another v1."""
    operator = make_operator(version_text())
    root = operator.folder.parents[1]
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", "old")
    git(root, "tag", "old")
    (operator.folder / "v1_probe.py").write_text(version_text(top="# head"))
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", "head")
    (operator.folder / "v1_probe.py").write_text(version_text(top="# working tree"))
    return root


@pytest.mark.parametrize(
    ("text", "revisions"), [("main..HEAD", ("main", "HEAD")), ("main..", ("main", "")), ("a/b..c", ("a/b", "c"))]
)
def test_range_is_read(text: str, revisions: tuple[str, str]) -> None:
    assert parse_range(text) == revisions


@pytest.mark.parametrize("text", ["..HEAD", "main...HEAD", ".."])
def test_range_without_a_base_or_of_another_meaning_is_refused(text: str) -> None:
    with pytest.raises(CatalogError, match="no range"):
        parse_range(text)


def test_newest_versions_of_both_stand_side_by_side(root: Path) -> None:
    with pair(root, ("old", "HEAD"), "twice", None) as found:
        base, head = found.operator.versions
        assert (base.name, head.name) == ("v0_base", "v1_head")
        assert "# head" in head.path.read_text()
        assert base.path.read_text() == (root / "kernels/twice/v0_probe.py").read_text()
        assert found.commit == git(root, "rev-parse", "HEAD")
        assert found.about == (
            f"v0_base is v0_probe of old ({git(root, 'rev-parse', '--short=7', 'old')}), "
            f"v1_head is v1_probe of HEAD ({found.commit[:7]})."
        )
        assert sorted(found.operator.cases) == ["main", "small"]
        folder = found.operator.folder
    assert not folder.exists()
    assert "# working tree" in (root / "kernels/twice/v1_probe.py").read_text()


def test_working_tree_is_taken_as_it_stands(root: Path) -> None:
    with pair(root, ("HEAD", ""), "twice", "v1") as found:
        assert "# head" in found.operator.versions[0].path.read_text()
        assert "# working tree" in found.operator.versions[1].path.read_text()
        assert found.commit is None
        assert found.about.endswith("v1_head is v1_probe of the working tree.")


def test_project_below_the_top_of_its_repository_is_found(root: Path) -> None:
    below = root / "below"
    below.mkdir()
    git(root, "mv", "kernels", "below/kernels")
    git(root, "commit", "--quiet", "--all", "--message", "moved")
    with pair(below, ("HEAD", ""), "twice", None) as found:
        assert len(found.operator.versions) == 2


@pytest.mark.parametrize(
    ("revisions", "operator", "version", "said"),
    [
        (("nowhere", "HEAD"), "twice", None, "nowhere: git knows no such revision"),
        (("old", "HEAD"), "thrice", None, "old: it does not have kernels/thrice"),
        (("old", "HEAD"), "twice", "v1", "no version 'v1'"),
    ],
)
def test_what_is_not_there_is_named(
    root: Path, revisions: tuple[str, str], operator: str, version: str | None, said: str
) -> None:
    with pytest.raises(CatalogError, match=said), pair(root, revisions, operator, version):
        pass


def test_other_operator_is_refused(root: Path) -> None:
    reference = root / "kernels/twice/reference.py"
    reference.write_text(reference.read_text().replace("2 * x", "3 * x"))
    with (
        pytest.raises(CatalogError, match=r"reference\.py differs between HEAD and the working tree"),
        pair(root, ("HEAD", ""), "twice", None),
    ):
        pass

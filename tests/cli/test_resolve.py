"""RUN, RUN:VERSION and :VERSION: what they name."""

from __future__ import annotations

from pathlib import Path

import pytest

from rooflift.cli import resolve


@pytest.mark.parametrize(
    ("text", "parts"), [("run:v1", ("run", "v1")), ("run", ("run", None)), (":v1", ("", "v1")), ("a:b:2", ("a:b", "2"))]
)
def test_run_and_version_are_told_apart(text: str, parts: tuple[str, str | None]) -> None:
    assert resolve.split(text) == parts


def test_folder_whose_name_holds_a_colon_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a:b").mkdir()
    assert resolve.split(str(tmp_path / "a:b")) == (str(tmp_path / "a:b"), None)

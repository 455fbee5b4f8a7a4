"""The rules of a gate as pyproject.toml has them; a rule that is misspelt or no share is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from rooflift.analysis.thresholds import GateRules, parse_share, read_rules
from rooflift.errors import CatalogError


@pytest.mark.parametrize(
    ("text", "share"), [("2%", 0.02), ("0.02", 0.02), ("85 %", 0.85), ("120%", 1.2), (".5", 0.5), ("0", 0)]
)
def test_share_is_read(text: str, share: float) -> None:
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "%", "two", "-1%", "85", "1.2.3", "nan"])
def test_what_is_no_share_is_named(text: str) -> None:
    with pytest.raises(CatalogError, match="is no share"):
        parse_share(text)


def rules(folder: Path, text: str) -> GateRules:
    (folder / "pyproject.toml").write_text(text)
    return read_rules(folder / "pyproject.toml")


def test_rules_are_read(tmp_path: Path) -> None:
    text = """[tool.rooflift.gate]
max-slowdown = "2%"
min-sol = 0.85
max-registers = 64
max-spills = 0
cases = ["main"]
"""
    assert rules(tmp_path, text) == GateRules(0.02, 0.85, 64, 0, ("main",))


def test_no_file_and_no_table_are_no_rule(tmp_path: Path) -> None:
    assert read_rules(tmp_path / "pyproject.toml") == GateRules()
    assert not rules(tmp_path, "[project]\nname = 'x'\n").given


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[tool.rooflift.gate]\nmax-slow = '2%'", "max-slow"),
        ("[tool.rooflift.gate]\nmax-spills = '0'", r"max-spills"),
        ("[tool.rooflift.gate]\nmin-sol = 'much'", "much"),
        ("[tool.rooflift.gate", "not TOML"),
    ],
)
def test_wrong_rule_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(CatalogError, match=said):
        rules(tmp_path, text)

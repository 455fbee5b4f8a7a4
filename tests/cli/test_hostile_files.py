"""Settings, roofs, candidates and journals from anybody, and a fault of rooflift itself: one message, exit code 2."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rooflift.analysis.thresholds import read_rules
from rooflift.api import find
from rooflift.errors import RoofliftError
from rooflift.lint.candidate import read_candidate
from rooflift.optimize.header import with_header
from rooflift.optimize.journal import read_journal
from rooflift.project.operator import load_operator
from rooflift.project.settings import read_settings
from rooflift.runs.roofs import read_roofs, write_roofs
from rooflift.schema import Roofs

Rooflift = Callable[..., Any]

SETTINGS = {
    "tool = 3": "tool is no table",
    "[tool]\nrooflift = 3": "[tool.rooflift]: Expected `object`",
    "[tool.rooflift]\nkernels = '../..'": "lies outside the project",
    "[tool.rooflift.defaults]\nbudget = -1": "$.defaults.budget",
    "[tool.rooflift.defaults]\ntimeout = nan": "$.defaults.timeout",
    "[tool.rooflift.defaults]\nprecision = true": "$.defaults.precision",
    "a = " + "[" * 5000: "not TOML",
    "a = " + "9" * 5000: "not TOML",
}


@pytest.mark.parametrize("text", SETTINGS)
def test_settings_are_read_or_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(RoofliftError) as caught:
        read_settings(tmp_path)
    assert SETTINGS[text] in caught.value.message


@pytest.mark.parametrize("rule", ["max-spills = -1", "max-registers = true", "max-slowdown = nan", "min-sol = [1]"])
def test_rule_of_a_gate_that_cannot_be_kept_is_refused(rule: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(f"[tool.rooflift.gate]\n{rule}\n")
    with pytest.raises(RoofliftError, match=r"gate|no share"):
        read_rules(tmp_path / "pyproject.toml")


@pytest.mark.parametrize("per_s", [0, -1, 1e308, 5e-324, True, "fast"])
def test_roofs_are_rates_that_can_be(per_s: object, tmp_path: Path, h100_roofs: Callable[..., Roofs]) -> None:
    path = tmp_path / "h100.json"
    write_roofs(path, h100_roofs())
    roofs = json.loads(path.read_bytes())
    roofs["rows"][0]["per_s"] = per_s
    path.write_text(json.dumps(roofs))
    with pytest.raises(RoofliftError, match=r"rows\[0\]\.per_s"):
        read_roofs(path)


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_candidate_that_is_no_file_is_refused(make: Callable[[Path], object], tmp_path: Path) -> None:
    make(tmp_path / "candidate.py")
    with pytest.raises(RoofliftError, match=r"candidate\.py"):
        read_candidate(tmp_path / "candidate.py")


@pytest.mark.parametrize("text", ["x = " + "(" * 5000, "x = 1\0", "x = " + "-" * 200_000 + "1"])
def test_version_that_python_cannot_parse_is_named(
    text: str, tmp_path: Path, make_operator: Callable[..., Any]
) -> None:
    make_operator()
    (tmp_path / "project" / "kernels" / "twice" / "v0_probe.py").write_text(text)
    with pytest.raises(RoofliftError, match=r"v0_probe\.py"):
        load_operator(tmp_path / "project", "twice")


@pytest.mark.parametrize("version", ["/etc/hostname", "../../x", "v1_a\n", "v1_\x1b[2J"])
def test_kept_version_of_a_journal_is_a_name(version: str) -> None:
    line = {
        "type": "Iteration",
        "number": 1,
        "stage": "grid",
        "base": "v0_a",
        "at": None,
        "why": [],
        "version": version,
    }
    with pytest.raises(ValueError, match="version"):
        read_journal(json.dumps(line).encode() + b"\n")


def test_docstring_of_halves_of_characters_makes_a_title(version_text: Callable[..., str]) -> None:
    code = '"""Tiles \\ud800 of it."""\nx = 1\n'
    text, title = with_header(code, "grid", 1, {})
    assert text.encode()
    assert title == "Tiles ? of it."


def test_fault_of_the_program_is_no_judgement(
    h100_run: Path, rooflift: Rooflift, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise KeyError("\x1b[2Jcase")

    monkeypatch.setattr(find, "open", fails)
    said = rooflift("report", h100_run, "--terminal")
    assert (said.code, said.out) == (2, "")
    assert "rooflift: a fault of rooflift itself: KeyError: " in said.err
    assert f"rooflift --debug report {h100_run}" in said.err
    assert "\x1b" not in said.err
    assert json.loads(rooflift("report", h100_run, "--json").out)["error"] == "InternalFault"
    with pytest.raises(KeyError):
        rooflift("--debug", "report", h100_run, "--terminal")

"""What CI installs is pinned whole, fits pyproject.toml, and every direct dependency has its reason."""

from __future__ import annotations

import re
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DIRECT = [
    Requirement(text)
    for text in [
        *PROJECT["dependencies"],
        *(text for extra in PROJECT["optional-dependencies"].values() for text in extra),
    ]
]


def name_of(text: str) -> str:
    return re.sub(r"[-_.]+", "-", text).lower()


def pins() -> dict[str, Version]:
    lines = [
        line
        for file in ("constraints-cpu.txt", "requirements-lock.txt")
        for line in (ROOT / file).read_text().splitlines()
        if line and not line.lstrip().startswith("#")
    ]
    return {name_of(name): Version(version) for name, version in (line.split("==") for line in lines)}


@pytest.mark.parametrize("requirement", DIRECT, ids=lambda requirement: requirement.name)
def test_lock_fits_the_project(requirement: Requirement) -> None:
    assert pins()[name_of(requirement.name)] in requirement.specifier, "run `make lock`"


def test_every_pin_says_who_asks_for_it() -> None:
    text = (ROOT / "requirements-lock.txt").read_text()
    asked = re.findall(r"^(\S+)==\S+\n +# via", text, re.MULTILINE)
    assert set(map(name_of, asked)) | {"torch", "triton"} == pins().keys()


def test_everything_that_the_project_draws_in_is_pinned() -> None:
    drawn, left = set[str](), [requirement.name for requirement in DIRECT]
    while left:
        name = name_of(left.pop())
        if name in drawn or name.startswith(("nvidia-", "cuda-")):  # what a torch with CUDA brings, where there is one
            continue
        drawn.add(name)
        needed = [Requirement(text) for text in metadata.requires(name) or []]
        left += [r.name for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]
    assert len(drawn) > 2 * len(DIRECT)
    assert drawn - pins().keys() == set()


@pytest.mark.parametrize("requirement", DIRECT, ids=lambda requirement: requirement.name)
def test_every_direct_dependency_has_a_reason_and_a_licence(requirement: Requirement) -> None:
    rows = [line.split("|") for line in (ROOT / "docs" / "dependencies.md").read_text().splitlines() if "|" in line]
    (row,) = (row for row in rows if re.search(rf"(?<![\w-]){re.escape(requirement.name)}(?![\w-])", row[1]))
    assert row[2].strip()
    assert row[4].strip()


def test_nothing_of_ncu_report_is_in_the_repository() -> None:
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    if not files:
        pytest.skip("no git checkout")
    assert [file for file in files if file.endswith((".so", ".whl"))] == []
    assert [file for file in files if Path(file).name == "ncu_report.py" or "ncu_report/" in file] == []

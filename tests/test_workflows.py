"""The workflows in .github/ name what is there, and one alone publishes pages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = {path.name: yaml.safe_load(path.read_text()) for path in (ROOT / ".github" / "workflows").glob("*.yml")}
PUBLISHES = "actions/deploy-pages"


def steps(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_one_workflow_publishes_and_may_write_pages() -> None:
    """Each deployment replaces the whole of the one before it."""
    publishing = [name for name, found in WORKFLOWS.items() if PUBLISHES in str(found)]
    assert publishing == ["pages.yml"]
    jobs = WORKFLOWS["pages.yml"]["jobs"]
    may_write = [name for name, job in jobs.items() if "write" in job.get("permissions", {}).values()]
    assert may_write == [name for name, job in jobs.items() if PUBLISHES in str(job)]
    assert WORKFLOWS["pages.yml"]["permissions"] == {"contents": "read"}


def test_what_is_published_is_what_make_writes_and_never_of_a_pull_request() -> None:
    build, publish = (WORKFLOWS["pages.yml"]["jobs"][name] for name in ("build", "publish"))
    (uploaded,) = (step["with"]["path"] for step in build["steps"] if "upload-pages-artifact" in step.get("uses", ""))
    assert f"PAGES := {uploaded}\n" in (ROOT / "Makefile").read_text()
    assert publish["needs"] == "build"
    assert publish["if"] == "github.event_name != 'pull_request'"


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_calls_what_the_project_has(name: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    ran = "\n".join(step.get("run", "") for step in steps(WORKFLOWS[name]))
    assert set(re.findall(r"\bmake ([a-z]+)", ran)) <= targets
    local = [step["uses"] for step in steps(WORKFLOWS[name]) if step.get("uses", "").startswith("./")]
    assert all((ROOT / path).exists() for path in [*local, *re.findall(r"\./scripts/\w+", ran)])

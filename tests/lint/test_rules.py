"""The sentences of rules.toml are those of the lint: none without a check, no check without a sentence."""

from __future__ import annotations

import ast
import re
from importlib import resources
from pathlib import Path

import pytest

from rooflift.lint.lint import lint_file
from rooflift.lint.rules import rules
from rooflift.lint.vocabulary import refusal

CHECKOUT = Path(__file__).parents[2]


def _names_in_source() -> set[str]:
    """The texts in the linter's files that could name a rule."""
    files = [path for path in resources.files("rooflift.lint").iterdir() if path.name.endswith(".py")]
    nodes = [node for path in files for node in ast.walk(ast.parse(path.read_text()))]
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def test_every_rule_of_the_list_is_one_that_the_checker_knows() -> None:
    assert set(rules()) <= _names_in_source()


def test_every_rule_that_the_checker_refuses_by_is_in_the_list() -> None:
    called: set[str] = set()
    for path in resources.files("rooflift.lint").iterdir():
        if not path.name.endswith(".py"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("refuse", "_refuse", "add", "at"):
                first = node.args[0] if node.args else None
                called |= {first.value} if isinstance(first, ast.Constant) and isinstance(first.value, str) else set()
            if isinstance(node, ast.Assign) and any(getattr(t, "id", "") == "rule" for t in node.targets):
                called |= {n.value for n in ast.walk(node.value) if isinstance(n, ast.Constant)} - {"cache"}
    named = {text for text in called if re.fullmatch(r"[a-z]+(_[a-z]+)*", text)}
    named |= {refusal(name) for name in ("threading", "time", "sys", "os", "functools", "torch.relu", "numpy")}
    assert len(named) > 25
    assert named <= set(rules())


@pytest.mark.parametrize(
    "path", sorted((CHECKOUT / "tests/fixtures/candidates/bad").glob("*.txt")), ids=lambda p: p.stem
)
def test_every_rule_that_a_bad_reply_breaks_is_in_the_list(path: Path) -> None:
    head = dict(re.findall(r"^# (\w+): (\S+)$", path.read_text(), re.MULTILINE))
    operator = CHECKOUT / "kernels" / head["operator"]
    base = operator / head["base"] if "base" in head else None
    found = lint_file(path, operator / "reference.py", head.get("stage"), base)
    assert found
    assert {finding.rule for finding in found} <= set(rules())

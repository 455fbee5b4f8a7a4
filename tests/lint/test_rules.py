"""The sentences of rules.toml are those of the lint and the evaluation: none without a check, no check without one."""

from __future__ import annotations

import ast
from importlib import resources
from typing import get_args

from rooflift.lint import vocabulary
from rooflift.lint.rules import rules
from rooflift.worker.protocol import Criterion

WITHOUT_A_DEMAND = {"runs", "limits", "interpreter"}  # criteria of a run that ask for nothing more


def _refused_by() -> set[str]:
    """The rules that the linter's files add findings by, or refuse names by."""
    files = [path for path in resources.files("rooflift.lint").iterdir() if path.name.endswith(".py")]
    found = set[str]()
    for node in (node for path in files for node in ast.walk(ast.parse(path.read_text()))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("add", "at"):
            found |= {first.value for first in node.args[:1] if isinstance(first, ast.Constant)}
    return found | {str(vocabulary.refusal(name)) for name in ("Stream", "eval", "os", "register_hook")}


def test_every_rule_is_checked_by_the_linter_or_a_run_and_every_check_has_its_sentence() -> None:
    criteria = {*get_args(Criterion)} - WITHOUT_A_DEMAND
    assert {*rules()} == (_refused_by() | {"import"} | criteria)

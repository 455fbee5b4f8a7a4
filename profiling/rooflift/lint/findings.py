"""Findings of the linter, and where they gather."""

from __future__ import annotations

import ast
from typing import Literal

import msgspec


class Finding(msgspec.Struct, frozen=True):
    """One fault of a candidate: the rule it breaks, where in the file, what is wrong, and the remedy.

    An error rejects the candidate, a warning does not.
    """

    rule: str
    line: int
    column: int
    what: str
    remedy: str
    level: Literal["error", "warning"] = "error"


class Findings:
    """The findings so far, each place and rule once; `first_line` is the line of the file where the code begins."""

    def __init__(self, first_line: int = 1) -> None:
        self.first_line = first_line
        self.found: dict[tuple[str, int, int], Finding] = {}

    def add(self, rule: str, node: ast.AST | None, what: str, remedy: str, *, warn: bool = False) -> None:
        """Note a fault at a node, or at the first line."""
        self.at(rule, getattr(node, "lineno", 1), getattr(node, "col_offset", 0) + 1, what, remedy, warn=warn)

    def at(self, rule: str, line: int, column: int, what: str, remedy: str, *, warn: bool = False) -> None:
        """Note a fault at a line and column of the code, both counted from 1."""
        finding = Finding(rule, line + self.first_line - 1, column, what[:500], remedy, "warning" if warn else "error")
        self.found.setdefault((rule, line, column), finding)

    def sorted(self) -> list[Finding]:
        """Return the findings from top to bottom."""
        return sorted(self.found.values(), key=lambda finding: (finding.line, finding.column, finding.rule))

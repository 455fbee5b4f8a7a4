"""Findings of the linter, and where they gather."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault of a candidate: the rule it breaks, where in the file, what is wrong, and the remedy."""

    rule: str
    line: int
    column: int
    what: str
    remedy: str


@dataclass(slots=True)
class Findings:
    """The findings so far, each place and rule once; `first_line` is the line of the file where the code begins."""

    first_line: int = 1
    found: dict[tuple[str, int, int], Finding] = field(default_factory=dict)

    def add(self, rule: str, node: ast.AST | None, what: str, remedy: str) -> None:
        """Note a fault at a node, or at the first line."""
        self.at(rule, getattr(node, "lineno", 1), getattr(node, "col_offset", 0) + 1, what, remedy)

    def at(self, rule: str, line: int, column: int, what: str, remedy: str) -> None:
        """Note a fault at a line and column of the code, both counted from 1."""
        key = (rule, line, column)
        self.found.setdefault(key, Finding(rule, line + self.first_line - 1, column, what, remedy))

    def sorted(self) -> list[Finding]:
        """Return the findings from top to bottom."""
        return sorted(self.found.values(), key=lambda finding: (finding.line, finding.column, finding.rule))

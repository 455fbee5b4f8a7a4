"""The words that docs/glossary.md gives up do not come back: in documents, docstrings, help texts and messages."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GIVEN_UP = {
    r"(?<!font\.)famil(y|ies)": "operator",
    r"peers?": "baseline",
    r"(?<!performance )(?<!instruction )counters": "metrics",  # NVIDIA's: performance and instruction counters
    r"copy floor|roof %|floor %": "SOL time, SOL %",
    r"least effect": "minimum effect",
    r"warps active": "achieved occupancy",
    r"briefs?": "prompt",
    r"repl(y|ies)": "candidate",
    r"climb\w*": "optimize, iteration",
    r"(?<!data )sheets?": "GPU spec",  # a data sheet is its maker's
    r"confine\w*": "sandbox",
    r"blot\w*": "redact",
    r"strangers?": "untrusted input",
    r"foretold": "predicted",
    r"mend(s|ed)?": "fix",
    r"(told|tell\w*) again|retell": "re-render",
    r"taken up": "resume",
}


def texts(path: Path) -> str:
    """Return what a document says, or the string literals of a module, docstrings included."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return text
    constants = (node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant))
    return "\n".join(value for value in constants if isinstance(value, str))


def documents() -> list[Path]:
    """Return every document and module but the glossary itself, which names what it gives up."""
    package = ROOT / "profiling" / "rooflift"
    found = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *package.rglob("*.py"), *package.rglob("*.j2")]
    return [path for path in sorted(found) if path.name != "glossary.md"]


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_it_uses_no_word_that_was_given_up(path: Path) -> None:
    said = texts(path)
    found = {
        match[0]: f"use: {better}"
        for word, better in GIVEN_UP.items()
        for match in re.finditer(rf"\b({word})\b", said, re.IGNORECASE)
    }
    assert found == {}


def test_the_glossary_gives_each_term_one_sentence() -> None:
    lines = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| ")][2:]
    assert len({row[0] for row in rows}) == len(rows) > 30
    assert all(20 < len(meaning) < 160 for _, meaning, _ in rows)

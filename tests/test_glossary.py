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
# rooms whose words are still the old ones; the list only shrinks
NOT_YET: tuple[str, ...] = (
    "README.md",
    "docs/architecture.md",
    "profiling/rooflift/analysis",
    "profiling/rooflift/measure/doctor.py",  # its finding is named counters
    "profiling/rooflift/report/",
)


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
    kept = [path for path in found if path.name != "glossary.md"]
    return [path for path in sorted(kept) if not path.relative_to(ROOT).as_posix().startswith(NOT_YET)]


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_it_uses_no_word_that_was_given_up(path: Path) -> None:
    said = texts(path)
    found = {
        match[0]: f"use: {better}"
        for word, better in GIVEN_UP.items()
        for match in re.finditer(rf"\b({word})\b", said, re.IGNORECASE)
    }
    assert found == {}


def test_every_room_that_is_left_out_still_needs_it() -> None:
    words = re.compile(rf"\b({'|'.join(GIVEN_UP)})\b", re.IGNORECASE)
    for place in NOT_YET:
        paths = [ROOT / place] if (ROOT / place).is_file() else [p for p in (ROOT / place).rglob("*") if p.is_file()]
        assert any(words.search(texts(path)) for path in paths if path.suffix in (".py", ".md", ".j2")), place


def test_the_glossary_gives_each_term_one_sentence() -> None:
    lines = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| ")][2:]
    assert len({row[0] for row in rows}) == len(rows) > 30
    assert all(20 < len(meaning) < 160 for _, meaning, _ in rows)

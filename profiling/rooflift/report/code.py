"""Source code as HTML: highlighted lines, and the difference of two files. Everything is escaped.

A token that needs no colour has no element, so that a page with the files of many versions stays small.
"""

from __future__ import annotations

import difflib
import re
from functools import lru_cache
from html import escape
from itertools import islice
from typing import TYPE_CHECKING

from rooflift.escape import printable

if TYPE_CHECKING:
    from pygments.lexer import Lexer
    from pygments.token import _TokenType

LONGEST_TEXT = 200_000  # characters; a longer one has no colours, whatever a lexer would take for it
MOST_CHANGES = 400  # lines of a difference


@lru_cache(maxsize=64)
def lines_html(text: str, name: str) -> tuple[str, ...]:
    """Return the lines of a source file as HTML; its name says the language, Python or CUDA C++.

    Classes: k keyword, f name that is defined, s string, n number, c comment.

    >>> lines_html("x = 1  # one", "a.py")
    ('x = <b class="n">1</b>  <b class="c"># one</b>',)
    """
    text = printable(re.sub(r"\r\n?", "\n", text))
    if len(text) > LONGEST_TEXT:
        return tuple(escape(line, quote=False) for line in text.split("\n"))
    found = []
    for kind, value in _lexer(name.endswith(".py")).get_tokens(text):
        mark = _class(kind)
        parts = value.split("\n")
        marked = [
            f'<b class="{mark}">{escape(part, quote=False)}</b>' if mark and part.strip() else escape(part, quote=False)
            for part in parts
        ]
        found.append("\n".join(marked))
    return tuple("".join(found).split("\n")[: text.count("\n") + 1])


@lru_cache
def _lexer(python: bool) -> Lexer:
    from pygments.lexers.c_cpp import CppLexer
    from pygments.lexers.python import PythonLexer

    return (PythonLexer if python else CppLexer)(stripnl=False, ensurenl=False)


@lru_cache(maxsize=512)
def _class(kind: _TokenType) -> str:
    from pygments.token import Comment, Keyword, Literal, Name, Number, Operator

    marks = [
        (Comment, "c"),
        (Number, "n"),
        (Literal, "s"),
        (Keyword, "k"),
        (Operator.Word, "k"),
        (Name.Function, "f"),
        (Name.Class, "f"),
        (Name.Decorator, "f"),
    ]
    return next((mark for token, mark in marks if kind in token), "")


def diff_html(before: str, after: str) -> str:
    """Return what changed from one text to another as the rows of a `pre`: `ins`, `del`, and `i` for the places.

    At most MOST_CHANGES lines, and then how many there are in all; "" where nothing changed.
    """
    one, other = (printable(re.sub(r"\r\n?", "\n", text)).split("\n") for text in (before, after))
    rows = list(islice(difflib.unified_diff(one, other, lineterm=""), 2, None))
    shown = []
    for row in rows[:MOST_CHANGES]:
        tag = {"+": "ins", "-": "del", "@": "i"}.get(row[0])
        text = escape(row, quote=False) or " "
        shown.append(f"<{tag}>{text}</{tag}>" if tag else text)
    if len(rows) > MOST_CHANGES:
        shown.append(f"<i>… {len(rows) - MOST_CHANGES} more lines</i>")
    return "\n".join(shown)

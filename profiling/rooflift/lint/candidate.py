"""A candidate: the code that a writer of kernels hands in, plain or in one fenced block of Markdown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from rooflift.errors import RoofliftError
from rooflift.files import read_regular

MAX_BYTES = 1 << 20  # the longest kernel file seen in the field is a tenth of this
# Python obeys one in the first two lines, and code in a fenced block begins on any line
_COOKIE = re.compile(r"^[ \t\f]*#.*?coding[:=][ \t]*(?P<name>[-\w.]+)")
_FENCE = re.compile(r"^ {0,3}(?P<mark>`{3,}|~{3,})(?P<info>[^`\n]*)$")


class CandidateFault(RoofliftError):
    """A candidate cannot be read: no such file, not text, too long, or no code in it."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """The code of a candidate; `first_line` is the line of the file on which the code begins."""

    code: str
    first_line: int


def read_candidate(path: Path) -> Candidate:
    """Read a candidate from a file.

    Raises:
        CandidateFault: the path is no readable file of at most 1 MiB of UTF-8 text, or holds no or several blocks.
    """
    where = str(path)
    if path.is_dir():
        raise CandidateFault(f"{where} is a folder", "Name the file with the candidate.")
    if not path.exists():
        raise CandidateFault(f"{where}: no such file", "Name the file with the candidate.")
    if not path.is_file():
        raise CandidateFault(f"{where} is no regular file", "Save the candidate as a file.")
    if path.stat().st_size > MAX_BYTES:
        raise CandidateFault(
            f"{where} has {path.stat().st_size:,} bytes; a candidate has at most {MAX_BYTES:,}",
            "Hand in the kernel file alone.",
        )
    try:
        raw = read_regular(path, MAX_BYTES)
    except OSError as error:
        raise CandidateFault(f"{where} cannot be read: {error.strerror}", "Name a file that you may read.") from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise CandidateFault(f"{where}:{line}: not UTF-8 text", "Save the candidate as UTF-8 text.") from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise CandidateFault(f"{where}:{line}: a NUL character; this is no text", "Save the candidate as UTF-8 text.")
    return parse_candidate(text, where)


def parse_candidate(text: str, where: str = "candidate") -> Candidate:
    """Return the code of a candidate: the one fenced block, or all of a text without a fence.

    A fence inside code, as in a docstring, is code: a text that parses as Python is taken whole.

    Raises:
        CandidateFault: the text is empty, holds several blocks, or a block is not closed.
    """
    text = text.replace("\r\n", "\n")
    for number, line in enumerate(text.split("\n"), 1):
        if (cookie := _COOKIE.match(line)) and cookie["name"].lower().replace("_", "-") not in ("utf-8", "utf8"):
            what = f"{where}:{number}: a coding comment ({cookie['name']})"
            raise CandidateFault(what, "Save the candidate as UTF-8 and leave the comment out.")
    if not text.strip():
        raise CandidateFault(f"{where}:1: the candidate is empty", "Hand in the code, plain or in one ```python block.")
    blocks = list(_blocks(text.split("\n"), where))
    if not blocks or _is_python(text):
        return Candidate(text, 1)
    if len(blocks) > 1:
        lines = " and ".join(str(block.first_line - 1) for block in blocks)
        raise CandidateFault(f"{where}: {len(blocks)} code blocks, from lines {lines}", "Leave one: the whole file.")
    if not blocks[0].code.strip():
        raise CandidateFault(f"{where}:{blocks[0].first_line}: the code block is empty", "Put the whole file into it.")
    return blocks[0]


def _blocks(lines: list[str], where: str) -> list[Candidate]:
    found: list[Candidate] = []
    mark, opened = "", 0
    for number, line in enumerate(lines, start=1):
        fence = _FENCE.match(line)
        if fence is None:
            continue
        if not mark:
            mark, opened = fence["mark"], number
        elif fence["mark"].startswith(mark) and not fence["info"].strip():
            found.append(Candidate("\n".join(lines[opened : number - 1]) + "\n", opened + 1))
            mark = ""
    if mark and not _is_python("\n".join(lines)):
        raise CandidateFault(f"{where}:{opened}: the code block is not closed", f"End it with a line {mark}.")
    return found


def is_cut_off(text: str) -> bool:
    r"""Tell whether a text ends inside of a code block, as an answer does that came to a limit of its length.

    >>> is_cut_off("```python\nimport tor"), is_cut_off("```python\nimport torch\n```")
    (True, False)
    """
    try:
        _blocks(text.replace("\r\n", "\n").split("\n"), "")
    except CandidateFault:
        return True
    return False


def _is_python(text: str) -> bool:
    import ast

    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True

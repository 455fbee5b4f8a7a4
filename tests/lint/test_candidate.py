"""Reading a candidate: plain code, one fenced block, and what is neither."""

from __future__ import annotations

from pathlib import Path

import pytest

from rooflift.lint.candidate import MAX_BYTES, CandidateFault, parse_candidate, read_candidate


def test_plain_code_is_taken_whole() -> None:
    assert parse_candidate("x = 1\n").code == "x = 1\n"


@pytest.mark.parametrize("fence", ["```", "~~~", "````"])
def test_a_fenced_block_is_taken_with_its_line(fence: str) -> None:
    candidate = parse_candidate(f"Faster:\n\n{fence}python\nx = 1\n{fence}\nDone.\n")
    assert (candidate.code, candidate.first_line) == ("x = 1\n", 4)


def test_a_fence_in_a_docstring_is_code() -> None:
    text = '"""An example:\n\n```\nx\n```\n"""\n'
    assert parse_candidate(text).code == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        (" \n\n", "empty"),
        ("```python\n```\n", "the code block is empty"),
        ("```\na = 1\n```\nor\n```\nb = 2\n```\n", "2 code blocks, from lines 1 and 5"),
        ("So:\n```python\na = 1\n", ":2: the code block is not closed"),
    ],
)
def test_a_reply_without_one_block_says_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(CandidateFault, match=says) as fault:
        parse_candidate(text, "candidate.md")
    assert fault.value.remedy


def test_windows_line_ends_and_a_byte_order_mark_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "candidate.md"
    path.write_bytes("\ufeff```python\r\nx = 1\r\n```\r\n".encode())
    assert read_candidate(path).code == "x = 1\n"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\x7fELF\x02\xff\xfe", ":1: not UTF-8"),
        (b"x = 1\n\x00", ":2: a NUL"),
        (b"#" * (MAX_BYTES + 1), "at most 1,048,576"),
    ],
)
def test_a_file_that_is_no_reply_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "candidate"
    path.write_bytes(content)
    with pytest.raises(CandidateFault, match=says):
        read_candidate(path)

"""What commands print: on a terminal, on a narrow one, without colours, in CI."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import pytest

from rooflift.cli.console import Pace, progress_shown

COLOURS = re.compile(r"\x1b\[(?:[0-9;]*;)?(?:3[0-9]|4[0-9]|9[0-7]|10[0-7])[;m]")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def on_terminal(rooflift: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return a function that runs a command on a terminal of 80 characters and returns what it shows."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm-256color")

    def run(*words: str) -> str:
        shown = Terminal()
        with monkeypatch.context() as patched:
            patched.setattr("sys.stdout", shown)
            rooflift(*words)
        return shown.getvalue()

    return run


def test_a_narrow_terminal_names_the_columns_that_wide_would_add(on_terminal: Callable[..., str]) -> None:
    shown = on_terminal("show", "depthwise_conv2d")
    narrow = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert "With --wide also: " in narrow
    assert "Registers" in narrow.split("With --wide also: ")[1]
    assert max(map(len, narrow.splitlines())) <= 80
    wide = on_terminal("show", "depthwise_conv2d", "--wide")
    assert "With --wide also" not in wide
    assert wide.count("┏") > narrow.count("┏")  # it goes on in further parts
    assert "With --wide also: " in on_terminal("show", "depthwise_conv2d")  # a command asks for itself alone


def test_a_pipe_has_every_column(rooflift: Any) -> None:
    said = rooflift("show", "depthwise_conv2d")
    assert "--wide" not in said.out
    assert "Registers" in said.out


def test_no_color_is_obeyed(on_terminal: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    shown = on_terminal("show", "depthwise_conv2d")
    assert "\x1b[" in shown  # bold is no colour
    assert not COLOURS.search(shown)


def drawn(monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    shown = Terminal()
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("CI", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with monkeypatch.context() as patched:
        patched.setattr("sys.stderr", shown)
        with progress_shown() as progress:
            progress("checked 1 of 4, " + 100 * "long ")
            progress("checked 3 of 4, v1")
    return shown.getvalue()


def test_a_terminal_shows_what_is_being_done_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = drawn(monkeypatch)
    assert "checked 3 of 4" in shown
    assert COLOURS.search(shown)
    assert max(len(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line)) for line in re.split(r"[\r\n]", shown)) <= 80


def test_progress_obeys_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not COLOURS.search(drawn(monkeypatch, NO_COLOR="1"))


def test_ci_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    assert drawn(monkeypatch, CI="true") == ""


def test_the_time_that_is_left_follows_from_the_pace() -> None:
    pace = Pace()
    pace.hear("checked 2 of 10, v0", 100.0)
    assert (pace.done, pace.total, pace.left) == (2, 10, "")  # nothing is known of the pace
    pace.hear("checked 4 of 10, v1", 110.0)
    assert pace.left == "about 30 s left"  # 5 s each, 6 more
    pace.hear("timing main float32", 111.0)
    assert (pace.done, pace.left) == (4, "about 30 s left")
    pace.hear("12 of 1000 pages", 112.0)  # another count begins
    assert (pace.total, pace.left) == (1000, "")
    pace.hear("13 of 1000 pages", 113.0)
    assert pace.left == "about 16 min left"

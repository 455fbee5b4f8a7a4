"""What a report may not say of its author's machine: found, blotted out in reports, refused in texts."""

from __future__ import annotations

import contextlib
import getpass
import re
import socket
import sys
import tempfile
from pathlib import Path

from rooflift.errors import ReportFault

GENERIC = {"admin", "localhost", "main", "root", "runner", "test", "ubuntu", "user"}  # names that name nobody
GENERIC |= {"cuda", "nvidia", "python", "rooflift", "torch", "triton"}  # and words that every report holds
COMMON_FOLDERS = (tempfile.gettempdir(), "/usr", "/usr/local", "/opt")
SHORTEST_NAME = 4  # a shorter user or host name is found in too many words to be told apart


def secrets(root: Path) -> dict[str, str]:
    """Return what must not be published, by what it is: home folder, checkout, Python's folder, user and host name."""
    found = {
        "checkout": str(root.resolve()),
        "Python environment": sys.prefix,
        "host name": socket.gethostname(),
    }
    with contextlib.suppress(KeyError, OSError):  # a user id without a name
        found["user name"] = getpass.getuser()
    with contextlib.suppress(RuntimeError):  # a user id without a home
        found["home folder"] = str(Path.home())
    return {
        what: text
        for what, text in found.items()
        if len(text) >= SHORTEST_NAME and text.lower() not in GENERIC and text not in COMMON_FOLDERS
    }


def _pattern(text: str) -> re.Pattern[bytes]:
    """Match `text` where it is not a part of a longer word.

    In a report a text stands behind its length in one byte and before the tag of the next field, and either may look
    like a letter: a path may begin anywhere, and a text that its own length precedes may end anywhere.
    """
    word, found = rb"[A-Za-z0-9_]", re.escape(text.encode())
    begin = b"" if text.startswith("/") else rb"(?<!" + word + rb")"
    field = rb"(?<=" + re.escape(bytes([len(text.encode()) % 256])) + rb")" + found
    return re.compile(field + rb"|" + begin + found + rb"(?!" + word + rb")")


def blot(data: bytes, hidden: dict[str, str]) -> bytes:
    """Return a report's bytes with every secret overwritten by as many letters, which leaves all lengths valid."""
    for text in sorted(hidden.values(), key=len, reverse=True):
        slash = b"/" if text.startswith("/") else b""
        data = _pattern(text).sub(slash + b"x" * (len(text.encode()) - len(slash)), data)
    return data


def refuse(folder: Path, hidden: dict[str, str]) -> None:
    """Look through every file of a run folder.

    Raises:
        ReportFault: a file holds one of the secrets.
    """
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        data = path.read_bytes()
        for what, text in hidden.items():
            if _pattern(text).search(data):
                raise ReportFault(
                    f"{path.name}: it holds the {what} of this machine, and a run may be published",
                    "Run from a neutral folder and name no private path on the command line.",
                )

"""What a report may not say of its author's machine: found, redacted in reports, refused in texts."""

from __future__ import annotations

import contextlib
import getpass
import html
import json
import os
import pwd
import re
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from rooflift.errors import ReportFault

GENERIC = {"admin", "localhost", "main", "root", "runner", "test", "ubuntu", "user"}  # names that name nobody
GENERIC |= {"cuda", "nvidia", "python", "rooflift", "torch", "triton"}  # and words that every report holds
COMMON_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm", "/usr", "/usr/local", "/opt")  # noqa: S108  # looked for, not written
SHORTEST_NAME = 4  # a shorter user or host name is found in too many words to be told apart
SHORTEST_VALUE, SHORTEST_WORD = 8, 12  # of the environment; the second for letters alone, such as "disabled"
CONFIDENTIAL = re.compile(r"TOKEN|SECRET|PASSW|PASSPHRASE|CREDENTIAL|COOKIE|AUTH|EMAIL|KEY(_ID)?$", re.IGNORECASE)
_PASSWORD = re.compile(r"://[^/@\s:]*:([^/@\s]+)@")  # of a proxy or a package index
_HOME = re.compile(rb"(/home/|/Users/|:\\Users\\)([^/\\\x00-\x1f\x7f]{1,64})(?=[/\\])")
_MOUNTS = (
    rb"data|scratch|work|projects?|proj|users|storage|share[ds]?|ssd|hdd|nvme|nfs|mnt|gpfs|lustre|beegfs|weka|ceph"
)
_MOUNTS += rb"|raid|disks?|vol|volumes?|export|cluster|groups?|labs?|research|global|fast|pool|net|homes?|fs|afs|p|u"
_SHARED = re.compile(rb"(/(?:" + _MOUNTS + rb")\d*/)((?:[\w.@+~-]{1,64}/){1,3})")  # of a cluster: disk, person, project
_WORDS = {  # what is no end of a word, before and behind it
    "utf-8": (rb"[A-Za-z0-9_]", rb"[A-Za-z0-9_]"),
    "utf-16-le": (rb"[A-Za-z0-9_]\0", rb"[A-Za-z0-9_]\0"),
    "utf-16-be": (rb"\0[A-Za-z0-9_]", rb"\0[A-Za-z0-9_]"),
}


def secrets(root: Path) -> dict[str, str]:
    """Return what must not be published, by what it is.

    The checkout, Python's and the home folder, the temporary folder where it is one's own, user and host name, and the
    values of environment variables that are confidential by their name, or hold a password in an address.
    """
    host = socket.gethostname()
    found = {
        "checkout": str(root.resolve()),
        "Python environment": sys.prefix,
        "Python installation": sys.base_prefix,
        "host name": host,
        "host's short name": host.partition(".")[0],
        "sudo's user name": os.environ.get("SUDO_USER", ""),
    }
    with contextlib.suppress(KeyError, OSError):  # a user id without a name
        found["user name"] = getpass.getuser()
    with contextlib.suppress(KeyError):
        found["account"] = pwd.getpwuid(os.getuid()).pw_name
    with contextlib.suppress(RuntimeError):  # a user id without a home
        found |= {"home folder": str(Path.home()), "home folder behind its link": str(Path.home().resolve())}
    temporary = tempfile.gettempdir()
    found["temporary folder"] = temporary if temporary.count("/") > 1 else ""  # /scratch names nobody
    named = {
        what: text
        for what, text in found.items()
        if len(text) >= SHORTEST_NAME and text.lower() not in GENERIC and text not in COMMON_FOLDERS
    }
    known: dict[str, str] = {}
    for what, text in (*named.items(), *_of_environment()):
        if text not in known.values():
            known[what] = text
    return known


def _of_environment() -> Iterator[tuple[str, str]]:
    for name, value in os.environ.items():
        is_word = len(value) < (SHORTEST_WORD if value.isalpha() else SHORTEST_VALUE)
        if CONFIDENTIAL.search(name) and not is_word:
            yield f"value of {name}", value
        yield from ((f"password in {name}", word) for word in _PASSWORD.findall(value) if len(word) >= SHORTEST_NAME)


def _forms(text: str) -> Iterator[tuple[str, str]]:
    """Yield each text and encoding in which a secret may stand in a file: as it is, and as JSON, HTML and URLs have it.

    Parquet, PNG and zip files compress theirs; what stands there stands in a table or an SVG beside them, too.
    """
    for codec in _WORDS:
        yield text, codec
    raw = os.fsencode(text)
    for form in {json.dumps(text)[1:-1], html.escape(text), quote(raw), quote(raw, safe="")} - {text}:
        yield form, "utf-8"


def _encoded(text: str, codec: str) -> bytes:
    """Encode what the system said, which need be no valid text: a path is bytes."""
    return text.encode(codec, "surrogateescape" if codec == "utf-8" else "surrogatepass")


def _pattern(text: str, codec: str = "utf-8") -> re.Pattern[bytes]:
    """Match `text` where it is not a part of a longer word.

    In a report a text stands behind its length in one byte and before the tag of the next field, and either may look
    like a letter: a path may begin anywhere, and a text that its own length precedes may end anywhere.
    """
    encoded = _encoded(text, codec)
    found, (before, behind) = re.escape(encoded), _WORDS[codec]
    begin = b"" if text.startswith("/") else rb"(?<!" + before + rb")"
    field = rb"(?<=" + re.escape(bytes([len(encoded) % 256])) + rb")" + found
    return re.compile(field + rb"|" + begin + found + rb"(?!" + behind + rb")")


def redact_bytes(data: bytes, hidden: dict[str, str]) -> bytes:
    """Return a report's bytes with every secret overwritten by as many letters, which leaves all lengths valid.

    So are the names of home folders, whosever they are, and the first folders below the mounts of clusters
    (/data/ssd1/NAME, /scratch/NAME): a report may come from another machine.
    """
    for text in sorted(hidden.values(), key=len, reverse=True):
        for form, codec in _forms(text):
            encoded, slash = _encoded(form, codec), "/" if form.startswith("/") else ""
            if encoded not in data:  # far faster than the expression
                continue
            letters = (len(encoded) - len(slash.encode(codec))) // len("x".encode(codec))
            data = _pattern(form, codec).sub((slash + "x" * letters).encode(codec), data)
    data = _HOME.sub(lambda match: match[1] + b"x" * len(match[2]), data)
    return _SHARED.sub(lambda match: match[1] + re.sub(rb"[^/]", b"x", match[2]), data)


def redact_text(text: str, hidden: dict[str, str]) -> str:
    """Return a text with every secret overwritten, such as the paths in a traceback."""
    return redact_bytes(text.encode(errors="replace"), hidden).decode()


def _holds(data: bytes, text: str) -> bool:
    return any(_encoded(form, codec) in data and _pattern(form, codec).search(data) for form, codec in _forms(text))


def refuse(folder: Path, hidden: dict[str, str]) -> None:
    """Look through every file of a run folder.

    Raises:
        ReportFault: a file holds one of the secrets.
    """
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        data = path.read_bytes()
        for what, text in hidden.items():
            if _holds(data, text):
                raise ReportFault(
                    f"{path.name}: it holds the {what} of this machine, and a run may be published",
                    "Run from a neutral folder and name no private path on the command line.",
                )

"""Files that others wrote: only regular ones of bounded size are opened, so nothing waits for a pipe or never ends."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

MOST_BYTES = 64 * 2**20  # of a text: the largest run.json and metrics.csv recorded so far have less than 1 MiB


def read_regular(path: Path, most_bytes: int = MOST_BYTES, within: Path | None = None) -> bytes:
    """Return the bytes of a regular file; a link is followed, with `within` only to what lies in that folder.

    >>> read_regular(Path("/dev/null"))
    Traceback (most recent call last):
    OSError: [Errno 22] it is no regular file: '/dev/null'

    Raises:
        OSError: it is missing, no regular file (a folder, a pipe, a device), too large, or leads out of `within`.
    """
    if within is not None and not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(within)):
        raise OSError(errno.EXDEV, "it is a link to what lies elsewhere", str(path))
    if not stat.S_ISREG(path.stat().st_mode):  # the opening of a device may do something
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    # not a moment later either: it may have been replaced
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), "rb") as file:
        state = os.fstat(file.fileno())
        if not stat.S_ISREG(state.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        data = file.read(most_bytes + 1) if state.st_size <= most_bytes else b""
    if state.st_size > most_bytes or len(data) > most_bytes:
        size = max(state.st_size, len(data))
        raise OSError(errno.EFBIG, f"it has {size:,} bytes, of at most {most_bytes:,}", str(path))
    return data


def read_text(path: Path, most_bytes: int = MOST_BYTES) -> str:
    """Return the text of a regular file in UTF-8.

    Raises:
        OSError: as `read_regular`.
        UnicodeDecodeError: it is no UTF-8.
    """
    return read_regular(path, most_bytes).decode("utf-8")

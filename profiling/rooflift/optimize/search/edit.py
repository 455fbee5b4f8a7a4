"""One edit of a kernel file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import libcst as cst


@dataclass(frozen=True, slots=True)
class Edit:
    """A file that differs from another by one step; a `move` is its kind and direction."""

    kind: str
    move: str
    title: str
    make: Callable[[], cst.Module]  # the file is made when it is asked for: most edits never are

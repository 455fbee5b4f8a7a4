"""What RUN:VERSION on a command line names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rooflift.api.run import Run


def split(what: str) -> tuple[str, str | None]:
    """Return run and version of "RUN:VERSION", the version None for a run alone; a path may hold colons."""
    place, colon, version = what.rpartition(":")
    return (place, version) if colon and not Path(what).exists() else (what, None)


def run_and_version(what: str, root: Path | None) -> tuple[Run, str | None]:
    """Return the run that RUN or RUN:VERSION names, and the version."""
    from rooflift.api import find

    place, version = split(what)
    return find.open(place, root=root), version

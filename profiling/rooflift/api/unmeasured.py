"""The report of an operator that has no run yet: checked in the interpreter, compiled, and nothing measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rooflift.api.checks import Offline
from rooflift.api.first_look import FirstLook, first_look
from rooflift.api.operators import operator
from rooflift.api.project import Say, silent
from rooflift.api.shown import Part, short
from rooflift.project.settings import build_folder
from rooflift.report.unmeasured import write_unmeasured
from rooflift.runs import atomic


@dataclass(frozen=True)
class Unmeasured:
    """The report of an operator without a run, and its files, if they were asked for."""

    operator: str
    files: Sequence[Path]
    offline: Offline
    look: FirstLook

    def parts(self) -> list[Part]:
        """Return what a terminal shows, and where the files are."""
        wrote = f" Wrote {', '.join(map(short, self.files))}" if self.files else ""
        return [*self.offline.parts(), *self.look.parts(), f"Not measured yet.{wrote}"]

    def record(self) -> dict[str, Any]:
        """Return the checks, the compiled kernels and the files for a program."""
        return {**self.offline.record(), **self.look.record(), "written": [*map(short, self.files)]}

    def __repr__(self) -> str:
        return f"<Unmeasured: {self.operator}>"


def report_unmeasured(
    name: str,
    out: Path | str | None = None,
    *,
    write: bool = True,
    say: Say = silent,
    root: Path | str | None = None,
) -> Unmeasured:
    """Check and compile the newest version of an operator without a GPU, and write report.md and report.html.

    `out` is by default build/<operator>/unmeasured in the project; without `write` nothing is written.

    Raises:
        CatalogError: there is no such operator.
        KernelFault, WrongResult: the version does not compile or run, or differs from the reference.
        RunFault: nothing can be written there.
    """
    found = operator(name, root=root)
    folder = Path(out) if out is not None else build_folder(found.root) / found.label / "unmeasured"
    offline = found.offline(say=say)
    look = first_look(found.label, root=found.root)
    files = []
    if write:
        with atomic.refreshing(folder) as staged:
            files = write_unmeasured(found.label, look.lines, offline.parts(), staged)
    return Unmeasured(found.label, [folder / file.name for file in files], offline, look)

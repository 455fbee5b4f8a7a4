"""The report of an operator that has no run yet: checked in the interpreter, compiled, and nothing measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rooflift.api.checks import Offline
from rooflift.api.first_look import FirstLook, first_look
from rooflift.api.operators import operator
from rooflift.api.project import Say, silent
from rooflift.api.shown import Part, short
from rooflift.project.settings import build_folder
from rooflift.report.unmeasured import FILE, write_unmeasured
from rooflift.runs import atomic


@dataclass(frozen=True)
class Unmeasured:
    """A page about an operator without a run, and what it shows."""

    page: Path
    offline: Offline
    look: FirstLook

    def parts(self) -> list[Part]:
        """Return what a terminal shows, and where the page is."""
        return [*self.offline.parts(), *self.look.parts(), f"Not measured yet. Wrote {short(self.page)}"]

    def record(self) -> dict[str, Any]:
        """Return the checks, the compiled kernels and the page for a program."""
        return {**self.offline.record(), **self.look.record(), "written": [short(self.page)]}

    def __repr__(self) -> str:
        return f"<Unmeasured: {short(self.page)}>"


def report_unmeasured(
    name: str, out: Path | str | None = None, *, say: Say = silent, root: Path | str | None = None
) -> Unmeasured:
    """Check and compile the newest version of an operator without a GPU, and write report.html about it.

    `out` is by default build/<operator>/unmeasured in the project.

    Raises:
        CatalogError: there is no such operator.
        KernelFault, WrongResult: the version does not compile or run, or differs from the reference.
        RunFault: nothing can be written there.
    """
    found = operator(name, root=root)
    folder = Path(out) if out is not None else build_folder(found.root) / found.label / "unmeasured"
    offline = found.offline(say=say)
    look = first_look(found.label, root=found.root)
    with atomic.refreshing(folder) as staged:
        write_unmeasured(found.label, [*look.parts(), *offline.parts()], staged)
    return Unmeasured(folder / FILE, offline, look)

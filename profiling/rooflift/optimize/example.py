"""A worked example for a prompt: the step that gained most of another operator of the class, from a recorded run."""

from __future__ import annotations

import difflib
import math
from pathlib import Path
from typing import TYPE_CHECKING

from rooflift.analysis import selection
from rooflift.analysis.selection import Selection, select
from rooflift.errors import RoofliftError
from rooflift.optimize.classes import class_of
from rooflift.optimize.written import as_data
from rooflift.project.operator import Operator, load_operator, operator_names
from rooflift.runs.find import newest_on

if TYPE_CHECKING:
    from rooflift.project.gpus import GpuSpec
    from rooflift.runs.run import Run

MOST_LINES = 60  # of the difference that is shown


def example_text(root: Path, operator: Operator, spec: GpuSpec) -> str:
    """Return the best step of the class as Markdown, "" where no other operator of it was measured on the GPU."""
    own = class_of(operator.reference)
    best: tuple[float, Operator, Run, str, str] | None = None
    for name in operator_names(root):
        if name == operator.name:
            continue
        try:
            other = load_operator(root, name)
            if class_of(other.reference) != own:
                continue
            run = newest_on(root, other.label, spec.matches)
            found = _best_step(run)
        except (RoofliftError, SyntaxError, OSError):
            continue  # an operator that cannot be read teaches nothing
        if found and (best is None or found[0] < best[0]):
            best = (found[0], other, run, *found[1:])
    return "" if best is None else _told(own, *best)


def _best_step(run: Run) -> tuple[float, str, str] | None:
    """Return the step with the smallest time relative to the version before: the factor and both names."""
    about, every = select(run), selection.figures(run)
    names = selection.versions(run)
    times = [selection.of(every, Selection(name, about.case, about.dtype)).get("time_us", math.nan) for name in names]
    steps = [
        (float(times[i + 1]) / float(times[i]), names[i], names[i + 1])
        for i in range(len(names) - 1)
        if times[i] > 0 and times[i + 1] > 0
    ]
    return min(steps, default=None)


def _told(own: str, factor: float, operator: Operator, run: Run, before: str, after: str) -> str:
    record = next(one for one in run.manifest.versions if one.version == after)
    lines = ["", f"## Worked example: {operator.name}, also a {own} operator, {before} to {after}", ""]
    lines += [f"- Stage: {record.stage}", f"- Change: {record.change}"]
    lines += [f"- Result: {factor:.3f}x the time on {run.manifest.machine.gpu}", ""]
    files = {version.name: version.path for version in operator.versions}
    if before in files and after in files:
        old, new = (files[name].read_text(encoding="utf-8").splitlines() for name in (before, after))
        changed = list(difflib.unified_diff(old, new, before, after, n=1, lineterm=""))
        shown = "\n".join(changed[:MOST_LINES])
        left = f"\n({len(changed) - MOST_LINES} lines are left out)" if len(changed) > MOST_LINES else ""
        lines.append(as_data(shown + left))
    return "\n".join(lines) + "\n"

"""The first files of a project, and the next version of an operator: written, and what to do with them said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rooflift.api.shown import short
from rooflift.errors import CatalogError
from rooflift.files import read_text
from rooflift.project.operator import Operator, slug
from rooflift.project.settings import FILE, has_settings, read_settings
from rooflift.project.stages import stage as known_stage
from rooflift.project.stages import stages
from rooflift.runs import atomic

TABLE = """\
[tool.rooflift]
# kernels = "kernels"        # operators: rooflift new operator NAME --from FILE.py:FUNCTION
# reports = "reports"        # runs
# build = "build"            # what can be made again; keep it out of version control
# imports = [".", "src"]     # where the project's own modules lie that versions import

# [tool.rooflift.defaults]   # of options, in every command that has them
# metrics = "standard"
# gpu = "h100"

# [tool.rooflift.gate]       # rooflift gate RUN, for CI
# max-slowdown = "2%"
# max-spills = 0
"""


@dataclass(frozen=True)
class Written:
    """Files that were written, and what comes next."""

    files: Sequence[Path]
    next: Sequence[str]

    def parts(self) -> list[str]:
        """Return what a terminal shows."""
        return [*(f"Wrote {short(path)}" for path in self.files), *self.next]

    def record(self) -> dict[str, Any]:
        """Return the files and the next steps for a program."""
        return {"written": [short(path) for path in self.files], "next": list(self.next)}

    def __repr__(self) -> str:
        return f"<Written: {', '.join(path.name for path in self.files)}>"


def new_project(folder: Path | str | None = None) -> Written:
    """Make a folder a project: write [tool.rooflift] at the end of its pyproject.toml, or a file with nothing else.

    Raises:
        CatalogError: it is a project already, or its pyproject.toml is no TOML.
        RunFault: nothing can be written there.
    """
    path = Path(folder or Path.cwd()).resolve() / FILE
    text = read_text(path) if path.exists() else ""
    read_settings(path.parent)  # what is no TOML stays as it is
    if has_settings(path.parent):
        raise CatalogError(f"{path} has [tool.rooflift]", "It is a project: `rooflift show` lists what is in it.")
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_file(path, (f"{text.rstrip()}\n\n" * bool(text.strip()) + TABLE).encode())
    return Written([path], ["Next: rooflift new operator NAME --from FILE.py:FUNCTION, or rooflift new NAME"])


def write_version(operator: Operator, idea: str | None, stage: str | None, base: str | None) -> Written:
    """Copy a version of a ladder as its next, with a header to fill in; `rooflift.api.operators` says more.

    Raises:
        CatalogError: no stage is said, or a name is unknown.
    """
    known = ", ".join(stages())
    if stage is None and idea not in stages():
        remedy = f"Name a stage, `rooflift new version {operator.label} memory`, or --stage beside the idea: {known}."
        if idea:
            remedy = f"Name it with --stage: {known}."
        raise CatalogError(f"which stage is {idea or 'it'} of?", remedy)
    of = known_stage(stage or idea or "") and (stage or idea)
    start = operator.select_versions([base])[0] if base else operator.versions[-1]
    name = f"v{len(operator.versions)}_{slug(idea or of or '')}"
    path = start.path.with_name(f"{name}.py")
    header = (
        f'"""{(idea or of or "").capitalize()}: say in a line what this version is.\n\n'
        f"Stage:   {of}\n"
        f"Change:  say what differs from {start.name}.\n"
        f"Why:     say what the metrics of {start.name} show.\n"
        'Expect:  none\n"""\n'
    )
    atomic.write_file(path, (header + _without_docstring(start.path.read_text(encoding="utf-8"))).encode())
    return Written(
        [path],
        [
            "Fill in its header: title, Change, Why, and what you expect, such as `time_us < 500, dram_pct > 80`.",
            f"Next: rooflift verify {operator.label} -v {name.partition('_')[0]}",
        ],
    )


def _without_docstring(text: str) -> str:
    import ast

    node = ast.parse(text).body[0]
    return "\n".join(text.split("\n")[node.end_lineno :])

"""A candidate judged by its form, and by whether its kernels compile; none of them is launched."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from rooflift.api.project import Say, project_root, silent
from rooflift.api.project import gpu as spec_of
from rooflift.api.shown import html_table, texts
from rooflift.lint.findings import Finding
from rooflift.lint.lint import errors
from rooflift.project.operator import Operator, load_operator

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Lint:
    """What the linter finds in a candidate."""

    file: Path
    findings: tuple[Finding, ...]
    unchecked: tuple[str, ...]  # what could not be judged, each with its reason

    @property
    def accepted(self) -> bool:
        """No rule is broken; a warning rejects nothing."""
        return not errors(self.findings)

    def table(self) -> pd.DataFrame:
        """Return one row a finding: rule, line, column, what, remedy, level (error or warning)."""
        import pandas as pd

        names = ["rule", "line", "column", "what", "remedy", "level"]
        return pd.DataFrame([msgspec.structs.asdict(finding) for finding in self.findings], columns=names)

    def record(self) -> dict[str, Any]:
        """Return the findings for a program."""
        findings = [msgspec.structs.asdict(finding) for finding in self.findings]
        return {
            "file": str(self.file),
            "accepted": self.accepted,
            "findings": findings,
            "unchecked": list(self.unchecked),
        }

    def parts(self) -> list[str]:
        """Return what a terminal shows: each finding with its place and remedy, and the verdict."""
        found = [
            f"{self.file}:{one.line}:{one.column}: {one.level}: {one.rule}: {one.what}\n  {one.remedy}"
            for one in self.findings
        ]
        verdict = "accepted" if self.accepted else f"rejected, errors: {len(errors(self.findings))}"
        return [*found, f"{self.file}: {verdict}"]

    def __repr__(self) -> str:
        return f"<Lint {self.file.name}: {'accepted' if self.accepted else f'{len(errors(self.findings))} errors'}>"

    def _repr_html_(self) -> str:
        return html_table(texts(frame := self.table(), list(frame)), repr(self)[1:-1])


def lint(
    file: Path | str,
    operator: str,
    *,
    stage: str | None = None,
    base: Path | str | None = None,
    compiles: bool = True,
    gpu: str = "h100",
    say: Say = silent,
    root: Path | str | None = None,
) -> Lint:
    """Judge the form of a candidate, a kernel file or Markdown with one fenced block, and compile its kernels.

    `operator` names the reference it stands for; the rules of `stage` hold as well; `base` is the version that the
    candidate starts from. Where its form is right and it can be sandboxed, its calls on the test cases are recorded
    without values and their kernels compiled for `gpu`, none is launched; without `compiles` nothing of it runs.

    >>> import rooflift as rl
    >>> rl.lint("kernels/rms_norm/v0_baseline.py", "rms_norm", compiles=False).accepted
    True

    Raises:
        CandidateFault: the candidate or the base cannot be read.
        CatalogError: the operator, the stage or the GPU is unknown.
    """
    from rooflift.lint.lint import lint_file, unchecked

    known = load_operator(project_root(root), operator)
    start = Path(base) if base is not None else None
    found = lint_file(Path(file), known.reference, stage, start)
    gaps = unchecked(stage, start)
    if compiles and not errors(found):
        gap = _no_compiler(known)
        gaps += [gap] if gap else []
        found += [] if gap else _compiled(Path(file), known, spec_of(gpu).target, say)
    return Lint(Path(file), tuple(found), tuple(gaps))


def _no_compiler(operator: Operator) -> str:
    """Return why nothing is compiled, "" where it can be."""
    from rooflift.sandbox.sandbox import find_sandbox

    if not all(map(find_spec, ("torch", "triton"))):
        return "torch or triton is not installed here: no kernel was compiled"
    if not operator.select_cases([], "test"):
        return f"{operator.label} has no case with use = ['test']: no kernel was compiled"
    missing = find_sandbox().missing
    return f"candidates cannot be sandboxed here in {', '.join(missing)}: no kernel was compiled" if missing else ""


def _compiled(file: Path, operator: Operator, target: int, say: Say) -> list[Finding]:
    """Return what has no launch plan, and what Triton's compiler refuses, at the line that it names."""
    from rooflift.lint.candidate import read_candidate
    from rooflift.measure.evaluate import compile_candidate
    from rooflift.sandbox.sandbox import find_sandbox

    read, findings = read_candidate(file), []
    with tempfile.TemporaryDirectory(prefix="rooflift-") as name:
        candidate = Path(name, "candidate.py")
        candidate.write_text(read.code, encoding="utf-8")
        judged = compile_candidate(operator, candidate, find_sandbox(), say, target)
    for fault, reason in zip(judged.faults, judged.reasons(), strict=True):
        place = re.search(r"candidate\.py:(\d+): ", fault.what)
        line = int(place[1]) + read.first_line - 1 if place else read.first_line
        what, _, remedy = reason.removeprefix(f"{fault.criterion}: ").rpartition(". ")
        level: Literal["error", "warning"] = "warning" if fault.criterion == "interpreter" else "error"
        findings.append(Finding(fault.criterion, line, 1, what, remedy, level))
    return findings

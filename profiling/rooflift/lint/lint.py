"""The linter of a candidate: form and launches by syntax, in a child with bounded time and memory; nothing is run.

It says early and with a line what a run would say late, and holds the rules of form that no run can see. What it is
silent about may still be refused: honesty is decided by what ran (docs/trust.md).
"""

from __future__ import annotations

import ast
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from rooflift.lint.candidate import Candidate, CandidateFault, read_candidate
from rooflift.lint.findings import Finding, Findings
from rooflift.lint.launch_rules import judge_base, judge_launches
from rooflift.lint.launches import Launches, read_launches
from rooflift.lint.layout import judge_layout
from rooflift.lint.names import imports
from rooflift.lint.vocabulary import triton_names
from rooflift.process import ask, child_environment
from rooflift.project.stages import stage as stage_named

TIME_S = 20.0
MEMORY_BYTES = 2**30


class Asked(msgspec.Struct, frozen=True):
    """What the child is asked; `rules` are the stage's, `told` whether there is one."""

    candidate: Candidate
    reference: str
    rules: tuple[str, ...] = ()
    told: bool = False
    base: str | None = None


def lint_file(path: Path, reference: Path, stage: str | None = None, base: Path | None = None) -> list[Finding]:
    """Judge the candidate in a file against the rules, those of a stage, and its base; no error means accepted.

    Raises:
        CandidateFault: the candidate or the base cannot be read.
        CatalogError: there is no such stage.
    """
    rules = stage_named(stage).lint_rules if stage else ()
    before = read_candidate(base).code if base is not None else None
    asked = Asked(read_candidate(path), reference.read_text(encoding="utf-8"), tuple(rules), stage is not None, before)
    if base is not None and not _readable(asked.base or "").launches:
        remedy = "Name the version that the candidate starts from."
        raise CandidateFault(f"{base}: no launch is found in the base", remedy)
    return _in_a_child(asked)


def _readable(text: str) -> Launches:
    try:
        tree = ast.parse(text)
    except (SyntaxError, RecursionError, MemoryError, ValueError):
        return Launches({}, [])
    return read_launches(tree, imports(tree))


def launches_kernels(path: Path) -> bool:
    """Tell whether a kernel file launches a Triton kernel of its own, as far as its syntax shows."""
    return bool(_readable(read_candidate(path).code).launches)


def unchecked(stage: str | None, base: Path | None) -> list[str]:
    """Return what could not be judged, each with its reason."""
    gaps: list[str] = []
    if triton_names("triton.language") is None:
        gaps.append("triton is not installed here: attributes of triton.language were not checked")
    if stage and stage_named(stage).lint_rules and base is None:
        rules = ", ".join(stage_named(stage).lint_rules)
        gaps.append(f"the rules {rules} of the {stage} stage compare with the version before: name it with --base")
    return gaps


def _in_a_child(asked: Asked) -> list[Finding]:
    """Return what a child of its own finds; one that takes too much time or memory is a finding, too."""
    with tempfile.TemporaryFile() as file:
        file.write(msgspec.json.encode(asked))
        file.seek(0)
        try:
            done = ask([sys.executable, "-P", "-m", "rooflift.lint"], file, child_environment(), TIME_S)
        except subprocess.TimeoutExpired:
            done = None
    if done is not None and done.returncode == 0:
        return msgspec.json.decode(done.stdout, type=list[Finding])
    what = f"the linter needed more than {TIME_S:g} s or {MEMORY_BYTES / 2**30:g} GiB for it"
    return [Finding("syntax", asked.candidate.first_line, 1, what, "Write shorter expressions and functions.")]


def check_candidate(asked: Asked) -> list[Finding]:
    """Judge a candidate in this process; `_in_a_child` bounds it."""
    findings = Findings(asked.candidate.first_line)
    try:
        tree = ast.parse(asked.candidate.code.encode())
        aliases = imports(tree)
        judge_layout(tree, ast.parse(asked.reference), findings, aliases)
        launches = read_launches(tree, aliases)
        judge_launches(launches, findings, told=asked.told)
        if asked.base is not None:
            judge_base(launches, _readable(asked.base), asked.rules, findings)
    except SyntaxError as error:
        remedy = "Hand in a file that Python can parse."
        findings.at("syntax", error.lineno or 1, error.offset or 1, error.msg, remedy)
    except (RecursionError, MemoryError, ValueError):
        findings.at("syntax", 1, 1, "the code is nested too deeply or holds too large a number", "Write it plainly.")
    return findings.sorted()


def errors(found: Sequence[Finding]) -> list[Finding]:
    """Return the findings that reject a candidate."""
    return [finding for finding in found if finding.level == "error"]

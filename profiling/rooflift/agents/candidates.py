"""A candidate that came as text: linted, evaluated in the sandbox, and kept as the next version of its ladder."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from rooflift.errors import CatalogError, NoGpu
from rooflift.lint.candidate import CandidateFault, parse_candidate
from rooflift.lint.lint import lint_file
from rooflift.measure import environment, evaluate
from rooflift.project.header import parse_prediction
from rooflift.project.operator import Operator, Version, slug
from rooflift.project.stages import stage as known_stage
from rooflift.runs import atomic
from rooflift.sandbox.sandbox import Limits, require_sandbox

SEEDS = 3
INTERPRETER = "Triton's interpreter"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What lint and evaluation say of a candidate."""

    accepted: bool
    where: str  # the GPU, the interpreter; "" where it was not run
    findings: Sequence[dict[str, Any]]  # of the lint
    faults: Sequence[str]  # of the evaluation, in words
    compared: int
    untried: Sequence[str]

    def record(self) -> dict[str, Any]:
        """Return it for a program."""
        return asdict(self)


def lint_text(operator: Operator, text: str, stage: str | None, base: Version | None) -> list[dict[str, Any]]:
    """Return the lint's findings in a candidate, kernel file or Markdown with one fenced block.

    Raises:
        CatalogError: the stage is unknown.
    """
    with tempfile.TemporaryDirectory(prefix="rooflift-") as folder:
        file = Path(folder, "candidate.txt")
        file.write_text(text, encoding="utf-8")
        try:
            findings = lint_file(file, operator.reference, stage, base.path if base else None)
        except CandidateFault as fault:
            what = fault.message.replace(str(file), "candidate")
            return [{"rule": "candidate", "line": 0, "what": what, "remedy": fault.remedy}]
        found: list[dict[str, Any]] = msgspec.to_builtins(list(findings))
        return found


def verify_text(operator: Operator, text: str, stage: str | None, base: Version | None) -> Verdict:
    """Lint a candidate, and run it in a sandbox against the reference: on the GPU, or in Triton's interpreter.

    Raises:
        CatalogError: the stage is unknown, or the operator has no case to check.
        EnvironmentFault: candidates cannot be sandboxed here.
        KernelFault: the judge could not do its work.
    """
    findings = lint_text(operator, text, stage, base)
    if findings:
        return Verdict(False, "", findings, [], 0, [])
    sandbox = replace(require_sandbox(trust=False), limits=Limits())
    try:
        where = environment.driver().gpus[0]
    except NoGpu:
        where = INTERPRETER
    with tempfile.TemporaryDirectory(prefix="rooflift-") as folder:
        file = Path(folder, "candidate.py")
        file.write_text(parse_candidate(text).code, encoding="utf-8")
        seeds = random.SystemRandom().sample(range(2**31), SEEDS)
        found = evaluate.evaluate(operator, file, sandbox, seeds, lambda _: None, interpret=where == INTERPRETER)
    return Verdict(not found.faults, where, [], found.reasons(), found.compared, found.untried)


def keep_text(
    operator: Operator, text: str, idea: str, header: dict[str, str], base: Version | None
) -> tuple[Path | None, Verdict]:
    """Write a candidate as the next version of its ladder where lint and evaluation accept it.

    `header` has title, stage, change, why and expect. Nothing is written of one that is refused.

    Raises:
        CatalogError: the stage is unknown, a field is empty, or a prediction cannot be read.
        EnvironmentFault, KernelFault: as `verify_text`.
    """
    known_stage(header["stage"])
    lines = {name: " ".join(value.split()).replace("\\", "/").replace('"', "'") for name, value in header.items()}
    for name, value in lines.items():
        if not value:
            raise CatalogError(
                f"{name} is empty", "A kept version says title, stage, change, why and expect (or none)."
            )
    for prediction in lines["expect"].split(",") if lines["expect"] != "none" else ():
        try:
            parse_prediction(prediction)
        except ValueError as error:
            raise CatalogError(f"expect: {error}", "Write `time_us < 500, dram_pct 80..95`, or none.") from None
    verdict = verify_text(operator, text, lines["stage"], base)
    if not verdict.accepted:
        return None, verdict
    fields = "".join(f"{name.capitalize() + ':':<8} {lines[name]}\n" for name in ("stage", "change", "why", "expect"))
    path = operator.folder / operator.ladder / f"v{len(operator.versions)}_{slug(idea)}.py"
    body = _without_docstring(parse_candidate(text).code)
    atomic.write_file(path, f'"""{lines["title"]}\n\n{fields}"""\n{body}'.encode(), replace=False)
    return path, verdict


def _without_docstring(code: str) -> str:
    import ast

    tree = ast.parse(code)
    if ast.get_docstring(tree) is None:
        return f"\n{code}"
    return "\n".join(code.split("\n")[tree.body[0].end_lineno :])

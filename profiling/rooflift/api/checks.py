"""Versions checked against the reference: where there is a GPU on it, elsewhere interpreted and compiled."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rooflift.api.project import Say, project_root, silent
from rooflift.api.shown import Part, compiled_parts, html_table, records, texts
from rooflift.errors import CatalogError, NoGpu
from rooflift.measure.faults import GAP_REMEDY
from rooflift.measure.request import request_for
from rooflift.report.text import sanitizer_text
from rooflift.report.warnings import check_warnings
from rooflift.schema import CheckRecord, SanitizerRecord

if TYPE_CHECKING:
    import pandas as pd

INTERPRETER = "Triton's interpreter"


@dataclass(frozen=True)
class Verification:
    """Versions that agree with the reference, and what the sanitizer found if it was asked."""

    where: str  # the GPU, or the interpreter
    checks: Sequence[CheckRecord]
    sanitizer: Sequence[SanitizerRecord]

    @property
    def accepted(self) -> bool:
        """Whether the sanitizer found nothing, or was not asked."""
        return not any(record.errors for record in self.sanitizer)

    def table(self) -> pd.DataFrame:
        """Return one row a comparison: version, case, dtype, seed, max_abs_error, error_over_tolerance (at most 1)."""
        from rooflift.runs.run import to_frame

        return to_frame(list(self.checks), CheckRecord)

    def parts(self) -> list[str]:
        """Return what a terminal shows: a line a version, where it was checked, what the sanitizer found."""
        lines = []
        for name in dict.fromkeys(check.version for check in self.checks):
            own = [check for check in self.checks if check.version == name]
            worst = max(own, key=lambda check: check.error_over_tolerance)
            lines.append(
                f"{name}: {len(own)} comparisons agree, the largest error is {worst.error_over_tolerance:.2f} of the "
                f"tolerance ({worst.case} {worst.dtype})"
            )
        lines += check_warnings(self.checks)
        lines.append(f"Checked {'in' if self.where == INTERPRETER else 'on'} {self.where}.")
        return [*lines, *([sanitizer_text(self.sanitizer)] if self.sanitizer else [])]

    def record(self) -> dict[str, Any]:
        """Return every comparison and finding for a program."""
        import msgspec

        found = (msgspec.to_builtins(list(rows)) for rows in (self.checks, self.sanitizer))
        return {"where": self.where, **dict(zip(("checks", "sanitizer"), found, strict=True))}

    def __repr__(self) -> str:
        return f"<Verification: {len(self.checks)} comparisons in {self.where}>"

    def _repr_html_(self) -> str:
        return html_table(texts(frame := self.table(), list(frame)), repr(self)[1:-1])


def verify(
    operator: str,
    *,
    versions: Collection[str] = (),
    candidate: Path | str | None = None,
    cases: Collection[str] = (),
    dtypes: Collection[str] = (),
    interpret: bool | None = None,
    sanitize: bool = False,
    timeout_s: float = 1800,
    say: Say = silent,
    root: Path | str | None = None,
) -> Verification:
    """Compare versions with the reference in float64 on the test cases: on the GPU, or in Triton's interpreter.

    `candidate` is a kernel file that is no version yet, with ModelNew and no header, in Triton or CUDA C++ by
    load_inline; it is checked alone, or beside the `versions` that are named. It runs as your own code does.
    `interpret` None: in the interpreter where there is no GPU. With `sanitize` memcheck, racecheck and initcheck of
    compute-sanitizer look on, which needs a GPU. A version that is wrong is an error, what the sanitizer finds is not:
    `accepted` tells.

    >>> import rooflift as rl
    >>> checks = rl.verify("rms_norm", versions=["v0"], dtypes=["float32"], interpret=True)  # doctest: +SKIP
    >>> checks.table()["error_over_tolerance"].max() <= 1  # doctest: +SKIP
    True

    Raises:
        CatalogError: a name is unknown, or the operator has no test case.
        WrongResult: a version's output differs from the reference.
        KernelFault: a version does not run.
        InterpreterGap: the interpreter lacks what a version needs, which may be right.
        NoGpu, SanitizerFault: there is none, and `sanitize` asks for it.
    """
    from rooflift.measure import checking, environment, sanitizer

    request = request_for(
        project_root(root),
        operator,
        versions=versions,
        candidate=Path(candidate) if candidate is not None else None,
        cases=cases,
        dtypes=dtypes,
        use="test",
        timeout_s=timeout_s,
    )
    if not request.cases:
        raise CatalogError(f"{operator}: no case to check", "Give a small case use = ['test'] in cases.toml.")
    if sanitize:  # in the interpreter there is nothing for it to see
        environment.driver()
        sanitizer.find_sanitizer()
    where = INTERPRETER
    if not interpret:
        try:
            where = environment.driver().gpus[0]
        except NoGpu:
            if interpret is not None:
                raise
            interpret = True
    checks = checking.verify(request, request.cases, bool(interpret), say)
    findings = sanitizer.sanitize(request, request.cases, say) if sanitize else []
    return Verification(where, checks, findings)


@dataclass(frozen=True)
class Offline:
    """What came of versions where there is no GPU: checked in the interpreter, and compiled."""

    checks: Sequence[CheckRecord]
    compiled: pd.DataFrame  # a row a kernel launch and target, columns as `rl.compile`
    left_out: int  # versions of the operator that were neither checked nor compiled
    triton: str | None
    gaps: tuple[str, ...] = ()  # versions that the interpreter could not run, and what it lacks

    @property
    def text(self) -> str:
        """How many comparisons agree, and the largest error."""
        if not self.checks and self.gaps:
            return f"Not checked here: {INTERPRETER} cannot run it."
        if not self.checks:
            return "Not checked here: the operator has no small case (use = ['test'] in cases.toml)."
        worst = max(check.error_over_tolerance for check in self.checks)
        return (
            f"Checked here in {INTERPRETER}: {len(self.checks)} comparisons with the reference in float64 agree, the "
            f"largest error is {worst:.2f} of the tolerance."
        )

    def parts(self) -> list[Part]:
        """Return what a terminal shows: the compiled kernels, the checks, what was left out."""
        title = f"Compiled here for sm_89 (RTX 4090) and sm_90 (H100) by triton {self.triton}, not run"
        left = [f"--all-versions checks and compiles the other {self.left_out} versions, too."] if self.left_out else []
        gaps = [*self.gaps, GAP_REMEDY] if self.gaps else []
        nothing = ["No Triton kernel is launched: nothing was compiled."]
        return [*(compiled_parts(self.compiled, title) if len(self.compiled) else nothing), self.text, *gaps, *left]

    def record(self) -> dict[str, Any]:
        """Return the compiled kernels and the number of comparisons for a program."""
        return {
            "gpu_here": None,
            "compiled": records(self.compiled),
            "interpreter_checks": len(self.checks),
            "interpreter_gaps": list(self.gaps),
        }

    def __repr__(self) -> str:
        return f"<Offline: {len(self.checks)} comparisons, {len(self.compiled)} kernels>"

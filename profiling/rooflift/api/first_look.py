"""A version before its first run: compiled without a GPU, and what its case says of bytes and FLOP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rooflift.api.project import project_root
from rooflift.api.shown import Part
from rooflift.measure.request import request_for
from rooflift.project.cases import Case
from rooflift.project.gpus import GpuSpec, spec_for_target
from rooflift.project.operator import load_operator
from rooflift.report.advice import Advice
from rooflift.report.first_look import NOTHING, first_advice
from rooflift.schema import CompiledKernel

TARGET = 90  # what is compiled for where no GPU is named


@dataclass(frozen=True)
class FirstLook:
    """What is known of a version that was never measured."""

    operator: str
    version: str
    case: Case  # in one dtype
    spec: GpuSpec
    kernels: Sequence[CompiledKernel]

    @property
    def text(self) -> Advice:
        """The advice in words: no figure of it was measured."""
        return first_advice(self.kernels, self.case, self.spec, self.operator)

    @property
    def lines(self) -> dict[str, str]:
        """What the report opens with: the estimate, the compiler's resources, and what is still to be measured."""
        words = self.text
        return {
            "Distance": words.distance,
            "Compiled": words.evidence,
            "Verdict": words.verdict,
            "How": words.how,
            **({"Warning": "; ".join(words.warnings)} if words.warnings else {}),
        }

    def __repr__(self) -> str:
        return f"<FirstLook {self.operator} {self.version}: {NOTHING}>"

    def parts(self) -> list[Part]:
        """Return what a terminal shows: that nothing is measured, the estimate, the compiler's resources."""
        return [
            f"{self.operator} {self.version} {self.case.name} {self.case.dtype}: {NOTHING}",
            *(f"  {name + ':':<16}{text}" for name, text in self.lines.items()),
        ]

    def record(self) -> dict[str, Any]:
        """Return the words and the compiled kernels for a program; what only a measurement gives is null."""
        import msgspec

        return {
            "operator": self.operator,
            "version": self.version,
            "case": self.case.name,
            "dtype": self.case.dtype,
            "run": None,
            "time_us": None,
            "sol_pct": None,
            "advice": msgspec.to_builtins(self.text),
            "compiled": msgspec.to_builtins(list(self.kernels)),
        }


def first_look(
    operator: str,
    version: str | None = None,
    case: str | None = None,
    dtype: str | None = None,
    *,
    spec: GpuSpec | None = None,
    root: Path | str | None = None,
) -> FirstLook:
    """Compile a version, by default the newest, for a GPU on one case: by default what the ladder is about.

    Raises:
        CatalogError: a name is unknown.
        KernelFault: the version does not compile.
        EnvironmentFault: triton or cuobjdump is missing.
    """
    from rooflift.measure.compiled import compiled_or_none

    top = project_root(root)
    found = load_operator(top, operator)
    one = found.select_versions([version])[0] if version else found.versions[-1]
    spec = spec or spec_for_target(TARGET)
    (about,) = found.select_cases([case or found.main], "bench")
    about = about.with_dtype(dtype or (about.metrics or about.dtypes)[0])
    request = request_for(
        *(top, operator), versions=[one.name], cases=[about.name], dtypes=[about.dtype], use="bench", timeout_s=600
    )
    kernels = compiled_or_none(request, [spec.target], lambda _: None)
    return FirstLook(found.label, one.name, about, spec, kernels)

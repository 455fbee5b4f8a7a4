"""Versions compared and judged: two versions, two git revisions as they compile, a version against rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rooflift.analysis import compare, gate
from rooflift.api.shown import Part, Titled, html_table, titled
from rooflift.escape import Markdown, emphasised, escaped
from rooflift.report import columns
from rooflift.report.cells import markdown
from rooflift.report.compiled import compiled_lines, compiled_table
from rooflift.report.terminal import comparison_parts, unmarked
from rooflift.report.text import method_text, verdict_line
from rooflift.report.warnings import comparison_warnings
from rooflift.schema import CompiledKernel

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Comparison:
    """Two versions compared: case by case, and in one verdict on the main case."""

    found: compare.Comparison
    case: str
    dtype: str
    about: str = ""  # what base and head are, of two git revisions

    @property
    def comparable(self) -> bool:
        """Whether any case has a verdict."""
        return self.found.count("not comparable") < len(self.found.cases)

    @property
    def warnings(self) -> list[str]:
        """What makes a reader careful: other machines, uncommitted changes, noise."""
        return comparison_warnings(self.found)

    @property
    def notes(self) -> list[str]:
        """What is no result, but should be known: the warnings, and the notes of a run made for the comparison."""
        of_run = [text for text in self.found.head.manifest.notes if text != self.about] if self.about else []
        return [*of_run, *(f"Warning: {text}" for text in self.warnings)]

    def parts(self) -> list[Part]:
        """Return what a terminal shows: the cases, the metrics that moved, the verdict."""
        return [*filter(None, [self.about]), *comparison_parts(self.found, self.case, self.dtype)]

    def record(self) -> dict[str, Any]:
        """Return the comparison for a program; what is missing is None."""
        return compare.as_json(self.found)

    def table(self) -> pd.DataFrame:
        """Return one row a case and dtype: base_us, head_us, time_x (head over base), low, high, p, verdict, cause."""
        return self.found.cases

    @property
    def metrics(self) -> pd.DataFrame:
        """One row a case, dtype and metric that both sides have: base, head, change, moved."""
        return self.found.metrics

    @property
    def rule(self) -> compare.Rule:
        """When a difference counts: `alpha` and `min_effect`."""
        return self.found.rule

    @property
    def verdict(self) -> compare.Verdict:
        """The verdict on the main case: faster, slower, within noise or not comparable."""
        rows = self.found.cases
        own = rows[(rows["case"] == self.case) & (rows["dtype"] == self.dtype)]
        verdict: compare.Verdict = own["verdict"].iloc[0]
        return verdict

    @property
    def verdicts(self) -> dict[str, int]:
        """How many cases and dtypes have each verdict."""
        return {str(verdict): int(count) for verdict, count in self.found.cases["verdict"].value_counts().items()}

    @property
    def mean(self) -> compare.Mean | None:
        """The geometric mean of the ratios with its interval; None without a comparable case."""
        return self.found.mean

    @property
    def text(self) -> str:
        """The verdict in one line, and how it was reached in another."""
        first = unmarked(verdict_line(self.found, self.case, self.dtype))
        return f"{first}\n{method_text(self.found)}"

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {verdict}" for verdict, count in self.verdicts.items())
        return f"<Comparison {self.found.head.name} against {self.found.base.name}: {counts}>"

    def _repr_html_(self) -> str:
        return html_table(columns.table("comparison", self.table()), self.text)


@dataclass(frozen=True)
class CompiledPair:
    """Two git revisions of a version as the compiler sees them: base and head, nothing of them was run."""

    operator: str
    about: str  # what base and head are
    kernels: Sequence[CompiledKernel]

    @property
    def text(self) -> str:
        """What the compiler makes of head that base did not have, in one line."""
        return unmarked(compiled_lines(self.kernels))

    @property
    def markdown(self) -> str:
        """The same as `parts`, for a pull request."""
        head = [Markdown(f"# {escaped(self.operator)}, compiled"), emphasised(compiled_lines(self.kernels))]
        return "\n\n".join([*head, escaped(self.about), markdown(compiled_table(self.kernels))])

    def table(self) -> pd.DataFrame:
        """Return one row a kernel launch of base and of head, columns as `rl.compile`."""
        from rooflift.runs.run import to_frame

        return to_frame(list(self.kernels), CompiledKernel)

    def parts(self) -> list[Part]:
        """Return what a terminal shows: what the two are, base beside head, the line."""
        return [self.about, Titled("Compiled here, not run: base → head", compiled_table(self.kernels)), self.text]

    def record(self) -> dict[str, Any]:
        """Return every kernel of both for a program."""
        import msgspec

        return {"about": self.about, "kernels": msgspec.to_builtins(list(self.kernels))}

    def __repr__(self) -> str:
        return f"<CompiledPair {self.operator}: {self.text}>"

    def _repr_html_(self) -> str:
        return html_table(compiled_table(self.kernels), f"{self.about} {self.text}")


@dataclass(frozen=True)
class Gate:
    """A version held against thresholds: one finding a rule and case, or kernel."""

    name: str  # RUN:VERSION
    findings: Sequence[gate.Finding]

    @property
    def exit_code(self) -> int:
        """0 when every rule passed, 1 when one is broken, 2 when one could not be judged, or none is given."""
        return gate.exit_code(list(self.findings))

    @property
    def passed(self) -> bool:
        """Whether every rule was judged and passed."""
        return self.exit_code == 0

    def table(self) -> pd.DataFrame:
        """Return one row a finding: rule, where, value, status (passed, broken, not judged), reason."""
        import pandas as pd

        return pd.DataFrame([asdict(finding) for finding in self.findings])

    @property
    def text(self) -> str:
        """The verdict and how many findings have each status."""
        counts = self.table()["status"].value_counts()
        found = ", ".join(f"{counts[word]} {word}" for word in ("passed", "broken", "not judged") if word in counts)
        verdict = ("passes the gate", "fails the gate", "cannot be judged, which is no pass")[self.exit_code]
        return f"{self.name} {verdict}: {found}."

    def parts(self) -> list[Part]:
        """Return what a terminal shows: the findings and the verdict."""
        return [titled("gate", self.table(), f"Gate: {self.name}"), self.text]

    def record(self) -> dict[str, Any]:
        """Return the findings for a program."""
        findings = [asdict(finding) for finding in self.findings]
        return {"version": self.name, "exit_code": self.exit_code, "findings": findings}

    def __repr__(self) -> str:
        return f"<Gate {self.text}>"

    def _repr_html_(self) -> str:
        return html_table(columns.table("gate", self.table()), self.text)

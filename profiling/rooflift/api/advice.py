"""What to do next about a version: its bottleneck, the stage that addresses it, and when to stop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rooflift import queries
from rooflift.analysis import hotspots
from rooflift.analysis.advice import Diagnosis
from rooflift.analysis.selection import Selection
from rooflift.analysis.symptoms import Symptom
from rooflift.api.shown import Part, html_table, short, texts
from rooflift.ncu.report import RuleResult
from rooflift.report.advice import Advice as Words
from rooflift.report.advice import advice_text, ncu_rules, verdict_text
from rooflift.runs.run import Run

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Advice:
    """The bottleneck of one version, which stage addresses that, how much it can give at most, and when to stop."""

    run: Run
    about: Selection
    diagnosis: Diagnosis
    rules: Sequence[RuleResult]  # what ncu's own rules say

    @property
    def ncu_rules(self) -> tuple[str, ...]:
        """What ncu's own rules say, in words, or why there is nothing."""
        return tuple(ncu_rules(list(self.rules), self.run))

    @property
    def text(self) -> Words:
        """The diagnosis in words: distance, bottleneck, verdict, how, gain, stages, warnings."""
        return advice_text(self.diagnosis, list(self.ncu_rules))

    @property
    def lines(self) -> str:
        """The source lines behind the bottleneck; "" of a run without samples of instructions."""
        found = queries.hot_lines(self.run, self.about)
        return "" if found is None else hotspots.behind(found)

    @property
    def symptoms(self) -> list[Symptom]:
        """What metrics and lines together say in the field's words; none of a run without samples of instructions."""
        return queries.symptoms(self.run, self.about)

    @property
    def stage(self) -> str | None:
        """The stage to try next; None at the speed of light, or where no stage addresses the bottleneck."""
        return self.diagnosis.stage

    @property
    def bottleneck(self) -> str:
        """The resource that bounds the version."""
        return self.diagnosis.bottleneck

    def table(self) -> pd.DataFrame:
        """Return one row a resource: resource, metric, ncu_name, pct, missing (why there is no value)."""
        import pandas as pd

        return pd.DataFrame([asdict(share) for share in self.diagnosis.shares])

    def __repr__(self) -> str:
        return f"<Advice {self.about}: {self.bottleneck}; {verdict_text(self.diagnosis)}>"

    def _repr_html_(self) -> str:
        import pandas as pd

        lines = self._lines()
        return html_table(
            texts(pd.DataFrame({"": [*lines], "advice": [*lines.values()]}), ["", "advice"]), str(self.about)
        )

    def parts(self) -> list[Part]:
        """Return what a terminal shows: the diagnosis, the share of each resource, what ncu's own rules say."""
        parts = [f"{self.run.manifest.operator} {self.about}, on {self.run.manifest.machine.gpu}"]
        parts += [f"  {name + ':':<16}{text}" for name, text in self._lines().items()]
        for share in self.diagnosis.shares:
            value = f"{share.pct:5.1f} %" if share.pct is not None else f"missing: {share.missing}"
            parts.append(f"    {share.resource:<18}{value}  {share.ncu_name}")
        parts += [f"  Symptom: {symptom}" for symptom in self.symptoms]
        parts += [f"  Warning: {text}" for text in self.text.warnings]
        return [*parts, "  ncu's own rules:", *(f"    {text}" for text in self.ncu_rules)]

    def record(self) -> dict[str, Any]:
        """Return the diagnosis with its figures for a program."""
        return {
            "run": short(self.run.folder),
            "gpu": self.run.manifest.machine.gpu,
            **asdict(self.about),
            **asdict(self.diagnosis),
            "lines": self.lines,
            "symptoms": [asdict(symptom) for symptom in self.symptoms],
            "ncu_rules": [asdict(rule) for rule in self.rules],
            "ncu_rules_missing": "" if self.rules else self.ncu_rules[0],
        }

    def _lines(self) -> dict[str, str]:
        words = self.text
        return {
            "Distance": words.distance,
            "Excess traffic": words.excess_traffic,
            "Bottleneck": f"{words.bottleneck}: {words.evidence}",
            **({"Lines": self.lines} if self.lines else {}),
            "Verdict": words.verdict,
            "How": words.how,
            "Gain": words.gain,
            "Next bottleneck": words.next_bottleneck,
            **{f"Stage {name}": why for name, why in words.stages.items()},
        }

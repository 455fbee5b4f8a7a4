"""What a run shows of itself: roofline, progress, comparison, suite, advice. Each has its table, most have a figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from rooflift.analysis import compare
from rooflift.analysis.advice import Diagnosis
from rooflift.analysis.roofline import Roof
from rooflift.analysis.selection import Selection
from rooflift.api.shown import Picture, html_table, texts
from rooflift.report import columns
from rooflift.report.advice import advice_text, verdict_text
from rooflift.report.data import ReportData
from rooflift.report.text import method_text, suite_line, verdict_line

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Roofline(Picture):
    """The versions of one case and dtype under the roofs."""

    points: pd.DataFrame  # rows of the summary
    roofs: Sequence[Roof]
    title: str
    footnote: str

    def table(self) -> pd.DataFrame:
        """Return one row a roof: name, kind (bandwidth, compute), per_s (bytes/s, FLOP/s), source, measured."""
        import pandas as pd

        return pd.DataFrame([asdict(roof) for roof in self.roofs])

    def figure(self) -> Figure:
        """Draw FLOP/s over FLOP per byte, the roofs, and the versions as a trail."""
        from rooflift.report.figures.roofline import roofline_figure

        return roofline_figure(self.points, self.roofs, title=self.title, footnote=self.footnote)

    def __repr__(self) -> str:
        return f"<Roofline: {len(self.points)} versions, {len(self.roofs)} roofs>"


@dataclass(frozen=True)
class Progress(Picture):
    """How the versions of one case and dtype went: times, metrics, stalls, predictions."""

    rows: pd.DataFrame  # of the summary
    predictions: pd.DataFrame  # version, prediction, metric, value, verdict; of the main case
    title: str
    footnote: str

    def table(self) -> pd.DataFrame:
        """Return one row a version: version, time_us, time_x (over the one before), speedup, sol_pct, bottleneck."""
        return self.rows[["version", "time_us", "time_x", "speedup", "sol_pct", "bottleneck"]]

    def figure(self) -> Figure:
        """Draw a panel a metric, a bar a version."""
        from rooflift.report.figures.panels import metrics_figure

        return metrics_figure(self.rows, title=f"Metrics: {self.title}", footnote=self.footnote)

    def stalls(self) -> Figure:
        """Draw why warps wait: a bar a version, stacked by reason."""
        from rooflift.report.figures.panels import stalls_figure

        return stalls_figure(self.rows, title=f"Warp stalls: {self.title}", footnote=self.footnote)

    def __repr__(self) -> str:
        return f"<Progress: {len(self.rows)} versions>"


@dataclass(frozen=True)
class Comparison:
    """Two versions compared: case by case, and in one verdict on the main case."""

    found: compare.Comparison
    case: str
    dtype: str

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
        first = verdict_line(self.found, self.case, self.dtype).replace("**", "")
        return f"{first}\n{method_text(self.found)}"

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {verdict}" for verdict, count in self.verdicts.items())
        return f"<Comparison {self.found.head.name} against {self.found.base.name}: {counts}>"

    def _repr_html_(self) -> str:
        return html_table(columns.table("comparison", self.table()), self.text)


@dataclass(frozen=True)
class Suite(Picture):
    """Every case and dtype of a run: the last version beside the best baseline."""

    data: ReportData

    def table(self) -> pd.DataFrame:
        """Return one row a case and dtype: the last version, the best baseline, their times and shares, the lead."""
        return self.data.suite

    def providers(self) -> pd.DataFrame:
        """Return one row a provider, case and dtype: median_us, is_version, sol_us, sol_pct, sol_binds."""
        from rooflift.analysis.suite import shares

        return shares(self.data.manifest, self.data.timings, self.data.measured)

    @property
    def text(self) -> str:
        """Where the last version stands, in three sentences."""
        return suite_line(self.data).replace("**", "")

    def figure(self) -> Figure:
        """Draw a panel a dtype, a row a case: versions as dots, baselines as hollow marks."""
        from rooflift.report.figures.panels import suite_figure

        title = f"SOL %: {self.data.manifest.operator}"
        return suite_figure(self.providers(), title=title, footnote=self.data.provenance)

    def __repr__(self) -> str:
        return f"<Suite: {len(self.table())} cases and dtypes of {self.data.manifest.name}>"


@dataclass(frozen=True)
class Advice:
    """The bottleneck of one version, which stage addresses that, how much it can give at most, and when to stop."""

    about: Selection
    diagnosis: Diagnosis
    ncu_rules: tuple[str, ...]  # what ncu's own rules say, or why there is nothing

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

        words = advice_text(self.diagnosis, list(self.ncu_rules))
        lines = {
            "Distance": words.distance,
            "Excess traffic": words.excess_traffic,
            "Bottleneck": f"{words.bottleneck}: {words.evidence}",
            "Verdict": words.verdict,
            "How": words.how,
            "Gain": words.gain,
            "Next bottleneck": words.next_bottleneck,
            **{f"Stage {name}": why for name, why in words.stages.items()},
        }
        return html_table(
            texts(pd.DataFrame({"": [*lines], "advice": [*lines.values()]}), ["", "advice"]), str(self.about)
        )

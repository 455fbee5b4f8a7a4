"""Several ladders side by side: how far the versions of each came on the case that it is about. Measures nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from rooflift.analysis import selection
from rooflift.api.shown import Picture
from rooflift.report.figures.style import short_name

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from rooflift.api.run import Run

KEY = ["operator", "gpu"]
FIGURES = ["time_us", "sol_us", "sol_pct", "excess_traffic", "bottleneck", "evidence"]
COLUMNS = [*KEY, "case", "dtype", "version", *FIGURES, "baseline", "baseline_us", "lead", "run"]


@dataclass(frozen=True)
class Ladders(Picture):
    """The ladders of some runs, one an operator and GPU, each as its newest run has it."""

    runs: Sequence[Run]  # oldest first

    def versions(self) -> pd.DataFrame:
        """Return one row a version, in order.

        Columns: operator, gpu, case, dtype, version, time_us, sol_us, sol_pct, excess_traffic, bottleneck, evidence,
        baseline (the fastest), baseline_us, lead (baseline_us over time_us), run.
        """
        return self._versions[COLUMNS].copy()

    def table(self) -> pd.DataFrame:
        """Return one row a ladder: its fastest version, columns as `versions`; and first, first_sol_pct, of its first.

        Of versions that are the same machine code the first one stands for all.

        >>> import rooflift as rl
        >>> found = rl.runs("cumsum", gpu="H100", metrics=True).ladders().table().iloc[0]
        >>> found["version"], found["first"], found["first_sol_pct"] < found["sol_pct"]
        ('v4_tuned', 'v0_baseline', True)
        """
        found = self._versions
        own = found[~found["repeated"].astype(bool)]
        best = own.loc[own.groupby(KEY, sort=False)["time_us"].idxmin(), COLUMNS]
        first = found.drop_duplicates(KEY).set_index(KEY)[["version", "sol_pct"]]
        return best.join(first.set_axis(["first", "first_sol_pct"], axis=1), on=KEY).reset_index(drop=True)

    def figure(self) -> Figure:
        """Draw a heat map a GPU: a row a ladder, a column a version, one for the best baseline, each cell its SOL %."""
        from rooflift.report.figures.suite import suite_figure

        found = self.versions().assign(is_version=True)
        beside = found.drop_duplicates(KEY).dropna(subset=["baseline"])
        beside = beside.assign(is_version=False, sol_pct=100 * beside["sol_us"] / beside["baseline_us"])
        found["baseline"] = [short_name(name) for name in found["version"]]
        found = found.sort_values("baseline", key=lambda names: names.str[1:].astype(int), kind="stable")
        shares = _joined([beside, found]).assign(dtype=lambda rows: rows["gpu"], case=lambda rows: rows["operator"])
        shares = shares.rename(columns={"baseline": "provider"})
        footnote = "Each on the case that its ladder is about, in its newest run."
        return suite_figure(shares, title="SOL % of each ladder", footnote=footnote, most=None)

    @cached_property
    def _versions(self) -> pd.DataFrame:
        newest = {(run.operator, run.gpu): run for run in self.runs if run.manifest.origin is None}
        return _joined([_of_run(newest[key]) for key in sorted(newest)])

    def __repr__(self) -> str:
        return f"<Ladders: {len(self.table())} of {len(self.runs)} runs>"


def _of_run(run: Run) -> pd.DataFrame:
    """Return the versions of a run on its main case; `repeated` are those of the same machine code as one before."""
    about, progress = selection.select(run), run.progress()
    level = progress.baseline
    found = run.summary(about.case, about.dtype).dropna(subset=["time_us"])
    return found.assign(
        operator=run.operator,
        gpu=run.gpu,
        run=run.name,
        baseline=level.name if level else None,
        baseline_us=level.time_us if level else None,
        lead=level.time_us / found["time_us"] if level else None,
        repeated=~found["version"].isin(progress.rows["version"]),
    )[[*COLUMNS, "repeated"]]


def _joined(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    import pandas as pd

    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=[*COLUMNS, "repeated"])

"""Metrics over the time of a launch, by ncu's PM sampling; of a run, or of any report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rooflift.analysis import selection
from rooflift.analysis.timeline import longest, of_launch, ramp_and_tail, telling
from rooflift.api.shown import Picture, short
from rooflift.errors import CatalogError, ReportFault
from rooflift.ncu.timeline import REMEDY, read_timeline
from rooflift.runs.run import Run

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True, repr=False)
class Timeline(Picture):
    """One launch over its time; a notebook shows the figure."""

    name: str  # of what was profiled, in words
    samples: pd.DataFrame  # one row a sample: metric, unit, from_start, time_us, value, and what it is of

    def table(self) -> pd.DataFrame:
        """Return one row a metric that tells something: metric, unit, largest, mean, ramp, tail.

        `ramp` and `tail` are the shares of the time before it first and after it last reaches half of its largest
        value: a long tail is a last wave that leaves SMs idle.
        """
        import pandas as pd

        rows = []
        for name, one in telling(self.samples).items():
            ramp, tail = ramp_and_tail(one)
            figures = {"largest": one["value"].max(), "mean": one["value"].mean(), "ramp": ramp, "tail": tail}
            rows.append({"metric": name, "unit": one["unit"].iloc[0], **figures})
        return pd.DataFrame(rows, columns=["metric", "unit", "largest", "mean", "ramp", "tail"])

    def figure(self) -> Figure:
        """Draw a panel a metric over the time of the launch."""
        from rooflift.report.figures.timeline import timeline_figure

        return timeline_figure(self.samples, title=f"Over time: {self.name}", footnote="")

    def __repr__(self) -> str:
        return f"<Timeline {self.name}: {self.samples['metric'].nunique()} metrics>"


def of_run(run: Run, version: str | None = None, case: str | None = None, dtype: str | None = None) -> Timeline:
    """Return the longest launch of a run's version over its time.

    Raises:
        CatalogError: the run has no such version, case or dtype.
        ReportFault: nothing was sampled over time, with how to get it.
    """
    about = selection.select(run, version, case, dtype)
    own = of_launch(read_timeline(run.reports), about.version, about.case, about.dtype)
    if not own["value"].notna().any():
        raise ReportFault(f"{run.folder}: no metrics over the time of {about}", REMEDY)
    return Timeline(f"{run.manifest.operator} {about}, on {run.manifest.machine.gpu}", own)


def of_report(file: Path | str, wanted: str = "") -> Timeline:
    """Return a launch of any report over its time: the longest, or the longest of kernels with `wanted` in their names.

    Raises:
        ReportFault: it is no report, or holds no metrics over time, with what to pass to ncu.
        CatalogError: no kernel with metrics over time is called that.
    """
    path = Path(file)
    frame = read_timeline([path])
    own = longest(frame[frame["kernel"].str.contains(wanted, regex=False) & frame["value"].notna()])
    if own.empty:
        known = ", ".join(dict.fromkeys(frame["kernel"]))
        raise CatalogError(f"{path}: no kernel with metrics over time is called {wanted!r}", f"It has {known}.")
    return Timeline(f"{short(path)}: {own['kernel'].iloc[0]}", own)

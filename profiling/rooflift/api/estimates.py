"""Versions of a run estimated on another GPU. Measures nothing."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rooflift import queries
from rooflift.analysis import selection
from rooflift.analysis.estimate import Estimate, Held
from rooflift.analysis.selection import Selection
from rooflift.api.project import gpu as spec_of
from rooflift.api.run import Run
from rooflift.api.shown import html_table
from rooflift.errors import CatalogError
from rooflift.project.gpus import GpuSpec
from rooflift.project.settings import reports_folder
from rooflift.report import columns
from rooflift.report.estimate import error_table, estimate_rows
from rooflift.runs import atomic
from rooflift.runs.roofs import newest_roofs

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Estimates:
    """What versions would need on another GPU, and what that rests on."""

    run: Run
    target: GpuSpec
    found: tuple[tuple[Selection, Estimate], ...]

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What is assumed, in sentences."""
        return self.found[0][1].assumptions

    def table(self) -> pd.DataFrame:
        """Return one row a version: source_time_us, time_us (there), bottleneck (there), its shares there."""
        return estimate_rows(self.found)

    @property
    def contradictions(self) -> list[str]:
        """Where the run's report says something else of its GPU than the spec; the report is believed."""
        return queries.spec_of(self.run)[1]

    def against(self, truth: Run) -> pd.DataFrame:
        """Return the estimates beside what `truth`, a run on the target, measured: one row a version, with error_pct.

        Raises:
            CatalogError: `truth` was measured on another GPU.
            RunFault: the two runs share no version.
        """
        import pandas as pd

        return pd.DataFrame([asdict(row) for row in self._held(truth)])

    def error_table(self, truth: Run, out: Path | str | None = None) -> str:
        """Return what `against` returns as a page of Markdown, with the largest error and what is assumed.

        It is written to `out`, if that is given.

        Raises:
            CatalogError, RunFault: as `against`, or `out` cannot be written.
        """
        page = error_table(self._held(truth), self.run.manifest, truth.manifest, self.assumptions)
        if out is not None:
            atomic.write_file(Path(out), page)
        return page

    def _held(self, truth: Run) -> list[Held]:
        measured = queries.spec_of(truth)[0]
        if measured.name != self.target.name:
            what = f"{truth.name} was measured on {measured.name}, the estimates are for {self.target.name}"
            raise CatalogError(what, "Name another run, or another target.")
        return selection.held(self.found, truth)

    def __repr__(self) -> str:
        return f"<Estimates: {len(self.found)} versions, {self.run.gpu} to {self.target.name}>"

    def _repr_html_(self) -> str:
        return html_table(columns.table("estimate", self.table()), repr(self)[1:-1])


def estimate(
    run: Run,
    gpu: str,
    *,
    versions: Collection[str] = (),
    case: str | None = None,
    dtype: str | None = None,
) -> Estimates:
    """Return what a run's versions, all or those named, would need on another GPU ("rtx4090", "h200").

    It needs ncu's metrics of the case, by default the main one in its first dtype. rooflift.analysis.estimate has the
    method.

    >>> import rooflift as rl
    >>> run = rl.latest("depthwise_conv2d", gpu="H100", metrics=True)
    >>> list(rl.estimate(run, "h200").table().columns[:5])
    ['version', 'case', 'dtype', 'source_time_us', 'time_us']

    Raises:
        CatalogError: the GPU, a version, the case or the dtype is unknown.
        RunFault: no spec stands for the run's GPU, or metrics are missing that an estimate needs.
    """
    target = spec_of(gpu)
    reports = reports_folder(run.root) if run.root else run.folder.resolve().parent.parent
    there = newest_roofs(reports, target.matches[0])
    chosen = selection.select_all(run, list(versions) or None, case, dtype)
    return Estimates(run, target, tuple(queries.estimates(run, chosen, target, there)))

"""What a run folder holds: its tables and pictures, and how it shows itself. Reads files, measures nothing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rooflift.analysis import selection
from rooflift.api.shown import Part, html_table, records
from rooflift.api.views import Progress, Roofline, Suite, run_record
from rooflift.errors import RunFault
from rooflift.report import columns
from rooflift.report.data import ReportData, report_data
from rooflift.report.launches import import_parts
from rooflift.report.terminal import run_parts
from rooflift.runs import run as stored
from rooflift.runs.find import ladder_label
from rooflift.schema import Roofs

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True, repr=False)
class Contents(stored.Run):
    """A run folder. Beside what it says itself it has the tables `metrics`, `timings`, `samples` and `compiled`.

    `manifest` is run.json: machine, software, versions, cases, commit. `reports` are the .ncu-rep files.
    """

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def operator(self) -> str:
        """The operator that was measured, or its ladder: "depthwise_conv2d", "depthwise_conv2d/large_filter"."""
        return ladder_label(self.manifest)

    @property
    def gpu(self) -> str:
        """The GPU, as its driver calls it."""
        return self.manifest.machine.gpu

    @property
    def versions(self) -> list[str]:
        """The versions' names, in order."""
        return selection.versions(self)

    @property
    def provenance(self) -> str:
        """Where and with what the figures were measured, in one line."""
        return self._data.provenance

    @cached_property
    def roofs(self) -> Roofs | None:
        """The newest measured roofs of the run's GPU, None where there are none."""
        from rooflift.runs.roofs import roofs_of

        return roofs_of(self)

    def summary(self, case: str | None = None, dtype: str | None = None) -> pd.DataFrame:
        """Return one row a version, case and dtype, or those of one case or dtype.

        Columns: version, case, dtype, time_us, q20_us, q80_us, speedup (over the run's first version), time_x (over the
        version before), sol_us, sol_pct, sol_binds ("memory" or a unit), achieved_per_s (bytes/s or FLOP/s of what
        binds), memory_us, memory_by, compulsory_bytes, flop, dram_bytes, excess_traffic, intensity (FLOP a byte),
        flops_per_s, bottleneck, evidence, and every metric of the registry. NaN stands for what is missing; `metrics`
        says why. Of an imported run without a known case the metrics alone have values.

        >>> import rooflift as rl
        >>> run = rl.latest("depthwise_conv2d", gpu="H100", metrics=True)
        >>> list(run.summary("main")[["version", "time_us", "sol_pct"]].columns)
        ['version', 'time_us', 'sol_pct']

        Raises:
            CatalogError: the run has no such case or dtype; its own are named.
        """
        frame = self._summary
        if case is not None or dtype is not None:
            about = selection.select(self, None, case, dtype)
            frame = frame[frame["case"] == about.case] if case is not None else frame
            frame = frame[frame["dtype"] == about.dtype] if dtype is not None else frame
        return frame.reset_index(drop=True)

    @property
    def predictions(self) -> pd.DataFrame:
        """The predictions of the versions' headers: version, prediction, metric, value, verdict (hit, miss, ...)."""
        return self._data.judged

    def roofline(self, case: str | None = None, dtype: str | None = None) -> Roofline:
        """Return the versions of a case and dtype, by default the main one, under the roofs.

        >>> import rooflift as rl
        >>> rl.latest("depthwise_conv2d", gpu="H100", metrics=True).roofline().figure()  # doctest: +ELLIPSIS
        <Figure size ...>

        Raises:
            RunFault: the run was imported, and its cases are unknown.
            CatalogError: the run has no such case or dtype.
        """
        from rooflift.analysis.summary import roofs

        rows, title = self._of(case, dtype)
        return Roofline(rows, roofs(self.manifest, rows, self.roofs), f"Roofline: {title}", self.provenance)

    def progress(self, case: str | None = None, dtype: str | None = None) -> Progress:
        """Return how the versions of a case and dtype, by default the main one, went: times, bottlenecks, stalls.

        >>> import rooflift as rl
        >>> progress = rl.latest("depthwise_conv2d", gpu="H100", metrics=True).progress()
        >>> list(progress.table().columns)
        ['version', 'time_us', 'time_x', 'speedup', 'sol_pct', 'bottleneck']

        Raises:
            RunFault: the run was imported, and its cases are unknown.
            CatalogError: the run has no such case or dtype.
        """
        rows, title = self._of(case, dtype)
        about, main = selection.select(self, None, case, dtype), self._data.case
        resolved = next(c for c in self.manifest.cases if (c.case, c.dtype) == (about.case, about.dtype))
        shown = self._data.stepped if resolved == main else rows
        return Progress(shown, self.predictions, self._data.baseline(resolved), title, self.provenance)

    def suite(self) -> Suite:
        """Return every case and dtype: the last version beside the best baseline.

        >>> import rooflift as rl
        >>> suite = rl.latest("depthwise_conv2d", suite=True).suite()
        >>> list(suite.table().columns[:2])
        ['case', 'dtype']

        Raises:
            RunFault: the run timed one case alone.
        """
        if self._data.suite.empty:
            raise RunFault(f"{self.folder}: it timed one case", "Take a run of the suite: rl.latest(..., suite=True).")
        return Suite(self._data)

    @property
    def figures(self) -> dict[str, Figure]:
        """The figures that the run has values for, drawn anew: progress, roofline, bottleneck, stalls, suite."""
        from rooflift.report.pictures import figures

        return figures(self._data)

    def parts(self) -> list[Part]:
        """Return what a terminal shows: the table of the main case, bottlenecks, predictions, suite, provenance."""
        if self.manifest.origin is not None and self.manifest.cases:
            return [*run_parts(self._data, self.operator), *self.manifest.notes]
        if self.manifest.origin is not None:
            return import_parts(self.manifest, self.metrics)
        return run_parts(self._data, self.operator)

    def record(self) -> Any:
        """Return the run's tables for a program; of an imported run its metrics."""
        if self.manifest.origin is not None:
            return records(self.metrics)
        return run_record(self.folder, self._data)

    def __repr__(self) -> str:
        suite = ", suite" if self.manifest.suite else ""
        return f"<Run {self.name}: {self.operator} on {self.gpu}, {len(self.versions)} versions{suite}>"

    def _repr_html_(self) -> str:
        if not self.manifest.cases:
            known = self.metrics[self.metrics["missing"] == ""]
            return html_table(columns.table("metrics", known), repr(self)[1:-1])
        rows, title = self._of(None, None)
        return html_table(columns.table("summary", rows), f"{repr(self)[1:-1]}; {title}")

    @cached_property
    def _data(self) -> ReportData:
        self._require_cases("show")
        return report_data(self.manifest, self.metrics, self.timings, self.compiled, self.samples, measured=self.roofs)

    @cached_property
    def _rows(self) -> pd.DataFrame:
        return selection.figures(self)

    @cached_property
    def _summary(self) -> pd.DataFrame:
        return self._data.summary if self.manifest.cases else self._rows

    def _of(self, case: str | None, dtype: str | None) -> tuple[pd.DataFrame, str]:
        """Return the summary of one case and dtype, and what it is about in words."""
        self._require_cases("draw")
        about = selection.select(self, None, case, dtype)
        return self.summary(about.case, about.dtype), f"{self.operator}, case {about.case}, {about.dtype}"

    def _require_cases(self, verb: str) -> None:
        if not self.manifest.cases:
            what = f"{self.folder} was imported: it has no times to {verb}"
            remedy = "`rooflift show` and `advise` read it; in Python its metrics, summary() and advice()."
            raise RunFault(what, remedy)

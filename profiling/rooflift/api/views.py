"""Pictures of a run with their tables: roofline, progress, suite; and the files of its report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import msgspec

from rooflift.analysis.roofline import Roof
from rooflift.api.shown import Picture, html_table, records, short, texts
from rooflift.report.data import ReportData
from rooflift.report.figures.progress import Level
from rooflift.report.opening import opening
from rooflift.report.terminal import Part, report_parts, unmarked
from rooflift.report.text import suite_line

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
    """How the versions of one case and dtype went: times, bottlenecks, stalls, predictions."""

    rows: pd.DataFrame  # of the summary; versions of the same machine code share one on the main case
    predictions: pd.DataFrame  # version, prediction, metric, value, verdict; of the main case
    baseline: Level | None  # the fastest one
    title: str
    footnote: str

    def table(self) -> pd.DataFrame:
        """Return one row a version: version, time_us, time_x (over the one before), speedup, sol_pct, bottleneck."""
        return self.rows[["version", "time_us", "time_x", "speedup", "sol_pct", "bottleneck"]]

    def figure(self) -> Figure:
        """Draw a bar a version under SOL and the best baseline."""
        from rooflift.report.figures.progress import progress_figure

        title = f"Progress: {self.title}"
        return progress_figure(self.rows, baseline=self.baseline, title=title, footnote=self.footnote)

    def bottleneck(self) -> Figure:
        """Draw how busy each unit is, a row a version."""
        from rooflift.report.figures.multiples import bottleneck_figure

        return bottleneck_figure(self.rows, title=f"Bottleneck, % of peak: {self.title}", footnote=self.footnote)

    def stalls(self) -> Figure:
        """Draw what the warps wait for, a row a version."""
        from rooflift.report.figures.multiples import stalls_figure

        return stalls_figure(self.rows, title=f"Warp stalls: {self.title}", footnote=self.footnote)

    def __repr__(self) -> str:
        return f"<Progress: {len(self.rows)} versions>"


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
        return unmarked(suite_line(self.data))

    def figure(self) -> Figure:
        """Draw a heat map: a panel a dtype, a row a case, a column a version and one for the best baseline."""
        from rooflift.report.figures.suite import suite_figure

        title = f"SOL %: {self.data.manifest.operator}"
        return suite_figure(self.providers(), title=title, footnote=self.data.provenance)

    def __repr__(self) -> str:
        return f"<Suite: {len(self.table())} cases and dtypes of {self.data.manifest.name}>"


def run_record(folder: Path, data: ReportData) -> dict[str, Any]:
    """Return the tables of a run for a program."""
    return {
        "run": short(folder),
        "gpu": data.manifest.machine.gpu,
        "measured_on": data.provenance,
        "summary": records(data.summary),
        "predictions": records(data.judged),
        "timings": records(data.timings),
        "suite": records(data.suite),
        "left_out": msgspec.to_builtins(data.manifest.left_out),
    }


@dataclass(frozen=True)
class Overview:
    """What a report says unfolded, without files: five lines that decide, and one table."""

    data: ReportData
    folder: Path  # of the run

    def parts(self) -> list[Part]:
        """Return what a terminal shows: the lines, warnings, the table, how the predictions came out."""
        return report_parts(self.data)

    def record(self) -> dict[str, Any]:
        """Return the tables of the run, and the lines by their labels, for a program."""
        return run_record(self.folder, self.data) | {line.label: unmarked(line.text) for line in opening(self.data)}

    def __repr__(self) -> str:
        return f"<Overview: {unmarked(opening(self.data)[0].text)}>"

    def _repr_html_(self) -> str:
        from rooflift.report.tables import deciding_table

        caption = " ".join(f"{line.label}: {unmarked(line.text)}" for line in opening(self.data))
        return html_table(deciding_table(self.data), caption)


class Report(Sequence[Path]):
    """The files of a report that was written, and what it opens with."""

    def __init__(self, files: Sequence[Path], folder: Path, data: ReportData) -> None:
        self.files = tuple(files)
        self._folder = folder  # of the run
        self._data = data

    @overload
    def __getitem__(self, place: int) -> Path: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Path]: ...
    def __getitem__(self, place: int | slice) -> Path | Sequence[Path]:
        return self.files[place]

    def __len__(self) -> int:
        return len(self.files)

    @property
    def text(self) -> str:
        """The lines that a report opens with: verdict, change, where, why, what was checked."""
        return "\n".join(f"{line.label}: {unmarked(line.text)}" for line in opening(self._data))

    def parts(self) -> list[str]:
        """Return what a terminal shows: what the report opens with, and the files."""
        return [self.text, *(f"  {short(path)}" for path in self)]

    def record(self) -> dict[str, Any]:
        """Return the tables of the run, as its reports say, and the files for a program."""
        return run_record(self._folder, self._data) | {"written": [short(path) for path in self]}

    def __repr__(self) -> str:
        return f"<Report: {len(self)} files, {self.text.splitlines()[0]}>"

    def _repr_html_(self) -> str:
        import pandas as pd

        return html_table(texts(pd.DataFrame({"file": list(map(short, self))}), ["file"]), self.text)

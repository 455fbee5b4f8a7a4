"""The figures of a run: which there are, what they are called, and their files beside its report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rooflift.analysis.suite import shares
from rooflift.analysis.summary import roofs
from rooflift.analysis.timeline import of_launch
from rooflift.ncu.metrics import RESOURCES
from rooflift.report.data import ReportData
from rooflift.report.figures.multiples import bottleneck_figure, stalls_figure
from rooflift.report.figures.progress import progress_figure
from rooflift.report.figures.roofline import roofline_figure
from rooflift.report.figures.style import save
from rooflift.report.figures.suite import suite_figure
from rooflift.report.figures.timeline import timeline_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURES = {  # in the order of a report, each with the question that it answers
    "progress": "How far from the speed of light is each version",
    "roofline": "Which roof limits the versions",
    "bottleneck": "What each version keeps busy",
    "stalls": "What the warps of each version wait for",
    "timeline": "What the last version does over its time",
    "suite": "SOL % in every case and dtype",
}


def draw(data: ReportData, folder: Path, *, png: bool = False) -> list[Path]:
    """Write the figures that the run has values for, as SVG and with `png` also as PNG, and return their paths."""
    for name in PICTURES:  # of a run that was rendered into this folder before
        (folder / f"{name}.svg").unlink(missing_ok=True)
    return [path for name, figure in figures(data).items() for path in save(figure, folder / name, png=png)]


def figures(data: ReportData) -> dict[str, Figure]:
    """Return the figures that the run has values for, by the names of `PICTURES`."""
    about = f"{data.manifest.operator}, {data.case.case}, {data.case.dtype}"
    rows, footnote = data.stepped, data.provenance
    found = {
        "progress": progress_figure(
            rows, baseline=data.baseline(data.case), title=f"Progress: {about}", footnote=footnote
        ),
        "roofline": roofline_figure(
            rows, roofs(data.manifest, rows, data.measured), title=f"Roofline: {about}", footnote=footnote
        ),
    }
    if rows[[*RESOURCES]].notna().any(axis=None):
        found["bottleneck"] = bottleneck_figure(rows, title=f"Bottleneck, % of peak: {about}", footnote=footnote)
    if rows.filter(like="stall_").notna().any(axis=None):
        found["stalls"] = stalls_figure(rows, title=f"Warp stalls: {about}", footnote=footnote)
    if data.timeline is not None:
        last = str(rows["version"].iloc[-1])
        own = of_launch(data.timeline, last, data.case.case, data.case.dtype)
        if len(own):
            found["timeline"] = timeline_figure(own, title=f"Over time: {last}, {about}", footnote=footnote)
    if not data.suite.empty:
        of_all = shares(data.manifest, data.timings, data.measured)
        found["suite"] = suite_figure(of_all, title=f"SOL %: {data.manifest.operator}", footnote=footnote)
    return found

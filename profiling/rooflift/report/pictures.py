"""The figures of a run as files beside its report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rooflift.analysis.suite import shares
from rooflift.analysis.summary import roofs
from rooflift.report.data import ReportData
from rooflift.report.figures import panels
from rooflift.report.figures.roofline import roofline_figure
from rooflift.report.figures.style import save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURES = {
    "roofline.svg": "Roofline with the trail of the versions",
    "metrics.svg": "Metrics of each version",
    "stalls.svg": "Warp stalls of each version",
}
SUITE_PICTURE = "suite.svg"


def draw(data: ReportData, folder: Path, *, png: bool = False) -> list[Path]:
    """Write the figures that the run has values for, as SVG and with `png` also as PNG, and return their paths."""
    for name in (*PICTURES, SUITE_PICTURE):  # of a run that was rendered into this folder before
        (folder / name).unlink(missing_ok=True)
    return [path for name, figure in figures(data).items() for path in save(figure, folder / name, png=png)]


def figures(data: ReportData) -> dict[str, Figure]:
    """Return the figures that the run has values for: roofline, metrics, stalls, suite."""
    about = f"{data.manifest.operator}, case {data.case.case}, {data.case.dtype}"
    drawn = {
        "roofline": roofline_figure(
            data.main,
            roofs(data.manifest, data.main, data.measured),
            title=f"Roofline trail: {about}",
            footnote=data.provenance,
        )
    }
    shown = [panel for panel in panels.DEFAULT_PANELS if data.main[panel.column].notna().any()]
    if shown:
        absent = [panel.heading for panel in panels.DEFAULT_PANELS if panel not in shown]
        footnote = data.provenance + (f" Not collected: {', '.join(absent)}." if absent else "")
        drawn["metrics"] = panels.metrics_figure(data.main, title=f"Metrics: {about}", footnote=footnote, panels=shown)
    if data.main.filter(like="stall_").notna().any(axis=None):
        drawn["stalls"] = panels.stalls_figure(data.main, title=f"Warp stalls: {about}", footnote=data.provenance)
    if not data.suite.empty:
        drawn["suite"] = panels.suite_figure(
            shares(data.manifest, data.timings, data.measured),
            title=f"SOL %: {data.manifest.operator}",
            footnote=data.provenance,
        )
    return drawn

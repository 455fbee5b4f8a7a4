"""report.html: one file with figures inline and tables that sort, light and dark, which fetches nothing."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rooflift.escape import environment, plain
from rooflift.report import columns, tables
from rooflift.report.cells import Table
from rooflift.report.data import ReportData
from rooflift.report.opening import opening
from rooflift.report.pictures import PICTURES
from rooflift.report.text import comparison_title, mean_text, method_text, predictions_text
from rooflift.report.warnings import warnings

if TYPE_CHECKING:
    from markupsafe import Markup

_BOLD = re.compile(r"\*\*(.+?)\*\*")


def write_page(data: ReportData, folder: Path) -> Path:
    """Write report.html with the figures that lie in the folder, and return its path."""
    templates = environment("rooflift.report", html=True)
    templates.filters["strong"] = strong
    manifest = data.manifest
    path = folder / "report.html"
    path.write_text(
        templates.get_template("report.html.j2").render(
            manifest=manifest,
            opening=opening(data),
            warnings=warnings(manifest, data.summary, data.comparison),
            sections=_sections(data),
            details=_details(data),
            pictures=_pictures(folder),
            behind=int(data.comparison is not None),  # the figures stand behind the table of the versions
            provenance=data.provenance,
            commands=[shlex.join(words) for words in (manifest.command, manifest.ncu_command) if words],
        ),
        encoding="utf-8",
    )
    return path


def strong(text: str) -> Markup:
    """Return a line with its **bold** parts as elements; everything else is escaped."""
    from markupsafe import Markup, escape

    return Markup(_BOLD.sub(r"<strong>\1</strong>", str(escape(plain(text)))))  # noqa: S704  # escaped before


def _sections(data: ReportData) -> list[tuple[str, str, Table]]:
    """Return heading, text and table of what stands open."""
    case = f"{data.case.case} {data.case.dtype}"
    found = []
    comparison = data.comparison
    if comparison is not None:
        text = f"{method_text(comparison)} {mean_text(comparison)}"
        found.append((comparison_title(comparison), text, columns.table("comparison", comparison.cases)))
    about = f"SOL % = SOL time / time. SOL time: {data.sol.source}."
    found.append((f"Versions on {case}", about, tables.versions_table(data)))
    if not data.suite.empty:
        found.append(
            ("Suite", "SOL %, with the term that binds where it is not memory.", tables.suite_table(data.suite))
        )
    if not data.judged.empty:
        judged = columns.table("predictions", data.judged)
        found.append(("Predictions", predictions_text(data.judged), judged))
    return found


def _details(data: ReportData) -> list[tuple[str, Table]]:
    """Return heading and table of what is folded."""
    found = []
    if data.comparison is not None:
        changes = tables.metric_changes(data.comparison, data.case.case, data.case.dtype)
        if changes.rows:
            found.append(("Metrics, base and head", changes))
    found.append(("Times of every provider", tables.every_timing(data.manifest, data.timings)))
    if not data.compiled.empty:
        found.append(("Compiled kernels", columns.table("compiled", data.compiled)))
    if data.manifest.gpu_states:
        found.append(("GPU while timing", tables.gpu_table(data.manifest.gpu_states)))
    return [*found, ("Machine", tables.machine_table(data.manifest.machine))]


def _pictures(folder: Path) -> Sequence[tuple[str, Markup]]:
    from markupsafe import Markup

    found = []
    for name, text in PICTURES.items():
        path = folder / f"{name}.svg"
        if path.exists():
            svg = path.read_text(encoding="utf-8")
            # our own figures, whose texts matplotlib has escaped
            found.append((text, Markup(svg[svg.index("<svg") :])))  # noqa: S704
    return found

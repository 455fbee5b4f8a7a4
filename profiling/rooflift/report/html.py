"""report.html: one file with figures inline and tables that sort, light and dark, which fetches nothing."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from rooflift.escape import environment, plain
from rooflift.report import tables
from rooflift.report.report import PICTURES, SUITE_PICTURE, ReportData, comparison_title, first_lines
from rooflift.report.tables import Texts
from rooflift.report.verdicts import (
    COMPARISON_COLUMNS,
    METRIC_CHANGE_COLUMNS,
    gpu_table,
    main_metrics,
    mean_text,
    method_text,
    step_table,
    warnings,
)

if TYPE_CHECKING:
    from markupsafe import Markup

_NUMBER = re.compile(r"^[↑↓ ]*([-+]?[\d ]*\.?\d+(?:e[-+]?\d+)?)\s*(ms|µs|%|x|TB/s|TFLOP/s)?(?=$|[\s(])")
_BOLD = re.compile(r"\*\*(.+?)\*\*")


def write_page(story: ReportData, folder: Path) -> Path:
    """Write report.html with the figures that lie in the folder, and return its path."""
    templates = environment("rooflift.report", html=True)
    templates.filters["strong"] = strong
    templates.globals["sort_key"] = sort_key
    manifest = story.manifest
    path = folder / "report.html"
    path.write_text(
        templates.get_template("report.html.j2").render(
            manifest=manifest,
            first_lines=first_lines(story),
            warnings=warnings(manifest, story.summary, story.comparison),
            sections=_sections(story),
            details=_details(story),
            pictures=_pictures(folder),
            behind=int(story.comparison is not None),  # the figures stand behind the table of the versions
            provenance=story.provenance,
            commands=[shlex.join(words) for words in (manifest.command, manifest.ncu_command) if words],
        ),
        encoding="utf-8",
    )
    return path


def strong(text: str) -> Markup:
    """Return a line with its **bold** parts as elements; everything else is escaped."""
    from markupsafe import Markup, escape

    return Markup(_BOLD.sub(r"<strong>\1</strong>", str(escape(plain(text)))))  # noqa: S704  # escaped before


def sort_key(text: str) -> str:
    """Return the number at the beginning of a cell, times in microseconds, "" for a cell without one."""
    match = _NUMBER.match(text)
    if match is None:
        return ""
    value = float(match[1].replace(" ", ""))
    return repr(1e3 * value if match[2] == "ms" else value)


def _sections(story: ReportData) -> list[tuple[str, str, Texts]]:
    """Return heading, text and table of what stands open."""
    case = f"{story.case.case} {story.case.dtype}"
    found = []
    comparison = story.comparison
    if comparison is not None:
        text = f"{method_text(comparison)} {mean_text(comparison)}"
        found.append((comparison_title(comparison), text, tables.texts(comparison.cases, COMPARISON_COLUMNS)))
    steps = step_table(story.main, story.manifest, story.compiled, story.steps)
    found.append((f"Versions on {case}", "Roof % = floor / time, the floor a device copy of as many bytes.", steps))
    if not story.suite.empty:
        found.append(("Suite", "Percent of the copy floor.", tables.texts(*tables.suite_table(story.suite))))
    if not story.judged.empty:
        judged = tables.texts(story.judged, tables.PREDICTION_COLUMNS)
        found.append(("Predictions", tables.predictions_text(story.judged), judged))
    return found


def _details(story: ReportData) -> list[tuple[str, Texts]]:
    """Return heading and table of what is folded."""
    found = []
    if story.comparison is not None:
        counters = main_metrics(story.comparison, story.case.case, story.case.dtype)
        if not counters.empty:
            found.append(("Counters, base and head", tables.texts(counters, METRIC_CHANGE_COLUMNS)))
    columns = [tables.Column(name, itemgetter(name), right=False) for name in ("case", "dtype")]
    found.append(("Times of every provider", tables.texts(story.timings, [*columns, *tables.TIMING_COLUMNS])))
    if not story.compiled.empty:
        found.append(("Compiled kernels", tables.texts(story.compiled, tables.COMPILED_COLUMNS)))
    if story.manifest.gpu_states:
        found.append(("GPU while timing", tables.texts(*gpu_table(story.manifest.gpu_states))))
    machine = story.manifest.machine
    rows = [[name.replace("_", " "), str(getattr(machine, name))] for name in machine.__struct_fields__]
    return [*found, ("Machine", Texts(["", ""], [False, False], rows))]


def _pictures(folder: Path) -> Sequence[tuple[str, Markup]]:
    from markupsafe import Markup

    found = []
    for name, text in {**PICTURES, SUITE_PICTURE: "Share of the copy floor in every case and dtype"}.items():
        path = folder / name
        if path.exists():
            svg = path.read_text(encoding="utf-8")
            # our own figures, whose texts matplotlib has escaped
            found.append((text, Markup(svg[svg.index("<svg") :])))  # noqa: S704
    return found

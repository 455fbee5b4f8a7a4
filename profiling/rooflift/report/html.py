"""report.html: one file that fetches nothing: tables that sort, figures that lead to a section a version."""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
import xml.etree.ElementTree
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from rooflift.escape import environment, plain
from rooflift.report import columns, tables
from rooflift.report.cells import Table
from rooflift.report.data import ReportData
from rooflift.report.opening import opening
from rooflift.report.pictures import PICTURES
from rooflift.report.text import comparison_title, mean_text, method_text, predictions_text
from rooflift.report.versions import Code, anchor, sections
from rooflift.report.warnings import warnings

if TYPE_CHECKING:
    import jinja2
    from markupsafe import Markup

_BOLD = re.compile(r"\*\*(.+?)\*\*")
_CODE = re.compile(r"`([^`|<]+)`")  # across no element
_DRAWING = ("svg", "g", "path", "use", "defs", "style", "text", "tspan", "title", "clipPath", "rect", "metadata")
_ID = re.compile(r'(?<= id=")|(?<=url\(#)|(?<=xlink:href="#)')  # where an SVG names a part of itself


def write_page(data: ReportData, folder: Path, code: Code | None = None) -> Path:
    """Write report.html with the figures that lie in the folder, and return its path.

    `code` are the kernel files that were measured: each version's section shows them.
    """
    path = folder / "report.html"
    path.write_text(page_html(data, folder, code or Code({})), encoding="utf-8")
    return path


def page_html(data: ReportData, folder: Path, code: Code) -> str:
    """Return the page of a run with the figures that lie in a folder."""
    manifest = data.manifest
    return (
        templates()
        .get_template("report.html.j2")
        .render(
            manifest=manifest,
            opening=opening(data),
            warnings=warnings(manifest, data.summary, data.comparison),
            sections=_sections(data),
            versions=sections(data, code),
            anchors=_anchors(data),
            details=_details(data),
            pictures=_pictures(folder),
            provenance=data.provenance,
            commands=[shlex.join(words) for words in (manifest.command, manifest.ncu_command) if words],
        )
    )


def templates() -> jinja2.Environment:
    """Return the templates of pages: with the style, the script, and the policy that lets nothing else run or load."""
    from markupsafe import Markup

    found = environment("rooflift.report", html=True)
    folder = resources.files("rooflift.report") / "templates"
    style, script = ((folder / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    found.filters |= {"strong": strong, "html": Markup}
    found.globals |= {
        "style": Markup(style),  # noqa: S704  # files of this package
        "script": Markup(script),  # noqa: S704
        "policy": f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'",
    }
    return found


def strong(text: str) -> Markup:
    """Return a line with its **bold** parts and those in `backticks` as elements; everything else is escaped."""
    from markupsafe import Markup, escape

    bold = _BOLD.sub(r"<strong>\1</strong>", str(escape(plain(text))))
    return Markup(_CODE.sub(r"<code>\1</code>", bold))  # noqa: S704  # escaped before


def _anchors(data: ReportData) -> dict[str, str]:
    """Return the section of each version, and of each group by its first one, as tables name them."""
    places = {record.version: f"#{anchor(place)}" for place, record in enumerate(data.manifest.versions)}
    main = data.main
    grouped = zip(main["versions"], main["version"], strict=True)
    return {plain(name): place for name, place in places.items()} | {
        plain(text): places[version] for text, version in grouped if version in places
    }


def _sections(data: ReportData) -> list[tuple[str, str, Table]]:
    """Return heading, text and table of what stands open: the versions first, behind which the figures stand."""
    case = f"{data.case.case} {data.case.dtype}"
    about = f"SOL % = SOL time / time. SOL time: {data.sol.source}."
    found = [(f"Versions on {case}", about, columns.table("progress", data.stepped))]
    comparison = data.comparison
    if comparison is not None:
        text = f"{method_text(comparison)} {mean_text(comparison)}"
        found.append((comparison_title(comparison), text, columns.table("comparison", comparison.cases)))
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
    found = [(f"Every column of the versions on {data.case.case} {data.case.dtype}", tables.versions_table(data))]
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


def _pictures(folder: Path) -> list[tuple[str, str, Markup]]:
    """Return the figures that lie in the folder: name, what it answers, and the SVG."""
    found = []
    for name, text in PICTURES.items():
        path = folder / f"{name}.svg"
        svg = path.read_text(encoding="utf-8") if path.exists() else ""
        if is_drawing(svg):
            found.append((name, text, inline(svg, name)))
    return found


def is_drawing(svg: str) -> bool:
    """Tell whether a file is an SVG that only draws: no script, no handler, no link, nothing that is loaded.

    Figures of a run that came from elsewhere are untrusted.

    >>> is_drawing('<svg xmlns="http://www.w3.org/2000/svg"><path d="M0 0"/></svg>')
    True
    >>> is_drawing('<svg xmlns="http://www.w3.org/2000/svg"><path onload="alert(1)"/></svg>')
    False
    """
    try:
        parts = list(xml.etree.ElementTree.fromstring(svg).iter())  # noqa: S314  # expat stops where entities multiply
    except xml.etree.ElementTree.ParseError:
        return False
    names = {f"{{http://www.w3.org/2000/svg}}{name}" for name in _DRAWING}
    meta = {part for one in parts if one.tag == "{http://www.w3.org/2000/svg}metadata" for part in one.iter()}
    return all(part in meta or part.tag in names for part in parts) and not any(
        name.startswith("on")
        or (name.endswith("href") and not value.startswith("#"))
        or "url(" in value.replace("url(#", "")
        for part in parts
        for name, value in part.attrib.items()
    )


def inline(svg: str, name: str) -> Markup:
    """Return a figure of ours to stand in a page, whose names are apart from those of other figures there.

    >>> str(inline('<?xml version="1.0"?><svg><path id="m1"/><use xlink:href="#m1"/></svg>', "a"))
    '<svg><path id="a.m1"/><use xlink:href="#a.m1"/></svg>'
    """
    from markupsafe import Markup

    # matplotlib has escaped the texts, in which quotes are entities: no text looks like an attribute
    return Markup(_ID.sub(f"{name}.", svg[svg.index("<svg") :]))  # noqa: S704

"""report.html of an operator that was never measured: what the checks and the compiler say of it, and no time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rooflift.report.html import templates
from rooflift.report.terminal import Part

FILE = "report.html"


def write_unmeasured(label: str, parts: Sequence[Part], folder: Path) -> Path:
    """Write lines and tables under the operator's name into a folder, and return the page's path."""
    sections = [(part, None) if isinstance(part, str) else (part.title, part.table) for part in parts]
    page = templates().get_template("unmeasured.html.j2")
    path = folder / FILE
    path.write_text(page.render(label=label, sections=sections), encoding="utf-8")
    return path

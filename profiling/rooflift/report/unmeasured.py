"""The report of an operator that was never measured: what the checks and the compiler say of it, and no time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rooflift.escape import environment
from rooflift.report.cells import markdown
from rooflift.report.html import templates
from rooflift.report.terminal import Part


def write_unmeasured(label: str, lines: Mapping[str, str], parts: Sequence[Part], folder: Path) -> list[Path]:
    """Write labelled lines, tables and lines under the operator's name as report.md and report.html into a folder."""
    sections = [(part, None) if isinstance(part, str) else (part.title, part.table) for part in parts]
    in_markdown = [(text, table and markdown(table)) for text, table in sections]
    texts = {
        "report.md": environment("rooflift.report", markdown=True)
        .get_template("unmeasured.md.j2")
        .render(label=label, lines=lines, sections=in_markdown),
        "report.html": templates()
        .get_template("unmeasured.html.j2")
        .render(label=label, lines=lines, sections=sections),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in texts]

"""What a page shows of one version: its figures, header, predictions, hot lines, source and difference. Writes nothing.

The code of a run is bounded: where not all fits, SASS is left out first and whole files then, those of the fastest and
of the last versions at last, and the page says where to find them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rooflift.analysis.groups import groups
from rooflift.analysis.hotspots import TOP, behind
from rooflift.report import cells, columns, tables
from rooflift.report.cells import MISSING, Table
from rooflift.report.code import diff_html
from rooflift.report.data import ReportData
from rooflift.report.hotspots import heat_html, lines_table, source_html
from rooflift.report.kernels import changes, mix_table, stalls_table

if TYPE_CHECKING:
    import pandas as pd

CODE_BYTES = (
    1_900_000  # of all versions' source, SASS and differences on a page; figures and tables have the rest of 3 MB
)
_REST = "`rooflift compare --kernel` has all."


@dataclass(frozen=True, slots=True)
class Code:
    """The files that were measured, by base name, and the instructions of the run where it sampled them."""

    texts: Mapping[str, str]
    instructions: pd.DataFrame | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """A version on a page; `source` and `diff` are HTML, everything else is text."""

    anchor: str  # version-3: names of versions are untrusted
    row: int | None  # of the figures; None of a version that shares the row of one with the same machine code
    name: str
    title: str
    figures: Sequence[tuple[str, str]]  # heading and value
    header: Sequence[tuple[str, str]]  # stage, change, why
    predictions: Table | None
    hot: Table | None
    places: Mapping[str, str]  # what the first column of `hot` says, and the link to the line
    behind: str  # what the lines say of the bottleneck
    code: Sequence[tuple[str, Table]]  # tables of the machine code beside that of the version before
    sass: Sequence[tuple[str, Sequence[str]]]  # what changed in it, by source line
    before: str  # the version that it is compared with, "" for the first
    source: str
    diff: str
    notes: Sequence[str]  # what is left out, and where it is


def sections(data: ReportData, code: Code) -> list[Section]:
    """Return the versions of a run in order."""
    rows = {version: place for place, version in enumerate(data.stepped["version"])}
    shared = {version: group[0] for group in groups(data.manifest, data.case) for version in group}
    shown = tables.versions_table(data)
    names = [record.version for record in data.manifest.versions]
    diffs = _diffs(code, names)
    sources, notes = _sources(data, code, names, diffs)
    found = []
    for place, record in enumerate(data.manifest.versions):
        row = rows.get(shared[record.version])
        values = (
            [] if row is None else zip(shown.headings[1:], (cell.text for cell in shown.rows[row][1:]), strict=True)
        )
        judged = data.judged[data.judged["version"] == record.version]
        before = names[place - 1] if place else ""
        own, one = (_instructions(data, code, name) for name in (record.version, before))
        lines = data.lines.get(record.version)
        header = [("Stage", record.stage), ("Change", record.change), ("Why", record.why)]
        found.append(
            Section(
                anchor=anchor(place),
                row=row if shared[record.version] == record.version else None,
                name=record.version,
                title=record.title,
                figures=[(heading, text) for heading, text in values if text != MISSING],
                header=[(label, text) for label, text in header if text],
                predictions=None if judged.empty else cells.table(judged, columns.TABLES["predictions"][1:]),
                hot=_hot(data, record.version, before),
                places=_places(lines, code, anchor(place)) if record.version in sources else {},
                behind="" if lines is None else behind(lines),
                code=[] if own is None or one is None else _tables(one, own),
                sass=[] if own is None or one is None else changes(one, own, code.texts, _REST),
                before=before,
                source=sources.get(record.version, ""),
                diff=diffs[record.version] if record.version in sources else "",
                notes=notes.get(record.version, []),
            )
        )
    return found


def anchor(place: int) -> str:
    """Return the name under which a page has the version in this place."""
    return f"version-{place}"


def _hot(data: ReportData, version: str, before: str) -> Table | None:
    own = data.lines.get(version)
    return None if own is None else lines_table(own, data.lines.get(before))


def _places(lines: pd.DataFrame | None, code: Code, name: str) -> dict[str, str]:
    """Return the links to the hottest lines of the files that are shown; triton's own are not."""
    rows = [] if lines is None else lines.head(TOP).itertuples()
    return {f"{r.file}:{r.line}": f"#{name}-{r.file}-{r.line}" for r in rows if r.file in code.texts}


def _diffs(code: Code, names: Sequence[str]) -> dict[str, str]:
    """Return the difference of each version to the one before it, "" where a text is unknown."""
    texts = [code.texts.get(f"{name}.py") for name in names]
    pairs = zip(names, [None, *texts], texts, strict=False)
    return {name: diff_html(one, other) if one and other else "" for name, one, other in pairs}


def _instructions(data: ReportData, code: Code, version: str) -> pd.DataFrame | None:
    """Return the instructions of a version on the main case; None where none were sampled."""
    if code.instructions is None:
        return None
    every = code.instructions
    of_case = (every["case"] == data.case.case) & (every["dtype"] == data.case.dtype)
    own = every[of_case & (every["version"] == version)]
    return own if len(own) else None


def _tables(before: pd.DataFrame, own: pd.DataFrame) -> list[tuple[str, Table]]:
    mix, stalls = mix_table(before, own), stalls_table(before, own)
    return [("Instructions, in the binary and executed", mix), ("Samples by stall reason", stalls)]


def _sources(
    data: ReportData, code: Code, names: Sequence[str], diffs: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return the source of each version as far as it fits, and what is left out of whom."""
    short = {name: _source(data, code, name, place, sass=False) for place, name in enumerate(names)}
    found: dict[str, str] = {}
    notes: dict[str, list[str]] = {}
    left = CODE_BYTES
    ranked = _ranked(data, names)
    for name in ranked:
        size = len(short[name].encode()) + len(diffs[name].encode())
        if not short[name]:
            notes[name] = ["The file that was measured is not in this repository."]
        elif size > left:
            notes[name] = ["The source is left out for the page's size; run.json has its sha256."]
        else:
            found[name] = short[name]
            left -= size
    if code.instructions is not None:
        for name in ranked:
            whole = _source(data, code, name, names.index(name), sass=True) if name in found else ""
            more = len(whole.encode()) - len(short[name].encode())
            if more > left:
                run = data.manifest.name
                notes[name] = [
                    f"SASS is left out for the page's size: `rooflift hotspots {run} {name} --sass` prints it."
                ]
            elif more > 0:
                found[name] = whole
                left -= more
    return found, notes


def _ranked(data: ReportData, names: Sequence[str]) -> list[str]:
    """Return the versions by who keeps the code: the fastest, then from the last to the first."""
    timed = data.main.dropna(subset=["time_us"])
    best = [] if timed.empty else [str(timed.loc[timed["time_us"].idxmin(), "version"])]
    return list(dict.fromkeys([*best, *reversed(names)]))


def _source(data: ReportData, code: Code, version: str, place: int, *, sass: bool) -> str:
    """Return a version's file, where its instructions were sampled with their heat and the files that they are from."""
    own = _instructions(data, code, version)
    if own is not None and (heated := heat_html(own, code.texts, anchor(place), sass=sass)):
        return heated
    file = f"{version}.py"
    return source_html(code.texts[file], file, anchor(place)) if file in code.texts else ""

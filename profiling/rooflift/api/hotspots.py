"""The source lines that a version's time goes to, down to the instruction; of a run, or of any report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rooflift import queries
from rooflift.analysis import hotspots, selection
from rooflift.analysis.selection import Selection
from rooflift.api.shown import Part, Titled, html_table, records, short
from rooflift.errors import CatalogError, ReportFault
from rooflift.ncu.instructions import REMEDY, read_source
from rooflift.ncu.metrics import SAMPLES
from rooflift.ncu.names import short_name
from rooflift.report.cells import number
from rooflift.report.hotspots import heat_html, instructions_table, lines_table, place
from rooflift.runs.run import Run

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class Hotspots:
    """The instructions of one version, case and dtype, and the source lines that they stand for."""

    name: str  # of what was profiled, in words
    instructions: pd.DataFrame  # one row an instruction, columns as docs/metrics.md
    sources: Mapping[str, str]  # texts of the source files by base name
    before: pd.DataFrame | None = None  # the instructions of the version before
    sources_before: Mapping[str, str] | None = None

    def table(self) -> pd.DataFrame:
        """Return one row a source line, hottest first: file, line, function, share, samples, stalls, text and more.

        `share` is of all samples; `sectors_x` sectors over ideal; docs/metrics.md has every column.
        """
        return hotspots.lines(self.instructions, self.sources)

    def of_line(self, line: int, file: str = "", kernel: str = "") -> pd.DataFrame:
        """Return the instructions of one source line, in the order of their addresses, summed over launches."""
        frame = self.instructions
        rows = frame[(frame["line"] == line) & ((frame["file"] == file) if file else True)]
        return hotspots.by_address(rows[rows["kernel"] == kernel] if kernel else rows)

    def heat(self, anchor: str = "source") -> str:
        """Return the source files as HTML: heat column, an anchor a line, SASS to unfold; escaped, without a style."""
        return heat_html(self.instructions, self.sources, anchor)

    def parts(self, top: int = 10, opened: str = "") -> list[Part]:
        """Return what a terminal shows: the hottest lines; with `opened`, sass or ptx, the instructions of each."""
        found = self.table()
        before = hotspots.lines(self.before, self.sources_before or {}) if self.before is not None else None
        count = len(self.instructions.drop_duplicates(["kernel", "offset"]))
        title = f"{self.name}: {number(found[SAMPLES].sum())} samples of {number(count)} instructions"
        parts: list[Part] = [Titled(title, lines_table(found, before, top, kernels=True))]
        if not found["file"].any():
            parts.append(REMEDY)
        for row in found.head(top if opened else 0).to_dict("records"):
            table = instructions_table(self.of_line(row["line"], row["file"], row["kernel"]), opened)
            parts.append(Titled(f"{place(row)}, {short_name(row['kernel'])}", table))
        return parts

    def record(self, top: int = 10, opened: str = "") -> dict[str, Any]:
        """Return the same for a program."""
        rows = records(self.table().head(top))
        for row in rows if opened else ():
            own = self.of_line(row["line"], row["file"], row["kernel"])[
                ["offset", "opcode", opened, SAMPLES, "instructions"]
            ]
            row["opened"] = records(own)
        return {"of": self.name, SAMPLES: float(self.instructions[SAMPLES].sum()), "lines": rows}

    def __repr__(self) -> str:
        return f"<Hotspots {self.name}: {len(self.instructions)} instructions>"

    def _repr_html_(self) -> str:
        return html_table(lines_table(self.table(), kernels=True), self.name)


def of_run(run: Run, version: str | None = None, case: str | None = None, dtype: str | None = None) -> Hotspots:
    """Return the hot spots of a run's version, by default the last, beside those of the version before it."""
    about = selection.select(run, version, case, dtype)
    frame, texts = queries.instructions(run)
    rows = _of(frame, about)
    if not rows[SAMPLES].any():
        raise ReportFault(f"{run.folder}: no samples of {about}", REMEDY)
    names = selection.versions(run)
    place = names.index(about.version)
    before = _of(frame, Selection(names[place - 1], about.case, about.dtype)) if place else None
    name = f"{run.manifest.operator} {about}, on {run.manifest.machine.gpu}"
    return Hotspots(name, rows, texts, before if before is not None and len(before) else None, texts)


def of_report(file: Path | str, wanted: str = "") -> Hotspots:
    """Return the hot spots of a report that rooflift need not have made.

    `wanted` is a part of a kernel's or of a version's name; without it the last version of a report that names them,
    else all kernels together.

    Raises:
        ReportFault: it is no report, or lacks samples, with what to pass to ncu.
        CatalogError: no kernel and no version is called that.
    """
    path = Path(file)
    frame, texts = read_source([path])
    versions, kernels = frame["version"].astype(str), frame["kernel"].astype(str)
    if wanted:
        chosen = versions.str.contains(wanted, regex=False)
        chosen = chosen if chosen.any() else kernels.str.contains(wanted, regex=False)
    else:
        chosen = versions == versions.iloc[-1]
    found = frame[chosen].reset_index(drop=True)
    if found.empty:
        named = [*dict.fromkeys(filter(None, [*versions, *kernels]))]
        raise CatalogError(f"{path}: nothing is called {wanted!r}", f"It has {', '.join(named)}.")
    about = ", ".join(filter(None, dict.fromkeys([*versions[chosen], *kernels[chosen]])))
    return Hotspots(f"{short(path)}: {about}", hotspots.with_functions(found, texts), texts)


def _of(frame: pd.DataFrame, about: Selection) -> pd.DataFrame:
    key = (frame["version"] == about.version) & (frame["case"] == about.case) & (frame["dtype"] == about.dtype)
    return frame[key].reset_index(drop=True)

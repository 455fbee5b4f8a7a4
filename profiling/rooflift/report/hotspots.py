"""The table "Where the time goes" and its HTML: source lines by their samples. Opens no report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING

from rooflift.analysis.hotspots import TOP, by_address, changes
from rooflift.escape import plain, printable
from rooflift.ncu.metrics import SAMPLES
from rooflift.ncu.names import short_name
from rooflift.report import cells
from rooflift.report.cells import Cell, Column, Row, Table
from rooflift.report.code import lines_html

if TYPE_CHECKING:
    import pandas as pd

LONGEST_TEXT = 80  # characters of a source line in a table


def _share(row: Row) -> Cell:
    return Cell(f"{row['share']:.1%}".replace("%", " %"), row["share"])


def place(row: Row) -> str:
    """Return where a source line is: "v7_sectors.py:94"."""
    return f"{row['file']}:{row['line']}" if row["file"] else "no line information"


def _place(row: Row) -> Cell:
    return Cell(place(row))


def _text(row: Row) -> Cell:
    text = row["text"]
    return Cell((text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 3]}...") or cells.MISSING)


def _sectors(row: Row) -> str:
    return "" if math.isnan(row["sectors_x"]) else f"; sectors {row['sectors_x']:.2f}x ideal"


LINES = (
    Column("Line", _place, right=False),
    Column("Samples", _share),
    cells.words("stalls", "Main stalls"),
    Column("Warp instructions", lambda row: Cell(f"{row['instructions']:.3g}", row["instructions"])),
    cells.figure("sectors_x", "Sectors over ideal", 2, "x"),
    Column("Source", _text, right=False),
)
KERNEL = Column("Kernel", lambda row: Cell(short_name(row["kernel"], 32)), right=False)
CHANGE = cells.words("change", "Against the version before")


def lines_table(
    found: pd.DataFrame, before: pd.DataFrame | None = None, top: int = TOP, *, kernels: bool = False
) -> Table:
    """Return the hottest lines, a frame as `rooflift.analysis.hotspots.lines`, and what changed against another one.

    With `kernels` each line names its own, where there are several.
    """
    begin = (*LINES[:-1], KERNEL) if kernels and found["kernel"].nunique() > 1 else LINES[:-1]
    if before is None:
        return cells.table(found.head(top), (*begin, LINES[-1]))
    told = changes(before, found)
    shown = found.assign(change=[told.get(index, "") for index in found.index]).head(top)
    return cells.table(shown, (*begin, CHANGE, LINES[-1]))


def tables(found: Mapping[str, pd.DataFrame]) -> list[tuple[str, Table]]:
    """Return the hottest lines of each version, beside the version before it; frames in the order of the versions."""
    names = list(found)
    return [
        (name, lines_table(found[name], found[names[place - 1]] if place else None)) for place, name in enumerate(names)
    ]


def sentences(found: pd.DataFrame, top: int = TOP) -> list[str]:
    """Return the hottest lines in words, each of bounded length: for a prompt."""
    rows = found.head(top).to_dict("records")
    return [
        f"{_place(row).text} ({_share(row).text} of the samples; {row['stalls'] or 'no stall'}"
        f"{_sectors(row)}){f': {_text(row).text}' if row['text'] else ''}"
        for row in rows
    ]


def instructions_table(frame: pd.DataFrame, which: str) -> Table:
    """Return the instructions of some rows in the order of their addresses, of all launches; `which` is sass or ptx."""
    shown = (
        Column("Offset", lambda row: Cell(f"{row['offset']:#06x}", row["offset"])),
        cells.figure(SAMPLES, "Samples"),
        Column("Warp instructions", lambda row: Cell(f"{row['instructions']:.3g}", row["instructions"])),
        cells.words(which, which.upper()),
    )
    return cells.table(by_address(frame), shown)


def heat(frame: pd.DataFrame, file: str) -> dict[int, float]:
    """Return the share of all samples on each line of a file, for the lines that have instructions."""
    total = frame[SAMPLES].sum() or 1.0
    own = frame[frame["file"] == file]
    return {int(line): float(samples) / total for line, samples in own.groupby("line")[SAMPLES].sum().items()}


def heat_html(frame: pd.DataFrame, texts: Mapping[str, str], name: str, *, sass: bool = True) -> str:
    """Return the source files that a kernel's instructions stand for: heat column, an anchor a line, SASS to unfold.

    `name` begins the anchors: `#name-file-94`. Only lines with samples unfold, and with `sass` alone. The style is the
    page's: the classes are `source` and `heat`, and the width of the bar stands in `--share`. A file without any
    instruction is left out.
    """
    shown = []
    for file, text in sorted(texts.items()):
        own = frame[frame["file"] == file]
        if len(own):
            shown.append(source_html(text, file, name, heat(frame, file), _unfolded(own) if sass else {}))
    return "".join(shown)


def source_html(
    text: str, file: str, name: str, shares: Mapping[int, float] | None = None, sass: Mapping[int, str] | None = None
) -> str:
    """Return one file, highlighted, a row a line; where `shares` are given with a heat column, else without."""
    rows = []
    for number, code in enumerate(lines_html(text, file), start=1):
        anchor = escape(f"{name}-{file}-{number}", quote=True)
        unfolded = (sass or {}).get(number)
        shown = f"<code>{code or ' '}</code>"
        if unfolded:
            shown = (
                f"<details><summary>{shown}</summary><pre>{escape(printable(unfolded), quote=False)}</pre></details>"
            )
        rows.append(
            f'<tr id="{anchor}"><td><a href="#{anchor}">{number}</a></td>{_heat(shares, number)}<td>{shown}</td></tr>'
        )
    heading = "" if shares is None else '<th scope="col">Samples</th>'
    head = f'<thead><tr><th scope="col">Line</th>{heading}<th scope="col">Source</th></tr></thead>'
    body = "\n".join(rows)
    return f'<table class="source"><caption>{escape(plain(file))}</caption>\n{head}<tbody>\n{body}\n</tbody></table>\n'


def _heat(shares: Mapping[int, float] | None, line: int) -> str:
    if shares is None:
        return ""
    share = shares.get(line, 0.0)
    if share < 0.0005:  # a tenth of a point is the last digit shown
        return "<td></td>"
    return f'<td class="heat" style="--share:{share:.3f}">{share * 100:.1f} %</td>'


def _unfolded(own: pd.DataFrame) -> dict[int, str]:
    """Return, by line, the instructions of the lines of a file that have samples: offset, samples, SASS."""
    found = {}
    for line, rows in own.groupby("line")[["kernel", "offset", "sass", SAMPLES]]:
        if rows[SAMPLES].sum() > 0:
            found[int(line)] = "\n".join(
                f"{row.offset:#06x} {row.samples:8.0f}  {row.sass}" for row in by_address(rows).itertuples()
            )
    return found

"""The source lines that a kernel's time is spent on, by warp samples, and what changed against another version.

Frames and texts only: opens no report.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rooflift.ncu.metrics import INSTRUCTION_METRICS, SAMPLES, STALL_REASONS

if TYPE_CHECKING:
    import pandas as pd

TOP = 5  # lines of a version in a report
MOVED = (
    0.05  # share of a kernel's samples; v1_grid's hottest lines differed by 0.004 at most in two profiles on an H100
)
EXCESS = 0.05  # of all sectors or wavefronts of a kernel: a twentieth of its traffic to win at most
ISSUES = ("selected", "not_selected")  # reasons of a warp that waits for nothing
SUMMED = (*INSTRUCTION_METRICS, "spills")


def with_functions(frame: pd.DataFrame, texts: Mapping[str, str]) -> pd.DataFrame:
    """Return instructions with the column `function`: the innermost Python function around their line, "" if unknown.

    A helper that Triton has inlined keeps its own lines, so these are found in the helper.
    """
    spans = {name: _functions(text) for name, text in texts.items()}
    places = frame[["file", "line"]].drop_duplicates()
    known = {
        (row.file, row.line): next((name for name, low, high in spans.get(row.file, ()) if low <= row.line <= high), "")
        for row in places.itertuples()
    }
    keys = zip(frame["file"], frame["line"], strict=True)
    return frame.assign(function=[known[key] for key in keys]).astype({"function": "category"})


def _functions(text: str) -> list[tuple[str, int, int]]:
    """Return name, first and last line of each function of a Python file, the innermost first."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):  # CUDA C++, or no source at all
        return []
    found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    spans = [(node.name, node.lineno, node.end_lineno or node.lineno) for node in found]
    return sorted(spans, key=lambda span: span[2] - span[1])


def lines(frame: pd.DataFrame, texts: Mapping[str, str]) -> pd.DataFrame:
    """Return one row a source line, the one with most samples first.

    Columns: kernel, file, line, function, share (of the samples of all rows), samples, `stall_*`, stalls (the two main
    reasons for which warps waited, with their share of the line's samples), instructions, thread_instructions, sectors,
    sectors_x (over ideal, NaN without sectors), wavefronts, wavefronts_x, spills, text (of the line, "" if unknown).

    >>> from rooflift.ncu.instructions import frame
    >>> list(lines(frame([]), {}).columns[:3])
    ['kernel', 'file', 'line']
    """
    import numpy as np

    key = ["kernel", "file", "line", "function"]
    found = frame.groupby(key, observed=True, sort=False)[list(SUMMED)].sum().reset_index()
    found = found.astype(dict.fromkeys(["kernel", "file", "function"], object))
    total = found[SAMPLES].sum()
    found["share"] = found[SAMPLES] / total if total else 0.0
    for name in ("sectors", "wavefronts"):
        ideal = found[f"{name}_ideal"].astype(float)
        found[f"{name}_x"] = np.where(ideal > 0, found[name] / ideal.where(ideal > 0, 1.0), np.nan)
    found["stalls"] = [main_stalls(row) for row in found.to_dict("records")]
    split = {name: text.splitlines() for name, text in texts.items()}
    found["text"] = [
        text[row.line - 1].strip() if 0 < row.line <= len(text := split.get(row.file, [])) else ""
        for row in found.itertuples()
    ]
    return found.sort_values([SAMPLES, "line"], ascending=[False, True], kind="stable").reset_index(drop=True)


def by_address(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row an instruction of a kernel, in the order of the addresses: the sums over its launches."""
    key = ["kernel", "offset"]
    columns = [name for name in frame.columns if name not in key]
    how = {name: "sum" if name in SUMMED else "first" for name in columns}
    return frame.groupby(key, observed=True, sort=True).agg(how).reset_index()[list(frame.columns)]


def lines_by_version(frame: pd.DataFrame, texts: Mapping[str, str], case: str, dtype: str) -> dict[str, pd.DataFrame]:
    """Return the `lines` of each version that has samples on a case and dtype, in the order of the frame."""
    own = frame[(frame["case"] == case) & (frame["dtype"] == dtype)]
    versions = dict.fromkeys(own["version"].astype(str))
    found = {version: lines(own[own["version"] == version], texts) for version in versions}
    return {version: rows for version, rows in found.items() if rows[SAMPLES].any()}


def main_stalls(row: Mapping[str, float]) -> str:
    """Return the two main reasons for which the warps of a row waited: "long scoreboard 89 %, wait 4 %"."""
    waits = {reason: row[f"stall_{reason}"] for reason in STALL_REASONS if reason not in ISSUES}
    most = sorted(waits, key=lambda reason: -waits[reason])[:2]
    total = row[SAMPLES]
    return ", ".join(
        f"{reason.replace('_', ' ')} {waits[reason] / total * 100:.0f} %" for reason in most if waits[reason] > 0
    )


def changes(before: pd.DataFrame, after: pd.DataFrame) -> dict[int, str]:
    """Return what became of the rows of `after`, frames as `lines`: "hotter +12 points", "cooler", "new".

    Lines are the same where their text is: their numbers move with the lines above them. What moved by less than MOVED
    has no entry, and nothing has where a text is unknown.
    """
    earlier = before[before["text"] != ""].groupby("text")["share"].sum()
    told = {}
    for row in after.itertuples():
        share = after.loc[after["text"] == row.text, "share"].sum()
        if row.text not in earlier.index:
            if row.text and row.share >= MOVED:
                told[row.Index] = "new"
        elif abs(moved := share - earlier[row.text]) >= MOVED:
            told[row.Index] = f"{'hotter' if moved > 0 else 'cooler'} {moved * 100:+.0f} points"
    return told


def behind(found: pd.DataFrame) -> str:
    """Return what the lines of a kernel say of its bottleneck, a frame as `lines`.

    The main stall and the line that it is on; then the line that moves most sectors or wavefronts too many, where that
    is EXCESS of all of the kernel or more; and the line that spills most.
    """
    stalls = {r: found[f"stall_{r}"].sum() for r in STALL_REASONS if r not in ISSUES}
    told = [evidence(found, max(stalls, key=lambda reason: stalls[reason]))]
    for name, words in (("sectors", "sectors {:.2f}x ideal"), ("wavefronts", "bank conflicts, {:.2f}x the wavefronts")):
        excess = found[name] - found[f"{name}_ideal"]
        if excess.max() >= EXCESS * max(found[name].sum(), 1.0):
            row = found.loc[excess.idxmax()]
            told.append(f"{words.format(row[f'{name}_x'])} on line {row['line']}")
    if found["spills"].any():
        told.append(f"spills on line {found.loc[found['spills'].idxmax(), 'line']}")
    return "; ".join(filter(None, told))


def evidence(found: pd.DataFrame, stall: str) -> str:
    """Return where the warps that wait for a reason do so: "long scoreboard: 89 % of it on line 94, `...`"; "" if not.

    `found` is as `lines`; `stall` one of STALL_REASONS.
    """
    column = found[f"stall_{stall}"]
    total = column.sum()
    if not total:
        return ""
    row = found.loc[column.idxmax()]
    text = f", {row['text']}" if row["text"] else ""
    return f"{stall.replace('_', ' ')}: {column.max() / total * 100:.0f} % of it on line {row['line']}{text}"

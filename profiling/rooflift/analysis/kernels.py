"""Two versions compared down to the instruction: mixes, stalls, SASS aligned by source line. Reads no file."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rooflift.compile.sass import sass_mix
from rooflift.ncu.metrics import SAMPLES, STALL_REASONS

if TYPE_CHECKING:
    import pandas as pd

# Registers, predicates and addresses differ wherever one instruction was added above: they are no change of their own.
_ALLOCATED = re.compile(r"\b(U?R\d+|U?P\d+|B\d+)\b|(?<=\()\.L_x_\w+|\b0x[0-9a-f]{3,}\b")
Place = tuple[str, int]  # file and line; the base name of the file


@dataclass(frozen=True, slots=True)
class LineChange:
    """The SASS of one source line that changed; `text` is the line's, `removed` and `added` without allocation."""

    text: str
    base: Place | None  # None: the line is new
    head: Place | None  # None: the line is gone
    removed: tuple[str, ...]
    added: tuple[str, ...]


def mixes(base: pd.DataFrame, head: pd.DataFrame) -> pd.DataFrame:
    """Return one row a group of instructions: group, base, head (in the binary), base_executed, head_executed (warps).

    A kernel that was launched several times counts once in the binary.
    """
    import pandas as pd

    columns = {}
    for name, frame in (("base", base), ("head", head)):
        groups = {opcode: next(iter(sass_mix({opcode: 1}))) for opcode in frame["opcode"].astype(str).unique()}
        group = frame["opcode"].astype(str).map(groups)
        once = ~frame.duplicated(["kernel", "offset", "sass"])
        columns[name] = group[once].value_counts()
        columns[f"{name}_executed"] = frame["instructions"].groupby(group).sum()
    found = pd.DataFrame(columns).fillna(0.0).rename_axis("group").reset_index()
    return found.sort_values("head_executed", ascending=False, kind="stable").reset_index(drop=True)


def stalls(base: pd.DataFrame, head: pd.DataFrame) -> pd.DataFrame:
    """Return one row a stall reason that either has: reason, base_pct, head_pct of the samples."""
    import pandas as pd

    rows = []
    for reason in STALL_REASONS:
        shares = [100 * f[f"stall_{reason}"].sum() / max(f[SAMPLES].sum(), 1.0) for f in (base, head)]
        if any(shares):
            rows.append({"reason": reason.replace("_", " "), "base_pct": shares[0], "head_pct": shares[1]})
    found = pd.DataFrame(rows, columns=["reason", "base_pct", "head_pct"])
    return found.sort_values("head_pct", ascending=False, kind="stable").reset_index(drop=True)


def changed_lines(
    base: pd.DataFrame, head: pd.DataFrame, base_texts: Mapping[str, str], head_texts: Mapping[str, str]
) -> list[LineChange]:
    """Return the source lines whose SASS changed, the largest change first.

    Lines are aligned in order by their text, so that lines which only moved are the same; without a text by number.
    Instructions are counted: their order is the scheduler's.
    """
    ours, theirs = [*_lines(base, base_texts)], [*_lines(head, head_texts)]
    matcher = difflib.SequenceMatcher(
        a=[text for text, _, _ in ours], b=[text for text, _, _ in theirs], autojunk=False
    )
    found = []
    for what, low, high, low_head, high_head in matcher.get_opcodes():
        if what == "equal":
            pairs = zip(ours[low:high], theirs[low_head:high_head], strict=True)
            found += [_change(text, one, two, old, new) for (text, one, old), (_, two, new) in pairs]
        else:
            found += [_change(text, one, None, old, []) for text, one, old in ours[low:high]]
            found += [_change(text, None, two, [], new) for text, two, new in theirs[low_head:high_head]]
    found = [change for change in found if change.removed or change.added]
    return sorted(found, key=lambda change: -len(change.removed) - len(change.added))


def _lines(frame: pd.DataFrame, texts: Mapping[str, str]) -> Iterator[tuple[str, Place, list[str]]]:
    """Yield text, place and normal SASS of each source line, in the order of the lines."""
    split = {name: text.splitlines() for name, text in texts.items()}
    once = frame[~frame.duplicated(["kernel", "offset", "sass"])].sort_values("offset", kind="stable")
    for (file, line), rows in once.groupby(["file", "line"], observed=True):
        text = split[file][line - 1].strip() if 0 < line <= len(split.get(file, ())) else f"line {line}"
        yield text, (str(file), int(line)), [normal(sass) for sass in rows["sass"]]


def _change(text: str, base: Place | None, head: Place | None, old: list[str], new: list[str]) -> LineChange:
    removed, added = Counter(old) - Counter(new), Counter(new) - Counter(old)
    return LineChange(text, base, head, tuple(removed.elements()), tuple(added.elements()))


def normal(sass: str) -> str:
    """Return an instruction without what the allocator chose: "FFMA R2, R0, R2, RZ" is "FFMA R, R, R, RZ"."""
    return _ALLOCATED.sub(lambda match: re.sub(r"\d.*$", "", match[0]) if match[0][0] in "URPB" else "_", sass)

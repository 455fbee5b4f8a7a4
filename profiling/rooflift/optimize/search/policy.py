"""Which edit to try next: by what the profile says, what became of earlier ones, and a seed where that is even."""

from __future__ import annotations

import random
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import libcst as cst

from rooflift.optimize.question import TITLE, Tried
from rooflift.optimize.search import kept, knobs, one_tile
from rooflift.optimize.search.edit import Edit
from rooflift.optimize.search.source import statements

EXCESS = 1.05  # times the compulsory bytes, above which loading once comes first
PAIRS = 50  # draws of two edits together once each was tried alone
# How promising a kind of edit is before anything was tried; a kind that saves bytes counts where bytes are in excess.
PRIOR = {
    "shared tile": 10.0,
    "tile": 9.0,
    "kept loads": 9.5,
    "size": 5.0,
    "num_warps": 4.5,
    "order": 3.5,
    "eviction": 3.0,
    "persistence": 2.5,
    "num_stages": 2.0,
    "loop_unroll_factor": 2.0,
    "function": 1.5,
}
SAVES_BYTES = {"shared tile", "tile", "kept loads", "order"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a search starts from."""

    name: str  # of the version
    code: str
    figures: Mapping[str, object]  # of the version on its case: excess_traffic, sol_pct, bottleneck …
    sm_count: int
    seed: str


class NothingLeft(Exception):
    """Every edit of a version was tried."""


def edits(tree: cst.Module, sm_count: int) -> Iterator[Edit]:
    """Yield all edits of a file."""
    yield from one_tile.tiles(tree)
    yield from kept.kept_loads(tree)
    yield from knobs.sizes(tree)
    yield from knobs.launch_options(tree)
    yield from knobs.eviction(tree)
    yield from knobs.loop_options(tree)
    yield from knobs.persistence(tree, sm_count)
    yield from knobs.base_two(tree)


def propose(start: Start, tried: Sequence[Tried], stage: str, accepts: Callable[[str], bool]) -> str:
    """Return the next candidate's file: the most promising edit that was not tried and that `accepts` lets pass.

    Raises:
        NothingLeft: there is none.
    """
    tree = cst.parse_module(start.code)
    before = {one.title for one in tried if one.base == start.name}
    for edit in _ranked(start, tree, tried):
        if edit.title not in before:
            code = _file(edit, start, stage)
            if accepts(code):
                return code
    raise NothingLeft(f"every edit of {start.name} was tried")


def _ranked(start: Start, tree: cst.Module, tried: Sequence[Tried]) -> Iterator[Edit]:
    draw = random.Random(start.seed)  # noqa: S311
    own = sorted(edits(tree, start.sm_count), key=lambda edit: -_score(edit, start, tried) * draw.uniform(0.9, 1.1))
    yield from own
    for _ in range(PAIRS if own else 0):
        first = draw.choice(own)
        second = draw.choice(list(edits(first.make(), start.sm_count)) or [first])
        yield Edit(first.kind, f"{first.move} and {second.move}", f"{first.title}; {second.title}", second.make)


def _score(edit: Edit, start: Start, tried: Sequence[Tried]) -> float:
    score, excess = PRIOR[edit.kind], start.figures.get("excess_traffic")
    if edit.kind in SAVES_BYTES and isinstance(excess, float) and excess <= EXCESS:
        score /= 4
    for one in tried:
        if _move(one.title) == _move(edit.title):
            score *= 1.5 if one.kept else 0.7 if one.ran else 0.4
    return score


def _move(title: str) -> str:
    """Return a title without its numbers: what a later version calls the same step."""
    return "".join(letter for letter in title if not letter.isdigit())


def _file(edit: Edit, start: Start, stage: str) -> str:
    figures, about = start.figures, []
    sol, bottleneck, excess = (figures.get(name) for name in ("sol_pct", "bottleneck", "excess_traffic"))
    if isinstance(sol, float) and sol == sol:
        about.append(f"is at {sol:.1f} % of SOL")
    if isinstance(bottleneck, str):
        about.append(f"has the bottleneck {bottleneck}")
    if isinstance(excess, float) and excess == excess:
        about.append(f"moves {excess:.2f} times the compulsory bytes")
    why = f"{start.name} {', '.join(about) or 'was not measured'}; of the edits left this one promises most."
    fields = {"Stage": stage, "Change": f"{edit.title}.", "Why": why, "Expect": "time_x < 0.99"}
    lines = [
        textwrap.fill(value, 117, initial_indent=f"{name + ':':<9}", subsequent_indent=" " * 9)
        for name, value in fields.items()
    ]
    header = statements('"""' + f"{TITLE}{edit.title}\n\n" + "\n".join(lines) + '\n"""')
    tree = edit.make()
    body = tree.body[1:] if tree.get_docstring() is not None else tree.body
    return tree.with_changes(body=[*header, *body]).code

"""The state of a loop: its iterations, what comes next, what the agent reads of them. No files, no processes."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from rooflift.errors import CatalogError
from rooflift.lint.candidate import CandidateFault
from rooflift.project.header import parse_header

Criterion = Literal[
    "agent", "candidate", "lint", "evaluation", "interpreter", "profile", "sol", "traffic", "verdict", "again"
]
REPEATED = 6  # earlier iterations that a prompt repeats; the journal has them all
# A device copy is no bound of a kernel that mostly reads, and small ones differ: the recorded H100 suite goes to 103.8.
IMPOSSIBLE_PCT = 105.0


class Started(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """The first line of a journal: what a resumed loop must agree with."""

    operator: str
    base: str
    base_sha256: str
    stages: list[str]
    iterations: int
    gpu: str | None  # None: nothing is timed
    seed: int  # the inputs of the evaluations come from it


class Iteration(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """One iteration: `version` is the kept version's name in the loop's folder, else "" and `why` says why not."""

    number: int  # from 1
    stage: str
    base: str
    at: Criterion | None  # the step that it failed at
    why: list[str]
    version: str = ""
    title: str = ""
    candidate_sha256: str = ""
    time_us: float | None = None
    time_x: float | None = None  # time relative to the base
    sol_pct: float | None = None
    flag: str = ""  # what a reader should look at, such as a result above the roof
    untried: list[str] = []  # sizes that the evaluation did not vary, as they never vary in cases.toml


class Stopped(msgspec.Struct, frozen=True, tag=True):
    """The last line: why the loop ended, and the run with all kept versions, "" where nothing is timed."""

    reason: str
    run: str  # relative to the loop's folder


Entry = Started | Iteration | Stopped


@dataclass(frozen=True, slots=True)
class Step:
    """What to do next."""

    number: int
    stage: str
    base: str


@dataclass(frozen=True, slots=True)
class State:
    """Where a loop stands, by its journal."""

    started: Started
    iterations: list[Iteration] = field(default_factory=list)
    stopped: str = ""
    run: str = ""

    @property
    def kept(self) -> list[Iteration]:
        """The iterations whose versions were kept."""
        return [one for one in self.iterations if one.version]

    @property
    def base(self) -> str:
        """The version that the next iteration starts from: the last kept; without times the first."""
        return self.kept[-1].version if self.kept and self.started.gpu else self.started.base

    @property
    def next_version(self) -> int:
        """The number of the next version that is kept."""
        return len(self.kept) + 1

    def next_step(self) -> Step | None:
        """Return the next iteration, None after the last: each stage in turn has as many as were asked for."""
        done = len(self.iterations)
        if self.stopped or done >= len(self.started.stages) * self.started.iterations:
            return None
        return Step(done + 1, self.started.stages[done // self.started.iterations], self.base)


def read_journal(data: bytes) -> tuple[list[Entry], int]:
    """Return the entries of a journal and the length of their lines in bytes: a last line without end is left out.

    Raises:
        msgspec.DecodeError: a whole line is no entry.
    """
    whole = data[: data.rfind(b"\n") + 1]
    return [msgspec.json.decode(line, type=Entry) for line in whole.splitlines()], len(whole)


def state_of(entries: Sequence[Entry]) -> State:
    """Return where a loop stands.

    Raises:
        ValueError: the first entry, and no other, must tell how the loop was started; iterations count up from 1.
    """
    if not entries or not isinstance(entries[0], Started):
        raise ValueError("the first line does not tell how the loop was started")
    iterations, stopped, run = list[Iteration](), "", ""
    for entry in entries[1:]:
        match entry:
            case Iteration() if entry.number == len(iterations) + 1:
                iterations.append(entry)
            case Stopped():
                stopped, run = entry.reason, entry.run
            case _:
                raise ValueError(f"a line is out of place: {type(entry).__name__} behind {len(iterations)} iterations")
    return State(entries[0], iterations, stopped, run)


def iterations_text(state: State) -> str:
    """Return what a prompt says of the last iterations, "" before the first."""
    if not state.iterations:
        return ""
    lines = ["", "## Earlier iterations", ""]
    for one in state.iterations[-REPEATED:]:
        lines.append(f"- Iteration {one.number} ({one.stage}, from {one.base}): {outcome(one)}")
        lines += [f"  - {' '.join(text.split())}" for text in one.why]
    return "\n".join(lines) + "\n"


def outcome(one: Iteration) -> str:
    """Return how an iteration ended, in a few words."""
    times = "" if one.time_x is None else f", {one.time_x:.3f}x the time of {one.base}"
    times += "" if one.time_us is None else f", {one.time_us:.1f} us"
    flag = f"; {one.flag}" if one.flag else ""
    if one.at == "interpreter":
        return "neither accepted nor rejected: Triton's interpreter cannot run it"
    return (f"kept as {one.version}" if one.version else f"not kept, failed at {one.at}") + times + flag


def untried_text(state: State) -> str:
    """Return which sizes no evaluation varied, "" where all were or none took place."""
    names = list(dict.fromkeys(name for one in state.iterations for name in one.untried))
    return f"No odd sizes were tried of: {', '.join(names)}; cases.toml never varies them." if names else ""


def with_header(code: str, stage: str, number: int) -> tuple[str, str]:
    """Return a candidate's code with a header that can be read, and its title: its own, or one that makes no claim."""
    tree = ast.parse(code)
    try:
        return code, parse_header(tree, Path("candidate")).title
    except CatalogError:
        own = ast.get_docstring(tree) or ""
    node = tree.body[0]
    if own and node.end_lineno is not None and isinstance(node, ast.Expr):
        lines = code.split("\n")  # Python's lines: splitlines() knows more ends of them
        code = "\n".join([*lines[: node.lineno - 1], *lines[node.end_lineno :]])
    said = re.sub(r'["\\]', "'", own.strip().splitlines()[0] if own.strip() else "")
    title = said.strip() or f"candidate of iteration {number}"
    headed = f'"""{title}\n\nStage:   {stage}\nChange:  not told\nWhy:     not told\nExpect:  none\n"""\n\n{code}'
    if _without_docstring(ast.parse(headed)) != _without_docstring(tree):
        raise CandidateFault("a header would change the code", "Begin with a docstring of plain lines.")
    return headed, title


def _without_docstring(tree: ast.Module) -> list[str]:
    body = tree.body[1:] if ast.get_docstring(tree) is not None else tree.body
    return [ast.dump(node) for node in body]

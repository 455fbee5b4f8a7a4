"""The state of a loop: its iterations, what comes next, what the agent reads of them. No files, no processes."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from rooflift.errors import CatalogError
from rooflift.escape import bounded, printable
from rooflift.lint.candidate import CandidateFault
from rooflift.project.header import parse_header
from rooflift.schema import Amount, Count, FileName, Microseconds, Positive, Several

Criterion = Literal[
    "agent", "candidate", "lint", "evaluation", "interpreter", "profile", "sol", "traffic", "verdict", "again"
]
MOST_WHY = 2000  # characters of one reason
Kept = Annotated[str, msgspec.Meta(pattern=r"^(?:v[0-9]{1,6}_[a-z0-9_]{1,100})?\Z")]
REPEATED = 6  # earlier iterations that a prompt repeats; the journal has them all
# A device copy is no bound of a kernel that mostly reads, and small ones differ: the recorded H100 suite goes to 103.8.
IMPOSSIBLE_PCT = 105.0


class Started(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """The first line of a journal: what a resumed loop must agree with."""

    operator: str
    base: FileName
    base_sha256: str
    stages: list[str]
    iterations: Several
    candidates: Several = 1  # an iteration
    beam: Several = 1  # versions that the candidates of an iteration start from
    gpu: str | None  # None: nothing is timed
    seed: int  # the inputs of the evaluations come from it


class Iteration(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """One candidate: `version` is the kept version's name in the loop's folder, else "" and `why` says why not."""

    number: int  # from 1
    stage: str
    base: FileName
    at: Criterion | None  # the step that it failed at
    why: list[str]
    version: Kept = ""
    title: str = ""
    candidate_sha256: str = ""
    time_us: Microseconds | None = None
    time_x: Positive | None = None  # time relative to the base
    sol_pct: Amount | None = None
    flag: str = ""  # what a reader should look at, such as a result above the roof
    repairs: Count = 0  # times that the agent was asked to repair it
    agent_s: Amount | None = None
    tokens_in: Count | None = None  # None: the agent does not say
    tokens_out: Count | None = None
    cost_usd: Amount | None = None
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
        """The fastest version that was kept; without times the first."""
        return self.incumbents(len(self.iterations) + 1)[0]

    def incumbents(self, number: int) -> list[str]:
        """Return the versions that candidates start from, as it was before a candidate: the fastest, first of all.

        Without times that is the first version alone.
        """
        if self.started.gpu is None:
            return [self.started.base]
        kept = [one for one in reversed(self.kept) if one.number < number]
        kept.sort(key=lambda one: math.inf if one.time_us is None else one.time_us)
        return [*(one.version for one in kept), self.started.base][: self.started.beam]

    @property
    def next_version(self) -> int:
        """The number of the next version that is kept."""
        return len(self.kept) + 1

    def next_steps(self) -> list[Step]:
        """Return what is left of the next iteration, nothing after the last: each stage in turn has its iterations.

        The candidates of an iteration start from the incumbents in turn, as they were before the first of them.
        """
        started, done = self.started, len(self.iterations)
        iteration = done // started.candidates
        if self.stopped or iteration >= len(started.stages) * started.iterations:
            return []
        first = iteration * started.candidates + 1
        bases, stage = self.incumbents(first), started.stages[iteration // started.iterations]
        numbers = range(first, first + started.candidates)
        return [Step(n, stage, bases[(n - first) % len(bases)]) for n in numbers if n > done]


def read_journal(data: bytes) -> tuple[list[Entry], int]:
    """Return the entries of a journal and the length of their lines in bytes: a last line without end is left out.

    Raises:
        msgspec.DecodeError: a whole line is no entry.
    """
    whole = data[: data.rfind(b"\n") + 1]
    return [msgspec.json.decode(line, type=Entry) for line in whole.split(b"\n")[:-1]], len(whole)


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
        lines += [f"  - {bounded(' '.join(printable(text).split()), MOST_WHY)}" for text in one.why]
    return "\n".join(lines) + "\n"


def outcome(one: Iteration) -> str:
    """Return how an iteration ended, in a few words."""
    times = "" if one.time_x is None else f", {one.time_x:.3f}x the time of {one.base}"
    times += "" if one.time_us is None else f", {one.time_us:.1f} us"
    flag = f"; {one.flag}" if one.flag else ""
    times += f", after {one.repairs} repairs" if one.repairs else ""
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
    title = said.encode("utf-8", "replace").decode().strip() or f"candidate of iteration {number}"  # half a character
    headed = f'"""{title}\n\nStage:   {stage}\nChange:  not told\nWhy:     not told\nExpect:  none\n"""\n\n{code}'
    if _without_docstring(ast.parse(headed)) != _without_docstring(tree):
        raise CandidateFault("a header would change the code", "Begin with a docstring of plain lines.")
    return headed, title


def _without_docstring(tree: ast.Module) -> list[str]:
    body = tree.body[1:] if ast.get_docstring(tree) is not None else tree.body
    return [ast.dump(node) for node in body]

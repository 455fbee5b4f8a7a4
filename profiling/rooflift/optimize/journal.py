"""The state of a loop: its iterations, what comes next, what the agent reads of them. No files, no processes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

import msgspec

from rooflift.escape import bounded, printable
from rooflift.schema import Amount, Count, Microseconds, Positive, Several

Criterion = Literal[
    "agent", "candidate", "lint", "evaluation", "interpreter", "profile", "sol", "traffic", "verdict", "again"
]
FIRST = "algorithm"  # the stage in which an agent writes the first version
MOST_WHY = 2000  # characters of one reason
MOST_REASONS = 3  # of one iteration in a prompt
Kept = Annotated[str, msgspec.Meta(pattern=r"^(?:v[0-9]{1,6}_[a-z0-9_]{1,100})?\Z")]
REPEATED = 6  # earlier iterations that a prompt repeats; the journal has them all
# A device copy is no bound of a kernel that mostly reads, and small ones differ: the recorded H100 suite goes to 103.8.
IMPOSSIBLE_PCT = 105.0


class Started(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """The first line of a journal: what a resumed loop must agree with."""

    operator: str
    base: Kept  # "": there is none, and the agent writes the first version
    base_sha256: str  # of the reference where there is no base
    stages: list[str]
    skips: bool = False  # stages whose bottleneck is absent are passed over
    iterations: Several
    candidates: Several = 1  # an iteration
    beam: Several = 1  # versions that the candidates of an iteration start from
    gpu: str | None  # None: nothing is timed
    seed: int  # the inputs of the evaluations come from it


class Iteration(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """One candidate: `version` is the kept version's name in the loop's folder, else "" and `why` says why not."""

    number: int  # from 1
    stage: str
    base: Kept  # "": the reference alone
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
    trusted: bool = False  # it builds C++ or CUDA, and ran by its Python, not as a launch plan
    untried: list[str] = []  # sizes that the evaluation did not vary, as they never vary in cases.toml


class Skipped(msgspec.Struct, frozen=True, tag=True):
    """A stage that is passed over, and why; the first time it moves to the end, where it is judged again."""

    stage: str
    why: str


class Stopped(msgspec.Struct, frozen=True, tag=True):
    """The last line: why the loop ended, and the run with all kept versions, "" where nothing is timed."""

    reason: str
    run: str  # relative to the loop's folder


Entry = Started | Iteration | Skipped | Stopped


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
    queue: list[str] = field(default_factory=list)  # stages that are left, the current one in front
    into: int = 0  # candidates of the current stage that are done
    skipped: list[Skipped] = field(default_factory=list)
    stopped: str = ""
    run: str = ""

    @property
    def kept(self) -> list[Iteration]:
        """The iterations whose versions were kept."""
        return [one for one in self.iterations if one.version]

    @property
    def base(self) -> str:
        """The fastest version that was kept; without times the first; "" where there is none yet."""
        return self.incumbents(len(self.iterations) + 1)[0]

    def incumbents(self, number: int) -> list[str]:
        """Return the versions that candidates start from, as it was before a candidate: the fastest, first of all.

        Without times that is the first version alone; "" stands for the reference, where there is none yet.
        """
        kept = [one for one in reversed(self.kept) if one.number < number]
        first = self.started.base or (kept[-1].version if kept else "")
        if self.started.gpu is None:
            return [first]
        kept.sort(key=lambda one: math.inf if one.time_us is None else one.time_us)
        return list(dict.fromkeys([*(one.version for one in kept), first]))[: self.started.beam]

    @property
    def next_version(self) -> int:
        """The number of the next version that is kept."""
        return len(self.kept) + bool(self.started.base)

    def next_steps(self) -> list[Step]:
        """Return what is left of the next iteration, nothing after the last: each stage in turn has its iterations.

        The candidates of an iteration start from the incumbents in turn, as they were before the first of them. Where
        there is no base, as many iterations are for the first version, until one is kept.
        """
        started, done = self.started, len(self.iterations)
        first = done - done % started.candidates + 1
        bases = self.incumbents(first)
        left = bases != [""] or done < started.iterations * started.candidates
        stage = FIRST if bases == [""] else next(iter(self.queue), "")
        if self.stopped or not left or not stage:
            return []
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
    state = State(entries[0], queue=list(entries[0].stages))
    for entry in entries[1:]:
        match entry:
            case Iteration() if entry.number == len(state.iterations) + 1:
                state = _behind(state, entry)
            case Skipped() if state.queue and entry.stage == state.queue[0] and not state.into:
                again = [] if entry.stage in (one.stage for one in state.skipped) else [entry.stage]
                state = replace(state, queue=[*state.queue[1:], *again], skipped=[*state.skipped, entry])
            case Stopped():
                state = replace(state, stopped=entry.reason, run=entry.run)
            case _:
                place = f"{type(entry).__name__} behind {len(state.iterations)} iterations"
                raise ValueError(f"a line is out of place: {place}")
    return state


def _behind(state: State, one: Iteration) -> State:
    """Return the state behind an iteration; those for the first version are of no stage of the queue."""
    started, every = state.started, [*state.iterations, one]
    group = one.number - (one.number - 1) % started.candidates
    if state.incumbents(group) == [""]:
        return replace(state, iterations=every)
    into = state.into + 1
    if into < started.iterations * started.candidates:
        return replace(state, iterations=every, into=into)
    return replace(state, iterations=every, into=0, queue=state.queue[1:])


def iterations_text(state: State) -> str:
    """Return what a prompt says of the last iterations, "" before the first."""
    if not state.iterations:
        return ""
    lines = ["", "## Earlier iterations", ""]
    left = len(state.iterations) - REPEATED
    if left > 0:
        lines.append(f"- {left} earlier ones are left out")
    for one in state.iterations[-REPEATED:]:
        lines.append(f"- Iteration {one.number} ({one.stage}, from {one.base or 'the reference'}): {outcome(one)}")
        lines += [f"  - {bounded(' '.join(printable(text).split()), MOST_WHY)}" for text in one.why[:MOST_REASONS]]
        if len(one.why) > MOST_REASONS:
            lines.append(f"  - {len(one.why) - MOST_REASONS} more reasons are left out")
    return "\n".join(lines) + "\n"


def outcome(one: Iteration) -> str:
    """Return how an iteration ended, in a few words."""
    times = "" if one.time_x is None else f", {one.time_x:.3f}x the time of {one.base}"
    times += "" if one.time_us is None else f", {one.time_us:.1f} us"
    flag = f"; {one.flag}" if one.flag else ""
    times += f", after {one.repairs} repairs" if one.repairs else ""
    times += "; run with --trust, not as a launch plan" if one.trusted else ""
    if one.at == "interpreter" and one.trusted:
        return "neither accepted nor rejected: C++ or CUDA that does not run here"
    if one.at == "interpreter":
        return "neither accepted nor rejected: Triton's interpreter cannot run it"
    return (f"kept as {one.version}" if one.version else f"not kept, failed at {one.at}") + times + flag


def spent_text(iterations: Sequence[Iteration]) -> str:
    """Return what the agent took for the candidates, as far as it is known; "" where nothing is."""
    columns = ("agent_s", "tokens_in", "tokens_out", "cost_usd")
    told = [[value for one in iterations if (value := getattr(one, name)) is not None] for name in columns]
    seconds, tokens_in, tokens_out, usd = told
    parts = [f"{sum(seconds):,.0f} s"] if seconds else []
    parts += [f"{sum(tokens_in):,} tokens in"] if tokens_in else []
    parts += [f"{sum(tokens_out):,} tokens out"] if tokens_out else []
    parts += [f"{sum(usd):.4g} USD"] if usd else []
    return f"The agent took {', '.join(parts)} for {len(iterations)} candidates." if parts else ""


def untried_text(state: State) -> str:
    """Return which sizes no evaluation varied, "" where all were or none took place."""
    names = list(dict.fromkeys(name for one in state.iterations for name in one.untried))
    return f"No odd sizes were tried of: {', '.join(names)}; cases.toml never varies them." if names else ""

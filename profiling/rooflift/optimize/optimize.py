"""A loop from its options to its end: checks what was asked for, begins or resumes the folder, runs the loop in it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import msgspec

from rooflift.analysis.sol import flop_by_unit
from rooflift.api.shown import short
from rooflift.errors import CatalogError, NoGpu, NoRun, RunFault
from rooflift.lint.lint import launches_kernels
from rooflift.measure import environment
from rooflift.optimize.agent import SEARCH
from rooflift.optimize.classes import class_of, classes
from rooflift.optimize.journal import Started, State, spent_text, untried_text
from rooflift.optimize.loop import Loop
from rooflift.optimize.setting import Notes, Progresses, Setting
from rooflift.project.gpus import spec_for_key, spec_for_name
from rooflift.project.operator import Operator, Version, load_operator
from rooflift.project.settings import reports_folder
from rooflift.project.stages import stage
from rooflift.runs.find import newest_run, recorded_cases
from rooflift.runs.verify import sha256
from rooflift.sandbox.sandbox import Limits, require_sandbox
from rooflift.schema import ResolvedCase

if TYPE_CHECKING:
    from rooflift.project.gpus import GpuSpec

FEW_FLOP_PER_BYTE = 30  # tensor cores do 76 and more in the time of a byte, in 16 bits


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a loop is asked for."""

    operator: str
    agent: Sequence[str]  # the command that gets a prompt and prints a candidate
    folder: Path  # an unfinished loop in it is resumed
    stages: Sequence[str]  # none: those of the operator's class, without those whose bottleneck is absent
    iterations: int  # of each stage
    candidates: int = 1  # of an iteration
    beam: int = 1  # versions that the candidates of an iteration start from
    repairs: int = 1  # of one candidate
    base: str = "v0"
    home: Path | None = None  # the project with lessons and worked examples; None: the operator's own
    gpu: str | None = None  # a GPU spec's key; None: the GPU here
    timed: bool = True  # False: candidates run in Triton's interpreter, and none is timed
    baselines: bool = False  # torch's slow ones are timed in the last run
    trust: bool = False  # candidates run also where they cannot be sandboxed, and those in C++ or CUDA
    limits: Limits = field(default_factory=Limits)  # of one candidate
    base_url: str | None = None  # of an endpoint; None: the provider's
    agent_timeout_s: float | None = None
    timeout_s: float = 1800  # of a profile
    metric_set: str = "standard"


def default_stages(operator_class: str, cases: Sequence[ResolvedCase] = ()) -> list[str]:
    """Return the stages of a loop that names none: those of the operator's class.

    Where recorded `cases` say that products never bind, the stages about them are left out.
    """
    may_bind = not cases or any(
        unit.endswith("tensor") and flop > FEW_FLOP_PER_BYTE * case.bytes_known
        for case in cases
        for unit, flop in flop_by_unit(case).items()
    )
    return [name for name in classes()[operator_class].stages if may_bind or not stage(name).products]


def _recorded(root: Path, operator: Operator) -> list[ResolvedCase]:
    return [case for case, _ in recorded_cases(reports_folder(root), operator.name).values()]


def base_of(operator: Operator, options: Options, note: Notes) -> Version | None:
    """Return the version that a loop starts from; None where the agent writes the first one.

    Raises:
        CatalogError: there is no such version, or none, and the agent is one that only edits.
    """
    (base,) = operator.select_versions([options.base]) if operator.versions else (None,)
    if base is not None and launches_kernels(base.path):
        return base
    lacks = f"{base.name} launches no kernel" if base else f"{operator.label} has no version"
    if list(options.agent) == [SEARCH]:
        remedy = "The search agent edits kernels: name another agent, or with --base a version that has one."
        raise CatalogError(f"{lacks}, and there is nothing to edit", remedy)
    note(f"{lacks}: the agent writes the first version")
    return None


def optimize(root: Path, options: Options, note: Notes, progress: Progresses, keep: Path | None = None) -> Finished:
    """Run a loop to its end, and copy the kept versions to `keep` under the next free numbers.

    Raises:
        NoGpu: there is no GPU here, and candidates are to be timed.
        CatalogError: an option names nothing, or the loop in the folder was started with others.
        RunFault: another loop is at work in the folder, or it holds something else.
    """
    operator = load_operator(root, options.operator, bare=True)
    base = base_of(operator, options, note)
    for name in options.stages:
        stage(name)
    if not options.agent:
        raise CatalogError("--agent is empty", "Name the command that gets a prompt and prints a candidate.")
    spec = target_spec(root, options.operator, options.gpu, timed=options.timed)
    sandbox = replace(require_sandbox(trust=options.trust), limits=options.limits)
    if sandbox.missing:
        note(f"Candidates are not sandboxed in: {', '.join(sandbox.missing)}. --trust allows that.")
    started = Started(
        operator=options.operator,
        base=f"v0_{base.name.partition('_')[2]}" if base else "",
        base_sha256=sha256(base.path if base else operator.reference),
        stages=list(options.stages) or default_stages(class_of(operator.reference), _recorded(root, operator)),
        skips=not options.stages,
        iterations=options.iterations,
        candidates=options.candidates,
        beam=options.beam,
        gpu=spec.name if options.timed else None,
        seed=random.SystemRandom().randrange(2**31),
    )
    setting = Setting(
        root=root,
        home=options.home or root,
        operator=operator,
        base=base,
        spec=spec,
        folder=options.folder,
        agent=options.agent,
        base_url=options.base_url,
        agent_timeout_s=options.agent_timeout_s,
        repairs=options.repairs,
        baselines=options.baselines,
        sandbox=sandbox,
        trust=options.trust,
        timeout_s=options.timeout_s,
        metric_set=options.metric_set,
        note=note,
        progress=progress,
    )
    options.folder.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(options.folder / ".lock", timeout=0):
            loop = Loop(setting, started)
            loop.run()
            return Finished(options.folder, loop.state, loop.hand_over(keep) if keep else [])
    except filelock.Timeout:
        raise RunFault(
            f"{options.folder}: another loop is at work in it", "Wait for it, or name another --out."
        ) from None


@dataclass(frozen=True, slots=True)
class Finished:
    """How a loop ended, and the files that were handed over."""

    folder: Path
    state: State
    written: list[Path]

    @property
    def run(self) -> Path | None:
        """The run with all kept versions; None where nothing is timed."""
        return self.folder / self.state.run if self.state.run else None

    @property
    def text(self) -> str:
        """How many iterations there were, what was kept, why it ended."""
        names = ", ".join(one.version for one in self.state.kept) or "none"
        return f"{len(self.state.iterations)} iterations, kept: {names}; ended: {self.state.stopped}"

    def parts(self) -> list[str]:
        """Return what a terminal shows: how it ended, and the files."""
        files = ([self.run] if self.run else []) + self.written
        passed = ", ".join(dict.fromkeys(one.stage for one in self.state.skipped))
        more = [f"Passed over: {passed}."] if passed else []
        more += [text for text in (spent_text(self.state.iterations), untried_text(self.state)) if text]
        return [self.text, *more, f"Wrote {short(self.folder)}", *(f"  {short(path)}" for path in files)]

    def record(self) -> dict[str, Any]:
        """Return how the loop ended for a program."""
        return {
            "folder": short(self.folder),
            "stopped": self.state.stopped,
            "kept": [one.version for one in self.state.kept],
            "run": short(self.run) if self.run else None,
            "iterations": msgspec.to_builtins(self.state.iterations),
            "skipped": msgspec.to_builtins(self.state.skipped),
            "untried": untried_text(self.state),
            "written": [short(path) for path in self.written],
        }

    def __repr__(self) -> str:
        return f"<Finished: {self.text}>"


def _measured_on(root: Path, operator: str) -> str:
    try:
        return newest_run(reports_folder(root), operator).manifest.machine.gpu
    except NoRun:
        return ""


def target_spec(root: Path, operator: str, gpu: str | None, *, timed: bool) -> GpuSpec:
    """Return the spec of the GPU that the candidates are for.

    Raises:
        NoGpu: candidates are to be timed, and there is none here.
        CatalogError: no spec stands for the GPU here, or it is not the one that was named.
    """
    if timed:
        try:
            here = environment.driver().gpus[0]
        except NoGpu as absent:
            remedy = f"{absent.remedy} With --no-gpu candidates are linted and run in the interpreter; none is timed."
            raise NoGpu(absent.message, remedy) from None
    else:
        here = _measured_on(root, operator)
        if not here and gpu is None:
            raise CatalogError(f"{operator} has no run that says which GPU is meant", "Name one with --gpu.")
    named, own = spec_for_key(gpu) if gpu else None, spec_for_name(here)
    if timed and named is not None and named is not own:
        raise CatalogError(f"--gpu {gpu}: candidates are timed here, on {here}", "Leave out --gpu, or give --no-gpu.")
    found = named or own
    if found is None:
        raise CatalogError(f"no spec stands for the GPU {here!r}", "Name one with --gpu.")
    return found

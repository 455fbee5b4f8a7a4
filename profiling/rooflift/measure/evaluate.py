"""The evaluation of a candidate: three processes run parts of it, and a judge that loads none of them compares.

What a call does is recorded as a launch plan and carried out apart from the candidate's Python, on inputs of the
judge's (docs/trust.md). It catches wrong results on some seed or odd shape, elements never written, changed inputs,
results remembered or left from an earlier call, operations of torch that should be a kernel's, hangs, hoarding.
"""

from __future__ import annotations

import asyncio
import math
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import msgspec

from rooflift.errors import CatalogError, KernelFault
from rooflift.measure.children import Progress
from rooflift.measure.faults import GAP_REMEDY, wrong_result
from rooflift.measure.odd_sizes import odd_sizes
from rooflift.process import Ended, run_to_end
from rooflift.project.cases import Case
from rooflift.project.operator import Operator
from rooflift.sandbox.sandbox import OverLimit, Sandbox, scratch
from rooflift.worker.protocol import LOG, Fault, Judgement, Prepared, Task, Trial, Trials, read_event, worker_command

REMEDIES = {
    "plan": "",  # the fault says it
    "runs": "Fix it: it must compile and run on every test case, and on odd shapes.",
    "compiles": "Correct that line: a GPU gets what Triton's compiler makes of it.",
    "correctness": "Compare the indexing and masks there.",
    "inputs_changed": "Leave inputs, parameters and buffers as they are; allocate a workspace in forward.",
    "second_call": "Compute from the inputs of each call, whatever memory holds; keep nothing from one to the next.",
    "interpreter": GAP_REMEDY,
    "limits": "Stay within time and memory, start no processes, and write no files.",
}


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How a candidate came through: the first fault of each gate, and what was compared."""

    faults: list[Fault]
    compared: int
    untried: list[str] = field(default_factory=list)  # sizes that never vary in cases.toml, and so were not varied

    @property
    def undecided(self) -> bool:
        """Whether nothing is wrong, but Triton's interpreter could not run it: only a GPU can tell."""
        return bool(self.faults) and all(fault.criterion == "interpreter" for fault in self.faults)

    def reasons(self) -> list[str]:
        """Return the faults in words, each with its remedy."""
        return [_in_words(fault) for fault in self.faults]


def trials(tests: Sequence[Case], odd: Sequence[Case], seeds: Sequence[int]) -> list[Trial]:
    """Return what a candidate has to go through: every case and seed, and odd sizes.

    Each in one dtype, in turn: a dtype more is a compilation more, and seeds and cases share them out.
    """
    found = []
    for generated, group in ((False, tests), (True, odd)):
        for place, case in enumerate(group):
            for turn, seed in enumerate(seeds[:1] if generated else seeds):
                dtype = case.dtypes[(place + turn) % len(case.dtypes)]
                found.append(Trial(case.with_dtype(dtype), seed, generated))
    return found


def uncalled(operator: Operator, seed: int) -> list[Trial]:
    """Return the cases that are measured and too large to be interpreted: what a candidate does there is recorded."""
    cases = [case for case in operator.select_cases([], "bench") if "test" not in case.use]
    return [Trial(case.with_dtype(case.dtypes[0]), seed, called=False) for case in cases]


def evaluate(
    operator: Operator,
    candidate: Path,
    sandbox: Sandbox,
    seeds: Sequence[int],
    progress: Progress,
    *,
    interpret: bool,
    target: int = 90,
) -> Evaluation:
    """Evaluate a kernel file on the GPU, or in Triton's interpreter and by compiling its kernels for `target`.

    Raises:
        CatalogError: the operator has no case to check.
        KernelFault: the judge could not do its work, which says nothing of the candidate.
    """
    cases = _test_cases(operator)
    odd = odd_sizes(cases, list(operator.cases.values()), seeds[0])
    # from the smallest inputs on: the first fault that is found is that of the smallest that fails
    ordered = sorted(trials(cases, odd.cases, seeds), key=lambda trial: sum(map(math.prod, trial.case.shapes)))
    ordered += uncalled(operator, seeds[0]) if interpret else []
    asked = Trials("reference.py", "candidate.py", ordered, target, 2 * sandbox.limits.time_s)
    return replace(_evaluated(operator, candidate, sandbox, asked, progress, interpret), untried=odd.untried)


def compile_candidate(
    operator: Operator, candidate: Path, sandbox: Sandbox, progress: Progress, target: int = 90
) -> Evaluation:
    """Make the plans of a kernel file on every test case and compile their kernels for `target`; none is carried out.

    Raises:
        CatalogError: the operator has no case to check.
        KernelFault: the judge could not do its work, which says nothing of the candidate.
    """
    every = [*trials(_test_cases(operator), [], [1]), *uncalled(operator, 1)]
    asked = Trials("reference.py", "candidate.py", every, target, called=False)
    return _evaluated(operator, candidate, sandbox, asked, progress, True)


def _test_cases(operator: Operator) -> list[Case]:
    cases = operator.select_cases([], "test")
    if not cases:
        raise CatalogError(f"{operator.label}: no case to check", "Give a small case use = ['test'] in cases.toml.")
    return cases


def _evaluated(
    operator: Operator, candidate: Path, sandbox: Sandbox, asked: Trials, progress: Progress, interpret: bool
) -> Evaluation:
    environment = {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""} if interpret else {}
    tasks: list[Task] = [*(["replay"] if asked.called else []), *(["recompile"] if interpret else [])]  # type: ignore[list-item]
    with scratch() as place:
        folders = _Folders(*(place / part for part in ("candidate", "judge", "kernels")))
        folders.fill(operator.reference, candidate, asked)
        return run_to_end(_evaluation(folders, sandbox, environment, progress, tasks))


class _Folders(NamedTuple):
    """Where the processes work: none of them sees another's folder."""

    candidate: Path
    judge: Path
    kernels: Path

    def fill(self, reference: Path, candidate: Path, asked: Trials) -> None:
        """Put in what each may know; the secrets are the judge's."""
        draw = secrets.SystemRandom()
        hidden = [msgspec.structs.replace(trial, secret=draw.randrange(2**31)) for trial in asked.trials]
        for folder, inside, trials_ in (
            (self.candidate, "plans", asked),
            (self.judge, "", msgspec.structs.replace(asked, trials=hidden)),
            (self.kernels, "results", asked),
        ):
            (folder / inside).mkdir(parents=True)
            (folder / "trial.json").write_bytes(msgspec.json.encode(trials_))
        (self.kernels / "compiled").mkdir()
        for folder in (self.candidate, self.judge):
            shutil.copy(reference, folder / "reference.py")
        shutil.copy(candidate, self.candidate / "candidate.py")


async def _evaluation(
    folders: _Folders, sandbox: Sandbox, environment: dict[str, str], progress: Progress, tasks: Sequence[Task]
) -> Evaluation:
    """Let the candidate's plans be made, carried out and judged."""

    async def run(task: Task, folder: Path) -> Fault | None:
        around = {} if task == "recompile" else environment
        ended = await _within(sandbox, worker_command(task), folder, around, lambda _: None)
        if isinstance(ended, Fault):
            return ended
        if ended.returncode != 0:
            what = f"its process ended with code {ended.returncode}:\n{_last_words(folder, ended)}"
            return Fault("runs", what)
        return None

    prepared, lines = asyncio.Event(), list[str]()

    def on_line(line: str) -> None:
        lines.append(line)
        if isinstance(read_event(line), Prepared):
            prepared.set()

    judge = asyncio.ensure_future(
        _within(sandbox, worker_command("judge"), folders.judge, environment, on_line, 3 * sandbox.limits.time_s)
    )
    waiting = asyncio.ensure_future(prepared.wait())
    try:
        progress("running the candidate")
        fault = await run("candidate", folders.candidate)
        if fault is not None:
            return Evaluation([fault], 0)
        progress("judging its results")
        _move(folders.candidate / "plans", folders.judge)
        await asyncio.wait((judge, waiting), return_when=asyncio.FIRST_COMPLETED)
        if prepared.is_set() and _move(folders.judge / "calls", folders.kernels):
            ends = await asyncio.gather(*(run(task, folders.kernels) for task in tasks))
            fault = next((end for end in ends if end is not None), None)
            if fault is not None:
                return Evaluation([fault], 0)
            _move(folders.kernels / "compiled", folders.judge)
            _move(folders.kernels / "results", folders.judge)
        return _judgement(await judge, lines)
    finally:
        waiting.cancel()
        judge.cancel()
        await asyncio.gather(judge, waiting, return_exceptions=True)  # Ctrl-C that comes meanwhile goes on


def _move(folder: Path, to: Path) -> bool:
    """Move a folder into another, whatever it is by now: each process sees its own and no other."""
    with suppress(OSError):
        folder.rename(to / folder.name)
        return True
    return False


async def _within(
    sandbox: Sandbox,
    command: Sequence[str],
    folder: Path,
    environment: dict[str, str],
    on_line: Callable[[str], None],
    time_s: float | None = None,
) -> Ended | Fault:
    """Run a command, sandboxed; return how it ended by itself, or which limit ended it."""
    most_s = time_s or sandbox.limits.time_s
    try:
        async with asyncio.timeout(most_s):
            return await sandbox.run(command, folder, environment, on_line)
    except TimeoutError:
        return Fault("limits", f"it ran past {most_s:g} s")
    except OverLimit as error:
        return Fault("limits", error.message)


def _last_words(folder: Path, ended: Ended) -> str:
    """Return the end of the log; the candidate may have put a link to another file, or a pipe, in its place."""
    try:
        log = os.open(folder / LOG, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return ended.output[-2000:]
    with os.fdopen(log, "rb") as file:
        found = os.fstat(log)
        if not stat.S_ISREG(found.st_mode):
            return ended.output[-2000:]
        file.seek(max(found.st_size - 2000, 0))
        return file.read(2000).decode(errors="replace")


def _judgement(ended: Ended | Fault, lines: list[str]) -> Evaluation:
    """Return what the judge says; results that take it past a limit are a fault of who made them."""
    if isinstance(ended, Fault):
        return Evaluation([Fault(ended.criterion, f"when its results were judged, {ended.what}")], 0)
    found = [event for event in map(read_event, lines) if isinstance(event, Judgement)]
    if ended.returncode != 0 or not found:
        tail = "\n".join(lines[-15:])
        raise KernelFault(
            f"the judge of the candidate ended with code {ended.returncode}:\n{tail}",
            "`rooflift verify` runs the reference on the same cases; `rooflift doctor` checks torch and the GPU.",
        )
    return Evaluation(found[-1].faults, found[-1].compared)


def _in_words(fault: Fault) -> str:
    remedy = REMEDIES[fault.criterion]
    if fault.mismatch is None:
        return f"{fault.criterion}: {fault.what}. {remedy}".removesuffix(". ")
    said, closer = wrong_result(fault.mismatch)
    return f"{fault.criterion}: {said}. {closer if fault.criterion == 'correctness' else remedy}"

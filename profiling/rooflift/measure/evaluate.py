"""The gates of a candidate that the linter accepted: it runs in a process of its own, and a judge trusts none of it.

What they catch and the linter may not: wrong results on some seed or odd shape, elements never written, changed
inputs, results remembered from an earlier call, results that are not there yet on the default stream, hangs, hoarding.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import stat
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from rooflift.errors import CatalogError, KernelFault
from rooflift.measure.faults import wrong_result
from rooflift.measure.session import Progress
from rooflift.process import Ended, run_to_end
from rooflift.project.cases import Case
from rooflift.project.operator import Operator
from rooflift.sandbox.sandbox import OverLimit, Sandbox
from rooflift.worker.protocol import LOG, Fault, Judgement, Trial, Trials, read_event, worker_command

MOST_GENERATED = 12  # shapes; in the interpreter a case takes about a second
REMEDIES = {
    "runs": "Fix it: it must compile and run on every test case, and on odd shapes.",
    "result_type": "Return plain tensors.",
    "correctness": "Compare the indexing and masks there.",
    "inputs_changed": "Leave the inputs as they are.",
    "default_stream": "Do all work on the current stream, and in the calling thread.",
    "second_call": "Compute from the inputs of each call; keep nothing from one to the next.",
    "result_overwritten": "Allocate the result in each call.",
    "threads": "Start no threads.",
    "limits": "Stay within time and memory, start no processes, and write no files.",
}


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How a candidate came through: the first fault of each gate, and what was compared."""

    faults: list[Fault]
    compared: int

    def reasons(self) -> list[str]:
        """Return the faults in words, each with its remedy."""
        return [_in_words(fault) for fault in self.faults]


def odd_cases(cases: Sequence[Case], seed: int) -> list[Case]:
    """Return cases of one other size each: a dimension of 1, or an odd one, equal ones of several inputs together.

    The reference may refuse some, such as other numbers of channels than its parameters have.
    """
    draw = random.Random(seed)  # noqa: S311  # no secret
    found = []
    for place, case in enumerate(case for case in cases if case.inputs):
        assert case.inputs is not None
        axis = -1 - place % max(map(len, case.inputs))
        sizes = {shape[axis] for shape in case.inputs if len(shape) >= -axis}
        size = draw.choice(sorted(sizes))
        other = draw.choice([1, size + 1 + size % 2, 2 * size + 1, 33 + 2 * draw.randrange(16)])
        shapes = [_with(shape, axis, size, other) for shape in case.inputs]
        found.append(replace(case, name=f"{case.name} with inputs {shapes}", inputs=shapes))
    return draw.sample(found, min(MOST_GENERATED, len(found)))


def _with(shape: list[int], axis: int, size: int, other: int) -> list[int]:
    if len(shape) < -axis or shape[axis] != size:
        return shape
    return [other if place == len(shape) + axis else old for place, old in enumerate(shape)]


def trials(cases: Sequence[Case], seeds: Sequence[int]) -> list[Trial]:
    """Return what a candidate has to go through: every case and seed, and odd shapes.

    Each in one dtype, in turn: a dtype more is a compilation more, and seeds and cases share them out.
    """
    found = []
    for generated, group in ((False, list(cases)), (True, odd_cases(cases, seeds[0]))):
        for place, case in enumerate(group):
            for turn, seed in enumerate(seeds[:1] if generated else seeds):
                dtype = case.dtypes[(place + turn) % len(case.dtypes)]
                found.append(Trial(case.with_dtype(dtype), seed, generated))
    return found


def evaluate(
    operator: Operator,
    candidate: Path,
    sandbox: Sandbox,
    seeds: Sequence[int],
    progress: Progress,
    *,
    interpret: bool,
) -> Evaluation:
    """Run a kernel file through the gates, on the GPU or in Triton's interpreter.

    Raises:
        CatalogError: the operator has no case to check.
        KernelFault: the judge could not do its work, which says nothing of the candidate.
    """
    cases = operator.select_cases([], "test")
    if not cases:
        raise CatalogError(f"{operator.label}: no case to check", "Give a small case use = ['test'] in cases.toml.")
    plan = Trials("reference.py", "candidate.py", trials(cases, seeds))
    with tempfile.TemporaryDirectory(prefix="rooflift-", ignore_cleanup_errors=True) as one, \
            tempfile.TemporaryDirectory(prefix="rooflift-", ignore_cleanup_errors=True) as other:  # fmt: skip
        theirs, ours = Path(one), Path(other)
        for folder in (theirs, ours):
            shutil.copy(operator.reference, folder / "reference.py")
            (folder / "trial.json").write_bytes(msgspec.json.encode(plan))
        shutil.copy(candidate, theirs / "candidate.py")
        (theirs / "results").mkdir()
        progress("running the candidate")
        ended = run_to_end(_within(sandbox, worker_command("candidate"), theirs, interpret, lambda _: None))
        if isinstance(ended, Fault):
            return Evaluation([ended], 0)
        if ended.returncode != 0:
            what = f"its process ended with code {ended.returncode}:\n{_last_words(theirs, ended)}"
            return Evaluation([Fault("runs", what)], 0)
        progress("judging its results")
        with suppress(OSError):  # whatever it is by now; the judge sees its own folder and no other
            (theirs / "results").rename(ours / "results")
        return _judged(sandbox, ours, interpret)


async def _within(
    sandbox: Sandbox, command: Sequence[str], folder: Path, interpret: bool, on_line: Callable[[str], None]
) -> Ended | Fault:
    """Run a command, sandboxed; return how it ended by itself, or which limit ended it."""
    environment = {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""} if interpret else {}
    try:
        async with asyncio.timeout(sandbox.limits.time_s):
            return await sandbox.run(command, folder, environment, on_line)
    except TimeoutError:
        return Fault("limits", f"it ran past {sandbox.limits.time_s:g} s")
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


def _judged(sandbox: Sandbox, folder: Path, interpret: bool) -> Evaluation:
    """Return what the judge says; results that take it past a limit are a fault of who made them."""
    lines: list[str] = []
    ended = run_to_end(_within(sandbox, worker_command("judge"), folder, interpret, lines.append))
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
        return f"{fault.criterion}: {fault.what}. {remedy}"
    said, closer = wrong_result(fault.mismatch)
    return f"{fault.criterion}: {said}. {closer if fault.criterion == 'correctness' else remedy}"

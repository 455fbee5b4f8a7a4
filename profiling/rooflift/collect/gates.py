"""The gates of a reply that the checker accepted: it runs in a process of its own, and a judge trusts none of it.

What they catch and the checker may not: wrong results on some seed or odd shape, elements never written, changed
inputs, results remembered from an earlier call, results that are not there yet on the default stream, hangs, hoarding.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from rooflift.catalog.cases import Case
from rooflift.catalog.families import Family
from rooflift.collect.candidate import LOG, Fault, Judgement, Trial, Trials
from rooflift.collect.confinement import TooMuchMemory, bare_environment, memory_watch
from rooflift.collect.measure import Progress, describe
from rooflift.collect.operators import CasePlan
from rooflift.collect.processes import Ended, stream
from rooflift.errors import CatalogError, KernelFault

MOST_GENERATED = 12  # shapes; in the interpreter a case takes about a second
REMEDIES = {
    "runs": "Mend it: it must compile and run on every test case, and on odd shapes.",
    "result_type": "Return plain tensors.",
    "correctness": "Compare the indexing and masks there.",
    "inputs_changed": "Leave the inputs as they are.",
    "default_stream": "Do all work on the current stream, and in the calling thread.",
    "second_call": "Compute from the inputs of each call; keep nothing from one to the next.",
    "result_overwritten": "Allocate the result in each call.",
    "threads": "Start no threads.",
    "limits": "Stay within time and memory.",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What a candidate may use; `memory_bytes` is the host's, and with CUDA some 3 GiB are gone before it begins."""

    time_s: float = 300
    memory_bytes: int = 16 * 2**30


@dataclass(frozen=True, slots=True)
class Examination:
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
                found.append(Trial(CasePlan(case.name, dtype, case.init, case.inputs), seed, generated))
    return found


def examine(
    family: Family,
    candidate: Path,
    isolation: Sequence[str],
    seeds: Sequence[int],
    progress: Progress,
    limits: Limits | None = None,
    *,
    interpret: bool,
) -> Examination:
    """Run a kernel file through the gates, on the GPU or in Triton's interpreter.

    Raises:
        CatalogError: the family has no case to check.
        KernelFault: the judge could not do its work, which says nothing of the candidate.
    """
    cases = family.select_cases([], "test")
    if not cases:
        raise CatalogError(f"{family.name}: no case to check", "Give a small case use = ['test'] in cases.toml.")
    plan = Trials("reference.py", "reply.py", trials(cases, seeds))
    with tempfile.TemporaryDirectory(prefix="rooflift-", ignore_cleanup_errors=True) as one, \
            tempfile.TemporaryDirectory(prefix="rooflift-") as other:  # fmt: skip
        theirs, ours = Path(one), Path(other)
        for folder in (theirs, ours):
            shutil.copy(family.reference, folder / "reference.py")
            (folder / "trial.json").write_bytes(msgspec.json.encode(plan))
        shutil.copy(candidate, theirs / "reply.py")
        (theirs / "results").mkdir()
        progress("running the reply")
        fault = asyncio.run(_confined(theirs, isolation, limits or Limits(), interpret))
        if fault is not None:
            return Examination([fault], 0)
        progress("judging its results")
        found = asyncio.run(_judge(ours, theirs / "results", interpret))
    return Examination(found.faults, found.compared)


def candidate_command(task: str, *words: str) -> list[str]:
    """Return the command of the program that runs a candidate, or judges it."""
    return [sys.executable, "-m", "rooflift.collect.candidate", task, *words]


async def _confined(folder: Path, isolation: Sequence[str], limits: Limits, interpret: bool) -> Fault | None:
    """Run the candidate; return why it did not come to an end."""
    environment = bare_environment(folder) | _interpreted(interpret)
    command = [*isolation, *candidate_command("run")]
    try:
        async with asyncio.timeout(limits.time_s):
            ended = await stream(
                command, folder, environment, lambda _: None, inherit=False, watch=memory_watch(limits.memory_bytes)
            )
    except TimeoutError:
        return Fault("limits", f"it ran past {limits.time_s:g} s")
    except TooMuchMemory as error:
        return Fault("limits", error.message)
    if ended.returncode == 0:
        return None
    return Fault("runs", f"its process ended with code {ended.returncode}:\n{_last_words(folder, ended)}")


def _last_words(folder: Path, ended: Ended) -> str:
    log = folder / LOG
    if not log.is_file():
        return ended.output[-2000:]
    with log.open("rb") as file:
        file.seek(max(log.stat().st_size - 2000, 0))
        return file.read().decode(errors="replace")


async def _judge(folder: Path, results: Path, interpret: bool) -> Judgement:
    lines: list[str] = []
    command = candidate_command("judge", str(results))
    environment = bare_environment(folder) | _interpreted(interpret)
    ended = await stream(command, folder, environment, lines.append, inherit=False)
    found = [line for line in lines if line.startswith('{"faults":')]
    if ended.returncode != 0 or not found:
        tail = "\n".join(lines[-15:])
        raise KernelFault(
            f"the judge of the reply ended with code {ended.returncode}:\n{tail}",
            "`rooflift verify` runs the reference on the same cases; `rooflift doctor` checks torch and the GPU.",
        )
    return msgspec.json.decode(found[-1], type=Judgement)


def _interpreted(interpret: bool) -> dict[str, str]:
    return {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""} if interpret else {}


def _in_words(fault: Fault) -> str:
    remedy = REMEDIES[fault.gate]
    if fault.mismatch is None:
        return f"{fault.gate}: {fault.what}. {remedy}"
    said, closer = describe(fault.mismatch)
    return f"{fault.gate}: {said}. {closer if fault.gate == 'correctness' else remedy}"

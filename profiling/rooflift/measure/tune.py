"""A version tried in many configurations: compiled side by side, checked and timed in batches, the best profiled.

Each batch is compiled without the GPU first; what fits is checked and timed in one process, in rounds that hold the
version as it stands, too, by which batches are compared. A finished batch is kept in the checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from rooflift.analysis.search import Method, Search
from rooflift.measure.checkpoint import Checkpoint
from rooflift.measure.children import Progress, in_turn, staged
from rooflift.measure.configurations import Batch, compile_batch, plan_of, time_batch
from rooflift.measure.request import Request
from rooflift.measure.session import MetricRequest, Profiled, profile_staged
from rooflift.process import run_to_end
from rooflift.project.cases import Case
from rooflift.project.space import AS_IT_STANDS, Configuration, Space, label
from rooflift.schema import Sampling

SAMPLES = 15  # rounds of a batch: enough to tell which configurations are worth more of them
LAST_SAMPLES = 100  # rounds of the best ones
BATCH, WALK_BATCH = 16, 64  # configurations that a search, or a walk with a budget, asks for at once


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be tried."""

    space: Space
    method: Method
    evaluations: int
    budget_s: float | None  # no batch of a case begins after it
    best: int  # configurations that are timed again, and profiled


@dataclass(frozen=True, slots=True)
class Tuned:
    """One case and dtype: the batches in order, and the best of them timed once more in the same rounds."""

    case: Case
    batches: list[Batch]
    last: Batch | None  # None: nothing fits


def tune_case(
    request: Request,
    case: Case,
    wish: Wish,
    target: int,
    sampling: Sampling,
    progress: Progress,
    checkpoint: Checkpoint,
) -> Tuned:
    """Try the configurations of a space on one case and dtype, and time the best of them once more.

    Raises:
        KernelFault: the version as it stands does not run or is wrong, or nothing that was tried fits.
        EnvironmentFault: the search needs a package that is not installed.
    """
    search = Search(wish.space, wish.method, sampling.seed)
    batches: list[Batch] = []
    figures: dict[str, float] = {}
    done, spent_s = 0, 0.0
    while done < wish.evaluations and (wish.budget_s is None or not done or spent_s < wish.budget_s):
        count = BATCH if wish.method != "all" else WALK_BATCH if wish.budget_s else wish.evaluations
        asked = search.ask(min(count, wish.evaluations - done))
        if not asked:
            break
        told = _counted(progress, f"{case.name} {case.dtype}, {done} of {wish.evaluations} tried")

        def attempt(asked: Sequence[Configuration] = asked, told: Progress = told) -> Batch:
            return _try(request, case, asked, target, _rounds(sampling, SAMPLES), told)

        batch = _kept(checkpoint, f"{case.name}-{case.dtype}-{len(batches)}", attempt)
        batches.append(batch)
        own = batch.figures()
        for one in asked:
            search.tell(one, own.get(label(one)))
        figures |= own
        done, spent_s = done + len(asked), spent_s + batch.seconds
    if not figures:
        return Tuned(case, batches, None)
    best = sorted(figures, key=figures.__getitem__)[: wish.best]
    every = {label(one): one for batch in batches for one in batch.configurations}
    told = _counted(progress, f"{case.name} {case.dtype}, the best {len(best)}")

    def again() -> Batch:
        return time_batch(request, case, [every[name] for name in best], _rounds(sampling, LAST_SAMPLES), told)

    return Tuned(case, batches, _kept(checkpoint, f"{case.name}-{case.dtype}-last", again))


def profile_best(
    request: Request, tuned: Sequence[Tuned], wanted: MetricRequest, progress: Progress, checkpoint: Checkpoint
) -> Profiled | None:
    """Profile the best configurations of every case, and the version as it stands, in one ncu process.

    Raises:
        NcuFault: ncu is missing or failed; CounterPermission when it was refused the performance counters.
    """
    found = checkpoint.load("metrics", Profiled) if wanted.report.exists() else None
    if found is not None:
        return found
    chosen = {label(one): one for each in tuned if each.last for one in each.last.configurations}
    work = [each.case for each in tuned if each.last]
    if not work:
        return None
    plan = plan_of(request, work, {AS_IT_STANDS: {}, **chosen}, profiled=work)

    async def profile() -> None:
        nonlocal found
        found = await profile_staged(stage, wanted, progress, None)

    with staged(request.operator, request.versions, plan) as stage:
        run_to_end(in_turn([[profile]], request.timeout_s))
    checkpoint.save("metrics", found)
    return found


def _try(
    request: Request,
    case: Case,
    configurations: Sequence[Configuration],
    target: int,
    sampling: Sampling,
    progress: Progress,
) -> Batch:
    """Compile a batch, and check and time what fits."""
    began = time.monotonic()
    batch = compile_batch(request, case, configurations, target, progress)
    unfit = {one.version for one in batch.unfit}
    fitting = [one for one in configurations if label(one) not in unfit]
    if fitting:
        timed = time_batch(request, case, fitting, sampling, progress)
        batch.samples, batch.machine_code, batch.device = timed.samples, timed.machine_code, timed.device
        batch.unfit = [*batch.unfit, *timed.unfit]
    batch.seconds = time.monotonic() - began
    return batch


def _rounds(sampling: Sampling, samples: int) -> Sampling:
    return msgspec.structs.replace(sampling, samples=samples)


def _counted(progress: Progress, front: str) -> Progress:
    return lambda text: progress(f"{front}: {text}")


def _kept(checkpoint: Checkpoint, name: str, make: Callable[[], Batch]) -> Batch:
    """Return a finished batch of an interrupted search, or make it and keep it."""
    found = checkpoint.load(name, Batch)
    if found is None:
        found = make()
        checkpoint.save(name, found)
    return found

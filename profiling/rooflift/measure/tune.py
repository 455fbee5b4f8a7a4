"""A version tried in many configurations: compiled side by side, checked and timed in batches, the best profiled.

Each batch is compiled without the GPU first; what fits is checked and timed in one process, in rounds that hold the
version as it stands, too, by which batches are compared. A finished batch is kept in the checkpoint.
"""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import msgspec

from rooflift.analysis.search import Method, Search
from rooflift.errors import CatalogError, KernelFault
from rooflift.measure.checkpoint import Checkpoint
from rooflift.measure.children import Job, Measurement, Progress, in_turn, run_worker, staged
from rooflift.measure.request import Request
from rooflift.measure.session import MetricRequest, Profiled, profile_staged
from rooflift.process import run_to_end
from rooflift.project.cases import Case
from rooflift.project.space import AS_IT_STANDS, Configuration, Space, label, listed_space
from rooflift.schema import CompiledKernel, MachineCode, Sampling
from rooflift.worker.protocol import Device, Plan, Samples, Task, Unfit

SAMPLES = 15  # rounds of a batch: enough to tell which configurations are worth more of them
LAST_SAMPLES = 100  # rounds of the best ones
BATCH, WALK_BATCH = 16, 64  # configurations that a search, or a walk with a budget, asks for at once
A_PROCESS = 4  # configurations that pay for the imports of one more process that compiles


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be tried."""

    space: Space
    method: Method
    evaluations: int
    budget_s: float | None  # no batch of a case begins after it
    best: int  # configurations that are timed again, and profiled


class Batch(msgspec.Struct):
    """What became of some configurations on one case and dtype; of a last batch they are the best of all others."""

    configurations: list[dict[str, bool | int | float | str]]
    compiled: list[CompiledKernel] = []
    unfit: list[Unfit] = []
    samples: list[Samples] = []
    machine_code: list[MachineCode] = []
    device: Device | None = None
    seconds: float = 0.0

    def figures(self) -> dict[str, float]:
        """Return the median time of each configuration in units of the version as it stands."""
        medians = {one.provider: statistics.median(one.times_us) for one in self.samples}
        return {name: median / medians[AS_IT_STANDS] for name, median in medians.items() if name != AS_IT_STANDS}


@dataclass(frozen=True, slots=True)
class Tuned:
    """One case and dtype: the batches in order, and the best of them timed once more in the same rounds."""

    case: Case
    batches: list[Batch]
    last: Batch | None  # None: nothing fits


def autotuned_space(request: Request, case: Case, target: int, progress: Progress) -> Space:
    """Return the configurations of the version's autotuned kernels on a case; of several kernels all combinations.

    Raises:
        CatalogError: it launches no autotuned kernel there.
        KernelFault: it does not compile.
    """
    progress("looking for the version's @triton.autotune")
    seen = _worker(request, "configurations", case, {request.versions[0].name: {}}, target, progress)
    kernels = {one.kernel: one.configurations for one in seen.autotuned}
    name = request.versions[0].name
    if not kernels:
        raise CatalogError(
            f"{name} launches no kernel with @triton.autotune on {case.name} {case.dtype}",
            "Say what to try: --set NAME=64,128 for each parameter, such as --set num_warps=4,8 --set num_stages=2..5.",
        )
    every: list[Configuration] = [{}]
    for kernel, configurations in kernels.items():
        front = f"{kernel}." if len(kernels) > 1 else ""
        own = [{f"{front}{key}": value for key, value in one.items()} for one in configurations]
        every = [{**one, **other} for one in every for other in own]
    return listed_space(every)


def compile_batch(
    request: Request, case: Case, configurations: Sequence[Configuration], target: int, progress: Progress
) -> Batch:
    """Compile configurations for one case, side by side and without a GPU.

    Raises:
        KernelFault: a process that compiles ended early.
    """
    named = {label(one): one for one in configurations}
    seen = _worker(request, "fit", case, named, target, progress)
    known = {kernel.version for kernel in seen.compiled} | {one.version for one in seen.unfit}
    if not known.issuperset(named):
        raise KernelFault(f"{len(named.keys() - known)} configurations were not compiled", "Run the command once more.")
    return Batch([dict(one) for one in configurations], seen.compiled, seen.unfit)


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
        return _time(request, case, [every[name] for name in best], _rounds(sampling, LAST_SAMPLES), told)

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
    plan = _plan(request, work, {AS_IT_STANDS: {}, **chosen}, profiled=work)

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
        timed = _time(request, case, fitting, sampling, progress)
        batch.samples, batch.machine_code, batch.device = timed.samples, timed.machine_code, timed.device
        batch.unfit = [*batch.unfit, *timed.unfit]
    batch.seconds = time.monotonic() - began
    return batch


def _time(
    request: Request, case: Case, configurations: Sequence[Configuration], sampling: Sampling, progress: Progress
) -> Batch:
    """Check and time configurations and the version as it stands, in another process where one ended early."""
    named: dict[str, Configuration] = {AS_IT_STANDS: {}, **{label(one): one for one in configurations}}
    seen = Measurement()
    left = dict(named)
    while left:
        before = len(seen.unfit)
        seen.samples, seen.machine_code = [], []  # times of two processes are never put together
        try:
            _worker(request, "tune", case, left, None, progress, seen, sampling)
        except KernelFault:
            if len(seen.unfit) == before:
                raise
        own = [one for one in seen.unfit if one.version == AS_IT_STANDS]
        if own:
            raise KernelFault(
                f"{request.versions[0].name} as it stands is not fit on {case.name} {case.dtype}: {own[0].reason}",
                f"`rooflift verify {request.operator.label} -v {request.versions[0].name}` says more.",
            )
        unfit = {one.version for one in seen.unfit}
        left = {name: one for name, one in named.items() if name not in unfit}
        if {one.provider for one in seen.samples} >= left.keys():
            break
    return Batch([dict(one) for one in configurations], [], seen.unfit, seen.samples, seen.machine_code, seen.device)


def _worker(
    request: Request,
    task: Task,
    case: Case,
    named: Mapping[str, Configuration],
    target: int | None,
    progress: Progress,
    seen: Measurement | None = None,
    sampling: Sampling | None = None,
) -> Measurement:
    """Run the child for some configurations, `fit` by several processes, and return what they said."""
    found = seen or Measurement()
    count = min(os.cpu_count() or 1, math.ceil(len(named) / A_PROCESS)) if task == "fit" else 1
    plan = _plan(request, [case], named, targets=[target] if target else [], sampling=sampling)
    with staged(request.operator, request.versions, plan) as stage:
        jobs: list[Job] = [
            partial(run_worker, stage, task, {}, found, progress, f"{index}/{count}") for index in range(count)
        ]
        run_to_end(in_turn([jobs], request.timeout_s))
    return found


def _plan(request: Request, work: Sequence[Case], named: Mapping[str, Configuration], **fields: object) -> Plan:
    file = f"{request.versions[0].name}.py"
    plan = Plan(
        work=list(work),
        versions=dict.fromkeys(named, file),
        configurations={name: dict(one) for name, one in named.items()},
        options=request.options,
    )
    return msgspec.structs.replace(plan, **fields)


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

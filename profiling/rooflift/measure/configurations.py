"""The children that find, compile, check and time configurations of a version; one that ends its child is named."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Mapping, Sequence
from functools import partial

import msgspec

from rooflift.errors import CatalogError, KernelFault
from rooflift.measure.children import Job, Measurement, Progress, in_turn, run_worker, staged
from rooflift.measure.request import Request
from rooflift.process import run_to_end
from rooflift.project.cases import Case
from rooflift.project.space import AS_IT_STANDS, Configuration, Space, label, listed_space
from rooflift.schema import CompiledKernel, MachineCode, Sampling
from rooflift.worker.protocol import Device, Plan, Samples, Task, Unfit, UnfitStage

A_PROCESS = 4  # configurations that pay for the imports of one more process that compiles
KEPT = 300  # characters of why a child ended


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
    """Compile configurations for one case, side by side and without a GPU; one that ends the compiler is left out.

    Raises:
        KernelFault: a process ended early, and no configuration is the one that it was at.
    """
    left = {label(one): one for one in configurations}
    found = Batch([dict(one) for one in configurations])
    while left:
        seen = _worker(request, "fit", case, left, target, progress)
        known = {kernel.version for kernel in seen.compiled} | {one.version for one in seen.unfit}
        _require_progress(request, known)
        found.compiled += seen.compiled
        found.unfit += seen.unfit
        left = {name: one for name, one in left.items() if name not in known}
    return found


def time_batch(
    request: Request, case: Case, configurations: Sequence[Configuration], sampling: Sampling, progress: Progress
) -> Batch:
    """Check and time configurations and the version as it stands, in another process where one ended early.

    Raises:
        KernelFault: the version as it stands does not run or is wrong.
    """
    left: dict[str, Configuration] = {AS_IT_STANDS: {}, **{label(one): one for one in configurations}}
    found = Batch([dict(one) for one in configurations])
    while True:
        seen = _worker(request, "tune", case, left, None, progress, sampling)
        own = [one for one in seen.unfit if one.version == AS_IT_STANDS]
        if own:
            raise KernelFault(
                f"{request.versions[0].name} as it stands is not fit on {case.name} {case.dtype}: {own[0].reason}",
                f"`rooflift verify {request.operator.label} -v {request.versions[0].name}` says more.",
            )
        found.unfit += seen.unfit
        unfit = {one.version for one in seen.unfit}
        left = {name: one for name, one in left.items() if name not in unfit}
        if {one.provider for one in seen.samples} >= left.keys():  # times of two processes are never put together
            found.samples, found.machine_code, found.device = seen.samples, seen.machine_code, seen.device
            return found
        _require_progress(request, unfit)


def _require_progress(request: Request, settled: set[str]) -> None:
    if not settled:
        raise KernelFault(
            f"the program that tries configurations of {request.versions[0].name} ended before it was done",
            "A kernel file must not end its process.",
        )


def _worker(
    request: Request,
    task: Task,
    case: Case,
    named: Mapping[str, Configuration],
    target: int | None,
    progress: Progress,
    sampling: Sampling | None = None,
) -> Measurement:
    """Run the child for some configurations, `fit` by several processes, and return what they said.

    A child that ended early did so at a configuration, which is unfit; what others said is not lost for it.
    """
    count = min(os.cpu_count() or 1, math.ceil(len(named) / A_PROCESS)) if task == "fit" else 1
    plan = plan_of(request, [case], named, targets=[target] if target else [], sampling=sampling)
    parts = [Measurement() for _ in range(count)]

    async def run(index: int) -> None:
        own = parts[index]
        try:
            await run_worker(stage, task, {}, own, progress, f"{index}/{count}")
        except KernelFault as fault:
            if own.trying in ("", AS_IT_STANDS) and not own.unfit:
                raise
            if own.trying and own.trying not in {one.version for one in own.unfit}:
                why = " ".join(fault.message.split())[:KEPT]
                at: UnfitStage = "compile" if task == "fit" else "run"
                own.unfit.append(Unfit(own.trying, case.name, case.dtype, at, why))

    with staged(request.operator, request.versions, plan) as stage:
        jobs: list[Job] = [partial(run, index) for index in range(count)]
        run_to_end(in_turn([jobs], request.timeout_s))
    found = parts[0]
    for own in parts[1:]:
        found.compiled += own.compiled
        found.unfit += own.unfit
    return found


def plan_of(request: Request, work: Sequence[Case], named: Mapping[str, Configuration], **fields: object) -> Plan:
    """Return a plan whose versions are configurations of the request's version, by their names."""
    file = f"{request.versions[0].name}.py"
    plan = Plan(
        work=list(work),
        versions=dict.fromkeys(named, file),
        configurations={name: dict(one) for name, one in named.items()},
        options=request.options,
    )
    return msgspec.structs.replace(plan, **fields)

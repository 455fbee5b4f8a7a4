"""Versions compared with the reference by the worker's program: on the GPU or in Triton's interpreter, dealt out."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from rooflift.measure.children import Job, Measurement, Progress, in_turn, run_worker, staged
from rooflift.measure.faults import interpreter_gap
from rooflift.measure.request import Request, in_dtypes
from rooflift.process import run_to_end
from rooflift.project.cases import Case
from rooflift.schema import CheckRecord
from rooflift.worker.protocol import Plan

MUCH = 16  # kernels, 1 to 5 s of compilation each: from here on more processes save more than their start costs
MOST_PROCESSES = 8
FEW = 8  # comparisons in the interpreter, a second or less each: for more of them the imports of one more process pay


def verify(request: Request, cases: Sequence[Case], interpret: bool, progress: Progress) -> list[CheckRecord]:
    """Compare versions with the reference, on the GPU or in Triton's interpreter.

    Raises:
        KernelFault, WrongResult: as `rooflift.measure.session.measure`.
        InterpreterGap: after all else was compared, where the interpreter lacks what a version needs.
    """
    seen = Measurement()
    with checking(request, cases, interpret, seen, progress, os.cpu_count() or 1) as jobs:
        run_to_end(in_turn([jobs], request.timeout_s))
    if seen.gaps:
        raise interpreter_gap(seen.gaps, len(seen.checks))
    return in_order(seen.checks, in_dtypes(cases, request.dtypes))


@contextmanager
def checking(
    request: Request, cases: Sequence[Case], interpret: bool, seen: Measurement, progress: Progress, cores: int
) -> Iterator[list[Job]]:
    """Yield the jobs that compare versions with the reference, some cases each; `seen` takes what they find."""
    work = in_dtypes(cases, request.dtypes)
    versions = len(request.versions) + (request.dispatch is not None)
    processes = checking_processes(len(work), versions, cores) or min(1, len(work))
    if interpret:
        processes = min(cores, len(work), math.ceil(len(work) * versions / FEW))
    environment = {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""} if interpret else {}
    counted = with_count(seen, len(work) * versions * request.options.seeds, progress)
    plan = Plan(work=work, options=request.options, dispatch=dispatch_file(request))
    with staged(request.operator, request.versions, plan) as stage:
        yield [
            partial(run_worker, stage, "check", environment, seen, counted, f"{index}/{processes}")
            for index in range(processes)
        ]


def with_count(seen: Measurement, total: int, progress: Progress) -> Progress:
    """Return a progress that begins with how many comparisons are done."""
    return lambda text: progress(f"checked {len(seen.checks)} of {total}, {text}")


def in_order(checks: list[CheckRecord], work: Sequence[Case]) -> list[CheckRecord]:
    """Return checks in the order of the work; seeds and versions of a case stay as they came."""
    order = {(case.name, case.dtype): place for place, case in enumerate(work)}
    return sorted(checks, key=lambda check: order.get((check.case, check.dtype), 0))


def checking_processes(cases: int, versions: int, cores: int) -> int:
    """Return how many processes check before timing and profiling begin; 0: the one that times checks for itself.

    Each core of a pair compiles, at most `MOST_PROCESSES` of them: they hold inputs and outputs of a case each.
    """
    processes = min(MOST_PROCESSES, cores // 2, cases)
    return processes if processes > 1 and cases * versions >= MUCH else 0


def dispatch_file(request: Request) -> str:
    """Return the name of the dispatch's file in the stage, "" for none."""
    return request.dispatch.name if request.dispatch is not None else ""

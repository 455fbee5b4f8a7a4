"""What needs no GPU: versions checked in Triton's interpreter and compiled, by children side by side."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import msgspec

from rooflift.measure import checking, compiled
from rooflift.measure.children import Job, Measurement, Progress, in_turn
from rooflift.measure.faults import gap_lines
from rooflift.measure.request import Request
from rooflift.process import run_to_end
from rooflift.runs.run import to_frame
from rooflift.schema import CheckRecord, CompiledKernel

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Offline:
    """What came of versions without a GPU."""

    checks: list[CheckRecord]  # one comparison with the reference a version, test case and dtype
    compiled: pd.DataFrame  # a row a kernel, columns as CompiledKernel
    gaps: list[str] = field(default_factory=list)  # versions that the interpreter could not run, and what it lacks
    left_out: int = 0  # versions of the operator that were neither checked nor compiled


def check_and_compile(requests: Sequence[Request], targets: Sequence[int], progress: Progress) -> Offline:
    """Check the requests' versions on their operators' test cases with one seed, and compile them for the targets.

    All requests run side by side and share the cores. A version of a ladder is named with it: large_filter/v0_tensor.

    Raises:
        KernelFault: a version does not compile or run, or the time limit of the first request is over.
        WrongResult: a version differs from the reference.
        EnvironmentFault: triton or cuobjdump is missing.
    """
    import pandas as pd

    cores = max(1, (os.cpu_count() or 1) // len(requests))
    jobs: list[Job] = []
    with ExitStack() as stack:
        every = [(request, Measurement()) for request in requests]
        for request, seen in every:
            once = replace(request, options=msgspec.structs.replace(request.options, seeds=1))
            tests = request.operator.select_cases([], "test")
            jobs += stack.enter_context(compiled.compiling(request, targets, seen, progress, cores))
            jobs += stack.enter_context(checking.checking(once, tests, True, seen, progress, cores))
        run_to_end(in_turn([jobs], requests[0].timeout_s))
    checks = [msgspec.structs.replace(c, version=_named(r, c.version)) for r, seen in every for c in seen.checks]
    frames = [(r, to_frame(compiled.in_order(seen.compiled, r), CompiledKernel)) for r, seen in every]
    named = [frame.assign(version=[_named(r, name) for name in frame["version"]]) for r, frame in frames]
    gaps = [msgspec.structs.replace(g, version=_named(r, g.version)) for r, seen in every for g in seen.gaps]
    return Offline(checks, pd.concat(named, ignore_index=True), gap_lines(gaps))


def _named(request: Request, version: str) -> str:
    return f"{request.operator.ladder}/{version}" if request.operator.ladder else version

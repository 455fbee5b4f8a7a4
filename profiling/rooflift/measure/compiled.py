"""A request compiled without a GPU: its versions, cases and dtypes for several targets, by children side by side."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from rooflift.errors import KernelFault
from rooflift.measure.children import Job, Measurement, Progress, in_turn, run_worker, staged
from rooflift.measure.request import Request
from rooflift.process import run_to_end
from rooflift.project.gpus import spec_for_target
from rooflift.runs.run import to_frame
from rooflift.schema import CompiledKernel, CompiledRow
from rooflift.worker.protocol import Plan

if TYPE_CHECKING:
    import pandas as pd

Listing = list[tuple[str, int, int, str]]


def compile_kernels(request: Request, targets: Sequence[int], progress: Progress) -> list[CompiledKernel]:
    """Compile the versions for targets (89, 90, ...): the cases and dtypes that ncu would profile.

    Raises:
        KernelFault: a version does not compile, or none launches a Triton kernel.
        CatalogError: a target has no GPU spec, or a case has a dtype that torch lacks.
        EnvironmentFault: triton or cuobjdump is missing.
    """
    found = compiled_or_none(request, targets, progress)
    if not found:
        raise KernelFault(
            f"{request.operator.label}: no Triton kernel is launched, so there is nothing to compile",
            "`rooflift verify` and `rooflift profile` take versions in plain torch and in CUDA C++.",
        )
    return found


def compiled_or_none(request: Request, targets: Sequence[int], progress: Progress) -> list[CompiledKernel]:
    """Return what `compile_kernels` does, no kernels where none is launched: versions in plain torch, in CUDA C++."""
    seen = Measurement()
    with compiling(request, targets, seen, progress, os.cpu_count() or 1) as jobs:
        run_to_end(in_turn([jobs], request.timeout_s))
    return in_order(seen.compiled, request)


def list_instructions(request: Request, target: int, progress: Progress) -> list[tuple[CompiledKernel, Listing]]:
    """Compile the versions for one target; return each kernel with its instructions: file, line, offset and SASS.

    Raises:
        KernelFault: a version does not compile.
        CatalogError: the target has no GPU spec, or a case has a dtype that torch lacks.
        EnvironmentFault: triton or nvdisasm is missing.
    """
    seen = Measurement()
    with compiling(request, [target], seen, progress, os.cpu_count() or 1, listed=True) as jobs:
        run_to_end(in_turn([jobs], request.timeout_s))
    return list(zip(seen.compiled, seen.listings, strict=True))


@contextmanager
def compiling(
    request: Request,
    targets: Sequence[int],
    seen: Measurement,
    progress: Progress,
    cores: int,
    *,
    listed: bool = False,
) -> Iterator[list[Job]]:
    """Yield the jobs that compile versions, a part of the cases each; `seen` takes what they find.

    Raises:
        CatalogError: a target has no GPU spec; no process is started for it.
    """
    for target in targets:
        spec_for_target(target)
    work = request.profiled
    processes = max(min(cores, len(work)), 1)
    with staged(request.operator, request.versions, Plan(work=work, targets=list(targets), listed=listed)) as stage:
        yield [
            partial(run_worker, stage, "compile", {}, seen, progress, f"{index}/{processes}")
            for index in range(processes)
        ]


def in_order(kernels: Sequence[CompiledKernel], request: Request) -> list[CompiledKernel]:
    """Return kernels in the order of the request: its cases, of each its versions."""
    cases = {(case.name, case.dtype): place for place, case in enumerate(request.profiled)}
    versions = {version.name: place for place, version in enumerate(request.versions)}
    return sorted(kernels, key=lambda kernel: (cases[kernel.case, kernel.dtype], versions[kernel.version]))


def compile_tables(request: Request, targets: Sequence[int], progress: Progress) -> pd.DataFrame:
    """Return compiled kernels as the rows of compiled.csv; none of versions that launch no Triton kernel."""
    return to_rows(compiled_or_none(request, targets, progress))


def to_rows(kernels: Sequence[CompiledKernel]) -> pd.DataFrame:
    """Return compiled kernels as the rows of compiled.csv."""
    fields = CompiledRow.__struct_fields__
    return to_frame([CompiledRow(**{f: getattr(kernel, f) for f in fields}) for kernel in kernels], CompiledRow)

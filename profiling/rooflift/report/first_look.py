"""What can be said of a version before its first run: the compiler's resources and the bytes of its inputs."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from rooflift.project.cases import Case
from rooflift.project.gpus import GpuSpec
from rooflift.project.inputs import Input
from rooflift.project.stated import bytes_by_direction, flop_by_unit
from rooflift.report.advice import Advice
from rooflift.report.cells import duration
from rooflift.schema import CompiledKernel

NOTHING = "nothing is measured yet"


def first_advice(kernels: Sequence[CompiledKernel], case: Case, spec: GpuSpec, label: str) -> Advice:
    """Return advice without a percentage of anything: what the binary and the case say, and what is unknown."""
    warnings = [
        f"{one.kernel} keeps registers in local memory: {one.spill_instructions} instructions"
        for one in kernels
        if one.spill_instructions
    ]
    return Advice(
        distance=f"unknown; {NOTHING}. {work_text(case, spec)}",
        excess_traffic=NOTHING,
        bottleneck="unknown",
        evidence="; ".join(map(resources_text, kernels)) or "no Triton kernel is launched: nothing was compiled",
        verdict=f"None before a measurement: `rooflift profile {label}`, on a machine with a GPU",
        how="Look at spills, occupancy and grid; they are all that is known",
        gain="unknown",
        next_bottleneck="unknown",
        stages={},
        warnings=warnings,
        ncu_rules=[NOTHING],
    )


def resources_text(kernel: CompiledKernel) -> str:
    """Return what the compiler made of a kernel."""
    grid = " x ".join(map(str, kernel.grid))
    return (
        f"{kernel.kernel} compiled for {kernel.target}: grid {grid}, {kernel.num_warps} warps a block, "
        f"{kernel.registers} registers, {kernel.shared_bytes:,} bytes of shared memory, "
        f"{kernel.spill_instructions} spill instructions, theoretical occupancy {kernel.occupancy_pct:.0f} % "
        f"({kernel.occupancy_limit})"
    )


def work_text(case: Case, spec: GpuSpec) -> str:
    """Return the bytes and FLOP that are known without running anything, and how long the bytes alone would take.

    Stated formulas are used where there are some; else the tensors among the inputs count, and no result.
    """
    flop = sum(flop_by_unit(case.flop, case.names, case.dtype, allow_tf32=case.allow_tf32).values())
    stated = sum(bytes_by_direction(case.bytes, case.names, case.dtype).values())
    moved = stated or input_bytes(case)
    parts = []
    if moved:
        what = "bytes as stated" if stated else "bytes of inputs alone"
        rate = spec.dram_bytes_per_s
        parts.append(f"{moved:,} {what}, {duration(moved / rate * 1e6)} at the published {rate / 1e9:.0f} GB/s")
    parts.append(f"{flop:,} FLOP as stated" if flop else "FLOP not stated, counted by `rooflift profile`")
    return f"{case.name} in {case.dtype}, estimated: {'; '.join(parts)}"


def input_bytes(case: Case) -> int:
    """Return the bytes of the tensors among a case's inputs; 0 where reference.py makes them."""
    return sum(_bytes(entry, case.dtype) for entry in case.inputs or ())


def _bytes(entry: list[int] | Input, dtype: str) -> int:
    if isinstance(entry, list):
        return math.prod(entry) * _size(dtype)
    if entry.items is not None:
        return sum(_bytes(item, dtype) for item in entry.items)
    return math.prod(entry.shape) * _size(entry.dtype or dtype) if entry.shape is not None else 0


def _size(dtype: str) -> int:
    """Return the bytes of an element: float8_e4m3fn has 1, bfloat16 has 2."""
    bits = re.search(r"\d+", dtype)
    return int(bits[0]) // 8 if bits else 1

"""Theoretical occupancy by NVIDIA's rules, from a GPU's spec and a kernel's resources; compiles nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rooflift.project.gpus import GpuSpec

Limit = Literal["warps", "blocks", "registers", "shared memory"]

# NVIDIA's occupancy calculator, the rows of compute capability 8.0 to 10.0
REGISTER_UNIT_PER_WARP = 256  # 8 registers x 32 threads
WARP_UNIT = 4  # a register file serves warps in fours, one for each quarter of the SM
SHARED_UNIT_BYTES = 128
SHARED_BYTES_OF_DRIVER = 1024  # reserved in every block


@dataclass(frozen=True, slots=True)
class Occupancy:
    """Resident blocks and warps of one SM, `pct` of its most warps, and the resource that ends first (`limit`)."""

    blocks_per_sm: int
    warps_per_sm: int
    pct: float
    limit: Limit


def theoretical_occupancy(
    spec: GpuSpec, *, threads_per_block: int, registers_per_thread: int, shared_bytes_per_block: int
) -> Occupancy:
    """Return how many blocks of a kernel fit on one SM at the largest shared-memory carve-out; 0 when none does.

    `shared_bytes_per_block` is without the 1 KiB that the driver adds. Of limits that end together the first of warps,
    blocks, registers, shared memory is named. Rules: NVIDIA's occupancy calculator (cuda_occupancy.h), held against
    the curves that ncu records on an H100.
    """
    warps = _up(threads_per_block, spec.warp_size) // spec.warp_size
    registers_per_warp = _up(registers_per_thread * spec.warp_size, REGISTER_UNIT_PER_WARP)
    warps_by_registers = spec.registers_per_sm // max(registers_per_warp, 1) // WARP_UNIT * WARP_UNIT
    shared_bytes = _up(shared_bytes_per_block + SHARED_BYTES_OF_DRIVER, SHARED_UNIT_BYTES)
    fits = shared_bytes_per_block <= spec.max_shared_bytes_per_block
    blocks_by: dict[Limit, int] = {
        "warps": spec.max_warps_per_sm // warps if threads_per_block <= spec.max_threads_per_block else 0,
        "blocks": spec.max_blocks_per_sm,
        "registers": warps_by_registers // warps,
        "shared memory": spec.shared_bytes_per_sm // shared_bytes if fits else 0,
    }
    limit = min(blocks_by, key=blocks_by.__getitem__)
    resident_warps = blocks_by[limit] * warps
    return Occupancy(blocks_by[limit], resident_warps, 100 * resident_warps / spec.max_warps_per_sm, limit)


def _up(value: int, unit: int) -> int:
    return -(-value // unit) * unit

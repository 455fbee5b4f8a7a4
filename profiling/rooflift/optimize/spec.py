"""A GPU's spec as lines of a prompt, each with its source."""

from __future__ import annotations

import msgspec

from rooflift.project.gpus import GpuSpec

NOT_PUBLISHED = "not published"


class Figure(msgspec.Struct, frozen=True):
    """One line of the target's spec."""

    name: str
    value: float | str
    unit: str
    source: str


def sheet_figures(spec: GpuSpec) -> list[Figure]:
    """Return a GPU's spec as lines, each with its source; a figure that is not published says so."""
    lines = (
        ("architecture", "Architecture", 1, ""),
        ("compute_capability", "Compute capability", 1, ""),
        ("sm_count", "Number of SMs", 1, ""),
        ("dram_bytes_per_s", "Memory bandwidth", 1e9, "GB/s"),
        ("fp32_flops_per_s", "FP32 rate", 1e12, "TFLOP/s"),
        ("tf32_flops_per_s", "TF32 tensor rate, dense", 1e12, "TFLOP/s"),
        ("bf16_flops_per_s", "BF16 tensor rate, dense", 1e12, "TFLOP/s"),
        ("fp16_flops_per_s", "FP16 tensor rate, dense", 1e12, "TFLOP/s"),
        ("boost_clock_hz", "Boost clock", 1e6, "MHz"),
        ("registers_per_sm", "Registers per SM", 1, ""),
        ("max_registers_per_thread", "Most registers per thread", 1, ""),
        ("max_threads_per_block", "Most threads per block", 1, ""),
        ("max_threads_per_sm", "Most threads per SM", 1, ""),
        ("warp_size", "Warp size", 1, ""),
        ("max_warps_per_sm", "Most warps per SM", 1, ""),
        ("max_blocks_per_sm", "Most blocks per SM", 1, ""),
        ("shared_bytes_per_sm", "Shared memory per SM", 1024, "KB"),
        ("max_shared_bytes_per_block", "Most shared memory per block", 1024, "KB"),
        ("l2_bytes", "L2 cache, of all SMs", 2**20, "MB"),
    )
    found = []
    for field, name, factor, unit in lines:
        value = getattr(spec, field)
        if value is None:
            found.append(Figure(name, NOT_PUBLISHED, "", spec.source))
        else:
            shown = value if isinstance(value, str) else float(f"{value / factor:.6g}")
            found.append(Figure(name, shown, unit, spec.source_of(field)))
    return found

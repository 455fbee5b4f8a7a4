"""Measured roofs: the rates that a GPU reaches with the kernels of `roof_kernels`, timed in one process of their own.

A roof is the best median among a few configurations.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

from rooflift.dtypes import TENSOR_UNITS
from rooflift.schema import RoofRow
from rooflift.worker import protocol
from rooflift.worker.device import describe_device, gpu_state
from rooflift.worker.protocol import Measured, say

LARGEST_BYTES = 8 * 2**30  # of a DRAM buffer: 160 times the largest L2 so far
L2_SHARE = 4  # the L2 buffer is this part of L2
LEAST_MS = 2.0  # a launch takes at least this long, 400 times its overhead
WARM_UP_MS = 100.0  # the clocks settle
SAMPLES = 30
MATRIX = (8192, 8192, 16384)  # rows, columns and inner size of the product from memory

COPIES = ((1024, 4), (2048, 4), (4096, 8))  # BLOCK, warps
READS = ((2048, 4, 4), (4096, 4, 8), (4096, 8, 16))  # BLOCK, LOADS, warps
CHAINS = ((1024, 4), (2048, 8), (4096, 8))  # LANES, warps
UNROLL = 16
THREADS_PER_SM = 1024  # resident at once on every GPU since Volta
TILES = ((128, 256, 256, 8, 1), (64, 256, 128, 4, 2), (64, 64, 64, 4, 4))  # M, N, bytes of K, warps, programs per SM
MATRIX_TILE = (128, 256, 128, 8, 8)  # M, N, bytes of K, GROUP, warps
STEPS = object()


@dataclass(frozen=True, slots=True)
class Trial:
    """One configuration of a kernel; STEPS among its arguments stands for how often it repeats its work."""

    work: int  # bytes or FLOP of one step, or of the launch where nothing repeats
    kernel: Any
    programs: int
    arguments: Sequence[Any]
    constants: Mapping[str, int]
    warps: int

    @property
    def repeats(self) -> bool:
        """Tell whether the kernel takes a number of steps."""
        return any(argument is STEPS for argument in self.arguments)

    @property
    def configuration(self) -> str:
        """The kernel's name with all that the compiler was told, and the grid."""
        constants = ", ".join(f"{name} {value}" for name, value in self.constants.items())
        return f"{self.kernel.__name__}: {constants}, {self.warps} warps, {self.programs} programs"

    def launch(self, steps: int) -> None:
        """Put one launch into the queue."""
        arguments = (steps if argument is STEPS else argument for argument in self.arguments)
        self.kernel[(self.programs,)](*arguments, **self.constants, num_warps=self.warps)


@dataclass(frozen=True, slots=True)
class RoofBenchmark:
    """One roof with the configurations that compete for it."""

    name: str
    kind: Literal["bandwidth", "compute"]
    method: str
    trials: Callable[[], Iterator[Trial]]


def benchmarks() -> list[RoofBenchmark]:
    """Return the roofs to measure on this process's GPU; buffers are made when a benchmark's trials begin."""
    import torch

    gpu = torch.cuda.get_device_properties(0)
    free_bytes, _ = torch.cuda.mem_get_info()
    dram_bytes = 2 ** int(math.log2(min(LARGEST_BYTES, free_bytes // 4)))
    l2_bytes = gpu.L2_cache_size // L2_SHARE
    sms = gpu.multi_processor_count
    tensor = "tl.dot on normal random tiles that stay in shared memory, or a whole matrix product; fp32 accumulation"
    return [
        RoofBenchmark(
            "DRAM copy",
            "bandwidth",
            f"copy of {dram_bytes} bytes of random integers; bytes read and bytes written count",
            partial(_copies, dram_bytes),
        ),
        RoofBenchmark(
            "DRAM read",
            "bandwidth",
            f"sum over {dram_bytes} bytes of random integers, loads that pass L1 by (.cg)",
            partial(_reads, dram_bytes, sms),
        ),
        RoofBenchmark(
            "L2 read",
            "bandwidth",
            f"sum again and again over {l2_bytes} bytes, 1/{L2_SHARE} of L2, by all SMs, loads that pass L1 by (.cg)",
            partial(_reads, l2_bytes, sms),
        ),
        RoofBenchmark(
            "FP32", "compute", "independent chains of FFMA in registers; 2 FLOP a multiply-add", partial(_chains, sms)
        ),
        *(
            RoofBenchmark(name, "compute", f"{tensor}; 2 FLOP a multiply-add", partial(_tensor, dtype, sms))
            for dtype, name in TENSOR_UNITS.items()
        ),
    ]


def _copies(nbytes: int) -> Iterator[Trial]:
    import torch

    from rooflift.worker.roof_kernels import copy

    source = torch.empty(nbytes // 4, dtype=torch.int32, device="cuda").random_()
    target = torch.empty_like(source)
    for block, warps in COPIES:
        yield Trial(2 * nbytes, copy, source.numel() // block, (source, target), {"BLOCK": block}, warps)


def _reads(nbytes: int, sms: int) -> Iterator[Trial]:
    import torch

    from rooflift.worker.roof_kernels import read

    source = torch.empty(nbytes // 4, dtype=torch.int32, device="cuda").random_()
    for block, loads, warps in READS:
        programs = _programs(sms, warps)
        sums = torch.empty(programs, dtype=torch.int32, device="cuda")
        arguments = (source, sums, STEPS, source.numel() // block)
        yield Trial(4 * block * loads * programs, read, programs, arguments, {"BLOCK": block, "LOADS": loads}, warps)


def _chains(sms: int) -> Iterator[Trial]:
    import torch

    from rooflift.worker.roof_kernels import multiply_add

    for lanes, warps in CHAINS:
        programs = _programs(sms, warps)
        x = torch.randn(programs * lanes, device="cuda")
        arguments = (x, torch.empty_like(x), -1.0, STEPS)  # x = b - x: new values for ever, none of which grows
        constants = {"LANES": lanes, "UNROLL": UNROLL}
        yield Trial(2 * lanes * UNROLL * programs, multiply_add, programs, arguments, constants, warps)


def _tensor(dtype_name: str, sms: int) -> Iterator[Trial]:
    import torch

    from rooflift.worker.roof_kernels import matrix_product, tile_product

    dtype = getattr(torch, dtype_name)
    rows, columns, inner = MATRIX
    a = torch.randn(rows, inner, device="cuda", dtype=dtype)
    b = torch.randn(columns, inner, device="cuda", dtype=dtype)
    for m, n, depth_bytes, warps, programs_per_sm in TILES:
        k, programs = depth_bytes // dtype.itemsize, programs_per_sm * sms
        sums = torch.empty(programs * m, device="cuda")
        constants = {"M": m, "N": n, "K": k}
        yield Trial(2 * m * n * k * programs, tile_product, programs, (a, b, sums, STEPS), constants, warps)
    m, n, depth_bytes, group, warps = MATRIX_TILE
    product = torch.empty(rows, columns, device="cuda", dtype=dtype)
    constants = {"M": m, "N": n, "K": depth_bytes // dtype.itemsize, "GROUP": group}
    arguments = (a, b, product, columns, inner)
    yield Trial(2 * rows * columns * inner, matrix_product, rows // m * (columns // n), arguments, constants, warps)


def _programs(sms: int, warps: int) -> int:
    """Return as many programs as all SMs hold at once."""
    return sms * THREADS_PER_SM // (32 * warps)


class Timed(NamedTuple):
    """Bytes or FLOP of a launch, the times of the samples in microseconds, and the clocks around them."""

    work: int
    times_us: list[float]
    before_mhz: list[int]
    after_mhz: list[int]


def time_trial(trial: Trial) -> Timed:
    """Time `SAMPLES` launches of one configuration, compiled and warm.

    Raises triton's OutOfResources where the GPU has too little shared memory or registers for the configuration.
    """
    steps = 16 if trial.repeats else 1
    trial.launch(steps)  # compiles
    (time_ms,) = _times_ms(trial, steps, 1)
    while trial.repeats and time_ms < LEAST_MS:
        steps = math.ceil(steps * min(1.5 * LEAST_MS / time_ms, 64))
        (time_ms,) = _times_ms(trial, steps, 1)
    _times_ms(trial, steps, math.ceil(WARM_UP_MS / time_ms))
    before_mhz = _clocks_mhz()
    times_us = [1e3 * time_ms for time_ms in _times_ms(trial, steps, SAMPLES)]
    return Timed(trial.work * steps, times_us, before_mhz, _clocks_mhz())


def _times_ms(trial: Trial, steps: int, count: int) -> list[float]:
    """Time `count` launches that follow each other without a gap."""
    import torch

    marks = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
    marks[0].record()
    for mark in marks[1:]:
        trial.launch(steps)
        mark.record()
    torch.cuda.synchronize()
    return [begin.elapsed_time(end) for begin, end in itertools.pairwise(marks)]


def measure_roof(benchmark: RoofBenchmark) -> RoofRow:
    """Time the configurations of one roof and return the row of the best."""
    from triton.runtime.errors import OutOfResources

    rows = []
    for trial in benchmark.trials():
        try:
            rows.append(roof_row(benchmark, trial.configuration, time_trial(trial)))
        except OutOfResources:  # a tile for a larger GPU
            continue
    return max(rows, key=lambda row: row.per_s)


def roof_row(benchmark: RoofBenchmark, configuration: str, timed: Timed) -> RoofRow:
    """Return the rate of one configuration: its work over the median time, with the rates of the quantiles."""
    import numpy as np

    fast, middle, slow = (timed.work / float(time_us) * 1e6 for time_us in np.quantile(timed.times_us, [0.2, 0.5, 0.8]))
    return RoofRow(
        name=benchmark.name,
        kind=benchmark.kind,
        per_s=middle,
        q20_per_s=slow,
        q80_per_s=fast,
        unit="byte/s" if benchmark.kind == "bandwidth" else "FLOP/s",
        method=benchmark.method,
        configuration=configuration,
        work=timed.work,
        clocks_before_mhz=timed.before_mhz,
        clocks_after_mhz=timed.after_mhz,
        times_us=[round(time_us, 3) for time_us in timed.times_us],
    )


def _clocks_mhz() -> list[int]:
    """Return the clocks of SM and memory as NVML sees them, [] where it tells none."""
    state = gpu_state("", "", "during")
    return [clock for clock in (state.sm_mhz, state.memory_mhz) if clock is not None]


def run() -> None:
    """Measure every roof and say so."""
    say(describe_device())
    for benchmark in benchmarks():
        say(protocol.Doing(f"measuring {benchmark.name}"))
        say(Measured(measure_roof(benchmark)))

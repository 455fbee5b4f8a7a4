"""Measured roofs: the rates that a GPU reaches with the kernels of `roof_kernels`, timed in one process of their own.

A roof is the best median among a few configurations, of the tensor cores also among cuBLAS's products. A unit that the
GPU or its software does not have is left out.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

from rooflift.dtypes import DTYPES, FP32, FP64, SPECIAL
from rooflift.schema import RoofRow
from rooflift.worker import protocol, roof_trials
from rooflift.worker.device import describe_device, gpu_state
from rooflift.worker.protocol import Measured, say
from rooflift.worker.roof_trials import LibraryCall, Trial

LARGEST_BYTES = 8 * 2**30  # of a DRAM buffer: 160 times the largest L2 so far
L2_SHARE = 4  # the L2 buffer is this part of L2
LEAST_MS = 2.0  # a launch takes at least this long, 400 times its overhead
WARM_UP_MS = 100.0  # the clocks settle
SAMPLES = 30


@dataclass(frozen=True, slots=True)
class RoofBenchmark:
    """One roof with the configurations that compete for it."""

    name: str
    kind: Literal["bandwidth", "compute"]
    method: str
    trials: Callable[[], Iterator[Trial | LibraryCall]]
    unit: Literal["byte/s", "FLOP/s", "op/s"] = "FLOP/s"
    optional: bool = False  # not every GPU has the unit


def benchmarks() -> list[RoofBenchmark]:
    """Return the roofs to measure on this process's GPU; buffers are made when a benchmark's trials begin."""
    import torch

    gpu = torch.cuda.get_device_properties(0)
    free_bytes, _ = torch.cuda.mem_get_info()
    dram_bytes = 2 ** int(math.log2(min(LARGEST_BYTES, free_bytes // 4)))
    l2_bytes = gpu.L2_cache_size // L2_SHARE
    sms = gpu.multi_processor_count
    return [
        RoofBenchmark(
            "DRAM copy",
            "bandwidth",
            f"copy of {dram_bytes} bytes of random integers; bytes read and bytes written count",
            partial(roof_trials.copies, dram_bytes),
            "byte/s",
        ),
        RoofBenchmark(
            "DRAM read",
            "bandwidth",
            f"sum over {dram_bytes} bytes of random integers, loads that pass L1 by (.cg)",
            partial(roof_trials.reads, dram_bytes, sms),
            "byte/s",
        ),
        RoofBenchmark(
            "L2 read",
            "bandwidth",
            f"sum again and again over {l2_bytes} bytes, 1/{L2_SHARE} of L2, by all SMs, loads that pass L1 by (.cg)",
            partial(roof_trials.reads, l2_bytes, sms),
            "byte/s",
        ),
        *(
            RoofBenchmark(
                unit,
                "compute",
                f"independent chains of {opcode} in registers; 2 FLOP a multiply-add",
                partial(roof_trials.chains, dtype, sms),
            )
            for unit, opcode, dtype in ((FP32, "FFMA", "float32"), (FP64, "DFMA", "float64"))
        ),
        RoofBenchmark(
            SPECIAL,
            "compute",
            "independent chains of MUFU.EX2 in registers; an exponential is one operation",
            partial(roof_trials.exponentials, sms),
            "op/s",
        ),
        *(_tensor_benchmark(unit, dtype, sms) for unit, dtype in tensor_dtypes().items()),
    ]


def tensor_dtypes() -> dict[str, str]:
    """Return the units of the tensor cores, each with the dtype that measures it: the first of the table."""
    return {row.tensor_unit: row.name for row in reversed(DTYPES.values()) if row.tensor_unit}


def _tensor_benchmark(unit: str, dtype: str, sms: int) -> RoofBenchmark:
    sums = roof_trials.SUMS.get(dtype, "float32")
    return RoofBenchmark(
        unit,
        "compute",
        f"tl.dot on random {dtype} tiles that stay in shared memory, a whole matrix product, or cuBLAS's; "
        f"sums in {sums}; 2 operations a multiply-add",
        partial(roof_trials.products, dtype, sms),
        "op/s" if dtype == "int8" else "FLOP/s",
        optional=True,
    )


class Timed(NamedTuple):
    """Bytes or FLOP of a launch, the times of the samples in microseconds, and the clocks around them."""

    work: int
    times_us: list[float]
    before_mhz: list[int]
    after_mhz: list[int]


def time_trial(trial: Trial | LibraryCall) -> Timed:
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


def _times_ms(trial: Trial | LibraryCall, steps: int, count: int) -> list[float]:
    """Time `count` launches that follow each other without a gap."""
    import torch

    marks = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
    marks[0].record()
    for mark in marks[1:]:
        trial.launch(steps)
        mark.record()
    torch.cuda.synchronize()
    return [begin.elapsed_time(end) for begin, end in itertools.pairwise(marks)]


def measure_roof(benchmark: RoofBenchmark) -> RoofRow | None:
    """Time the configurations of one roof and return the row of the best, None where the GPU has not the unit."""
    from triton.runtime.errors import OutOfResources

    rows, faults = [], []
    for trial in benchmark.trials():
        try:
            rows.append(roof_row(benchmark, trial.configuration, time_trial(trial)))
        except OutOfResources:  # a tile for a larger GPU
            continue
        except Exception as error:  # torch and triton say in many ways that a GPU does not take a dtype
            if not benchmark.optional:
                raise
            faults.append(f"{trial.configuration}: {type(error).__name__}")
    for fault in faults:
        say(protocol.Doing(f"{benchmark.name} without {fault}"))
    return max(rows, key=lambda row: row.per_s, default=None)


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
        unit=benchmark.unit,
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
        row = measure_roof(benchmark)
        say(Measured(row) if row else protocol.Doing(f"{benchmark.name} is left out: no configuration ran"))

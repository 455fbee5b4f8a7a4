"""Run in a process of its own: every configuration of every roof once through, on a small machine without a GPU."""

import os
import time
from types import SimpleNamespace

os.environ["TRITON_INTERPRET"] = "1"

import torch

from rooflift.worker import roof_trials, roofs

GPU = SimpleNamespace(multi_processor_count=1, L2_cache_size=4 * 4096 * 4, uuid="0")


class Event:
    """A CUDA event by the clock of the host."""

    def __init__(self, **_) -> None:
        self.at = 0.0

    def record(self) -> None:
        self.at = time.perf_counter()

    def elapsed_time(self, end: "Event") -> float:
        return 1e3 * (end.at - self.at)


for maker in ("empty", "randn", "randint", "ones"):
    real = getattr(torch, maker)
    setattr(torch, maker, lambda *shape, real=real, device=None, **options: real(*shape, **options))
torch.Tensor.random_ = lambda tensor: tensor.fill_(3)  # the interpreter's sums of int32 do not wrap around
torch.cuda.get_device_properties = lambda _: GPU
torch.cuda.mem_get_info = lambda: (4 * 8192 * 4, 0)
torch.cuda.Event, torch.cuda.synchronize = Event, lambda: None
roof_trials.THREADS_PER_SM, roofs.SAMPLES, roofs.WARM_UP_MS = 256, 3, 1.0
roof_trials.MATRIX = roof_trials.MATRIX_FP64 = (32, 32, 64)
roof_trials.MATRIX_TILE = (16, 16, 32, 2, 8)
roof_trials.TILES = ((16, 16, 32, 8, 1), (16, 16, 64, 4, 2))
roof_trials.TILES_FP64 = ((16, 16, 128, 4, 1),)
roof_trials.READS = ((2048, 4, 4), (4096, 4, 8))

for benchmark in roofs.benchmarks():
    row = roofs.measure_roof(benchmark)
    assert row is not None, benchmark
    assert row.per_s > 0, row
    assert len(row.times_us) == roofs.SAMPLES, row
    assert row.name == benchmark.name
    assert row.work > 0

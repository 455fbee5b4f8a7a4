"""CUDA-event times outside ncu: subjects in turn, L2 flushed before every sample, all samples kept."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

FLUSH_BYTES = 256 * 2**20  # several times the L2 of every GPU so far
WARM_UP = 4
LEAD = 2  # the GPU is kept busy for so many times the host's own time of a call
MOST_FLUSHES = 64  # 6 ms on an H100: a host that needs longer is measured with what gaps it leaves
FEWEST_SAMPLES = 25
BUDGET_S = 3.0  # GPU time of all the subjects of a case


def time_subjects(subjects: Mapping[str, Callable[[], Any]], samples: int) -> dict[str, list[float]]:
    """Return times in microseconds for each subject, one of each a round: `samples` of them, fewer of a slow case.

    A sample lies between two events around one call, so it holds the gaps between the call's kernels, but none in
    front of them: the flush, which leaves none of the inputs in L2, also keeps the GPU busy until the host has put the
    first event, the call and the second one into the queue. Where the host is slow it is repeated.
    """
    import torch

    flush = torch.empty(FLUSH_BYTES, dtype=torch.int8, device="cuda")
    flush.zero_()
    _, flush_us = _warm(flush.zero_)
    flushes, round_us = {}, 0.0
    for name, call in subjects.items():
        call()
        torch.cuda.synchronize()
        host_us, gpu_us = _warm(call)
        flushes[name] = flush_count(host_us, flush_us)
        round_us += gpu_us + flushes[name] * flush_us
    events: dict[str, list[tuple[Any, Any]]] = {name: [] for name in subjects}
    for _ in range(sample_count(round_us, samples)):
        for name, call in subjects.items():
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            for _ in range(flushes[name]):
                flush.zero_()
            start.record()
            call()
            end.record()
            events[name].append((start, end))
    torch.cuda.synchronize()
    return {name: [start.elapsed_time(end) * 1e3 for start, end in pairs] for name, pairs in events.items()}


def _warm(call: Callable[[], Any]) -> tuple[float, float]:
    """Return the median time that the host needs to launch a call, and the GPU's mean time, both in microseconds."""
    import torch

    host_s = []
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(WARM_UP):
        began = time.perf_counter()
        call()
        host_s.append(time.perf_counter() - began)
    end.record()
    torch.cuda.synchronize()
    return 1e6 * statistics.median(host_s), 1e3 * start.elapsed_time(end) / WARM_UP


def flush_count(host_us: float, flush_us: float) -> int:
    """Return how many flushes keep the GPU busy for `LEAD` times the host's time of a call, at least one."""
    return min(max(math.ceil(LEAD * host_us / flush_us), 1), MOST_FLUSHES)


def sample_count(round_us: float, samples: int) -> int:
    """Return how many rounds of `round_us` fit into the budget: at most `samples`, at least `FEWEST_SAMPLES` of them.

    Fewer than that were asked for: then as many.
    """
    return min(samples, max(FEWEST_SAMPLES, int(1e6 * BUDGET_S / round_us)))


def copy_call(compulsory_bytes: int) -> Callable[[], Any]:
    """Return a device copy that moves `compulsory_bytes` in all, half read and half written: the floor of a case."""
    import torch

    half = max(compulsory_bytes // 2, 1)
    source = torch.empty(half, dtype=torch.int8, device="cuda").random_()
    target = torch.empty_like(source)
    return lambda: target.copy_(source)

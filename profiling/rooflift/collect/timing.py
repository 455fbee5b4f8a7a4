"""CUDA-event times outside ncu: subjects in turn, L2 flushed before every sample, all samples kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

FLUSH_BYTES = 256 * 2**20  # several times the L2 of every GPU so far; writing it also hides the launch latency
WARM_UP = 3


def time_subjects(subjects: Mapping[str, Callable[[], Any]], samples: int) -> dict[str, list[float]]:
    """Return `samples` times in microseconds for each subject, one of each a round.

    A sample lies between two events around one call, so it holds the gaps between the call's kernels. The flush in
    front keeps the GPU busy while the host launches, and leaves none of the inputs in L2.
    """
    import torch

    flush = torch.empty(FLUSH_BYTES, dtype=torch.int8, device="cuda")
    for call in subjects.values():
        for _ in range(WARM_UP):
            call()
    torch.cuda.synchronize()
    events: dict[str, list[tuple[Any, Any]]] = {name: [] for name in subjects}
    for _ in range(samples):
        for name, call in subjects.items():
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            flush.zero_()
            start.record()
            call()
            end.record()
            events[name].append((start, end))
    torch.cuda.synchronize()
    return {name: [start.elapsed_time(end) * 1e3 for start, end in pairs] for name, pairs in events.items()}


def copy_call(compulsory_bytes: int) -> Callable[[], Any]:
    """Return a device copy that moves `compulsory_bytes` in all, half read and half written: the floor of a case."""
    import torch

    half = max(compulsory_bytes // 2, 1)
    source = torch.empty(half, dtype=torch.int8, device="cuda").random_()
    target = torch.empty_like(source)
    return lambda: target.copy_(source)

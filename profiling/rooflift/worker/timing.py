"""CUDA-event times outside ncu: rounds of all providers, L2 flushed before every sample, all samples kept."""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from rooflift.schema import Sampling
from rooflift.worker.protocol import FEWEST_SAMPLES

FLUSH_BYTES = 256 * 2**20  # several times the L2 of every GPU so far
WARM_UP = 4
LEAD = 2  # the GPU is kept busy for so many times the host's own time of a call
MOST_FLUSHES = 64  # 6 ms on an H100: a host that needs longer is measured with what gaps it leaves
Z95 = 1.96  # the interval of a median that a precision speaks of holds it with 95 %

Moment = Literal["before", "during", "after"]


Key = TypeVar("Key", bound=Hashable)


class Timed(NamedTuple, Generic[Key]):
    """By provider, one figure a round: the time in microseconds, and the place of the provider in the round, from 0."""

    times_us: dict[Key, list[float]]
    positions: dict[Key, list[int]]


def time_providers(
    providers: Mapping[Key, Callable[[], Any]],
    sampling: Sampling,
    about: str,
    look: Callable[[Moment], None] = lambda _: None,
    before: Mapping[Key, Callable[[], None]] | None = None,
    after: Mapping[Key, Callable[[], None]] | None = None,
) -> Timed[Key]:
    """Time each provider once a round: `sampling.samples` rounds, fewer of a slow case.

    The order within a round is drawn anew for each, from the seed and `about`, the case's name. With a precision,
    rounds are added until the interval of every provider's median is narrow enough, or the time is over. `look` is
    called when all is warm, while the GPU works through the first rounds, and after the last one; `before` a provider's
    flush, what changes the memory that it will find, and `after` a sample, what looks at the results.

    A sample lies between two events around one call, so it holds the gaps between the call's kernels, but none in
    front of them: the flush, which leaves none of the inputs in L2, also keeps the GPU busy until the host has put the
    first event, the call and the second one into the queue. Where the host is slow it is repeated.
    """
    import torch

    flush = torch.empty(FLUSH_BYTES, dtype=torch.int8, device="cuda")
    flush.zero_()
    _, flush_us = _warm(flush.zero_)
    flushes, round_us = {}, 0.0
    for name, call in providers.items():
        call()
        torch.cuda.synchronize()
        host_us, gpu_us = _warm(call)
        flushes[name] = flush_count(host_us, flush_us)
        round_us += gpu_us + flushes[name] * flush_us
    timed: Timed[Key] = Timed({name: [] for name in providers}, {name: [] for name in providers})
    draw = random.Random(f"{sampling.seed} {about}")  # noqa: S311  # an order of measurements is no secret
    look("before")
    rounds = sample_count(round_us, sampling)
    while rounds:
        events: dict[Key, list[tuple[Any, Any]]] = {name: [] for name in providers}
        for _ in range(rounds):
            for place, name in enumerate(draw.sample(list(providers), len(providers))):
                start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
                if before and name in before:
                    before[name]()
                for _ in range(flushes[name]):
                    flush.zero_()
                start.record()
                providers[name]()
                end.record()
                if after and name in after:
                    after[name]()
                events[name].append((start, end))
                timed.positions[name].append(place)
        if not any(timed.times_us.values()):
            look("during")
        torch.cuda.synchronize()
        for name, pairs in events.items():
            timed.times_us[name] += [start.elapsed_time(end) * 1e3 for start, end in pairs]
        rounds = more_rounds(timed.times_us.values(), round_us, sampling)
    look("after")
    return timed


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


def sample_count(round_us: float, sampling: Sampling) -> int:
    """Return how many rounds of `round_us` fit into the budget: at most those asked for, at least `FEWEST_SAMPLES`.

    Fewer than that were asked for: then as many.
    """
    return min(sampling.samples, max(FEWEST_SAMPLES, int(1e6 * sampling.budget_s / round_us)))


def more_rounds(times_us: Iterable[Sequence[float]], round_us: float, sampling: Sampling) -> int:
    """Return how many rounds to add to those timed so far: 0 when they are precise enough or the budget is spent.

    The half-width of an interval shrinks with the root of the number of samples, which foretells how many are
    missing; at most as many again as there are, since the foretelling is rough.
    """
    if sampling.precision is None:
        return 0
    every = list(times_us)
    done = len(every[0])
    left = int(1e6 * sampling.budget_s / round_us) - done
    missing = math.ceil(done * ((max(map(half_width, every)) / sampling.precision) ** 2 - 1))
    return max(min(missing, done, left), 0)


def half_width(times_us: Sequence[float]) -> float:
    """Return half the width of the median's 95 % interval, relative to the median.

    The interval lies between two order statistics: as many samples as a fair coin would show heads lie below the
    median (Hollander, Wolfe and Chicken, "Nonparametric Statistical Methods", 2014, section 3.6). Infinite for fewer
    than eight samples, which hold no such two.
    """
    n = len(times_us)
    rank = math.floor(n / 2 - Z95 * math.sqrt(n) / 2) - 1  # counted from 0
    if rank < 0:
        return math.inf
    ordered = sorted(times_us)
    return (ordered[n - 1 - rank] - ordered[rank]) / 2 / statistics.median(ordered)

"""Times on a simulated GPU, a queue that the host fills and a clock: what is measured is the GPU's own work."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch

from rooflift.schema import Sampling
from rooflift.worker import timing
from rooflift.worker.protocol import BUDGET_S, FEWEST_SAMPLES
from rooflift.worker.timing import (
    MOST_FLUSHES,
    Timed,
    flush_count,
    half_width,
    more_rounds,
    sample_count,
    time_providers,
)

FLUSH_US = 95.0


class Gpu:
    """Two clocks in microseconds. Work begins when the queue is empty and the host has come to it."""

    def __init__(self) -> None:
        self.host, self.device, self.flushes = 0.0, 0.0, 0

    def enqueue(self, work_us: float, host_us: float) -> None:
        self.host += host_us
        self.device = max(self.device, self.host) + work_us

    def call(self, work_us: float, host_us: float) -> Callable[[], None]:
        return lambda: self.enqueue(work_us, host_us)

    def zero_(self) -> None:
        self.flushes += 1
        self.enqueue(FLUSH_US, 4.0)

    def synchronize(self) -> None:
        self.host = self.device = max(self.host, self.device)

    def event(self, **_: Any) -> Any:
        gpu = self

        class Event:
            at = 0.0

            def record(self) -> None:
                gpu.enqueue(0, 2.0)
                self.at = gpu.device

            def elapsed_time(self, end: Any) -> float:
                return float(end.at - self.at) / 1e3

        return Event()


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    gpu = Gpu()
    monkeypatch.setattr(torch, "empty", lambda *_, **__: gpu)
    monkeypatch.setattr(torch.cuda, "Event", gpu.event)
    monkeypatch.setattr(torch.cuda, "synchronize", gpu.synchronize)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: gpu.host / 1e6)
    return gpu


def timed(
    calls: Mapping[str, Callable[[], None]], samples: int, seed: int = 0, precision: float | None = None
) -> Timed:
    return time_providers(calls, Sampling(seed, samples, precision, BUDGET_S), "main float32")


@pytest.mark.parametrize("host_us", [5.0, 80.0, 150.0, 700.0, 2500.0])
def test_sample_holds_the_work_and_none_of_the_hosts_time(gpu: Gpu, host_us: float) -> None:
    times = timed({"small": gpu.call(3.0, host_us), "large": gpu.call(900.0, host_us)}, 30).times_us
    assert {name: len(samples) for name, samples in times.items()} == {"small": 30, "large": 30}
    assert times["small"] == [pytest.approx(3.0)] * 30
    assert times["large"] == [pytest.approx(900.0)] * 30


def test_every_sample_is_flushed_and_no_more_often_than_needed(gpu: Gpu) -> None:
    timed({"fast host": gpu.call(3.0, 10.0)}, 30)
    warm_up = gpu.flushes - 30
    assert warm_up == 1 + timing.WARM_UP
    before = gpu.flushes
    timed({"slow host": gpu.call(3.0, 150.0)}, 30)  # 300 us of lead: four flushes of 95 us
    assert gpu.flushes - before - warm_up == 4 * 30


def test_slow_case_has_fewer_samples_of_every_subject(gpu: Gpu) -> None:
    times = timed({"v0": gpu.call(80_000.0, 10.0), "v1": gpu.call(10_000.0, 10.0)}, 50).times_us
    assert {len(samples) for samples in times.values()} == {int(1e6 * BUDGET_S / (90_000 + 2 * FLUSH_US))}


@pytest.mark.parametrize(("host_us", "count"), [(0, 1), (47, 1), (48, 2), (1e9, MOST_FLUSHES)])
def test_flushes_last_for_twice_the_hosts_time_within_reason(host_us: float, count: int) -> None:
    assert flush_count(host_us, FLUSH_US) == count


@pytest.mark.parametrize(
    ("round_us", "samples", "count"), [(1.0, 50, 50), (1e9, 50, FEWEST_SAMPLES), (1e5, 50, 30), (1e9, 10, 10)]
)
def test_samples_fit_into_the_budget_and_are_never_too_few(round_us: float, samples: int, count: int) -> None:
    assert sample_count(round_us, Sampling(0, samples, None, BUDGET_S)) == count


# --- rounds


def calls_of(gpu: Gpu, names: str = "abcd") -> dict[str, Callable[[], None]]:
    return {name: gpu.call(50.0, 5.0) for name in names}


def test_each_round_holds_every_subject_once_in_an_order_of_its_own(gpu: Gpu) -> None:
    positions = timed(calls_of(gpu), 40).positions
    rounds = list(zip(*positions.values(), strict=True))
    assert {tuple(sorted(places)) for places in rounds} == {(0, 1, 2, 3)}
    assert len(set(rounds)) > 12  # of 24 orders
    for places in positions.values():  # no subject has a place of its own: it would always follow the same one
        assert set(places) == {0, 1, 2, 3}


def test_order_is_that_of_the_seed(gpu: Gpu) -> None:
    first = timed(calls_of(gpu), 30, seed=1).positions
    assert timed(calls_of(gpu), 30, seed=1).positions == first
    assert timed(calls_of(gpu), 30, seed=2).positions != first


def test_gpu_is_looked_at_before_while_and_after_the_rounds(gpu: Gpu) -> None:
    seen: list[tuple[str, bool]] = []
    sampling = Sampling(0, 30, None, BUDGET_S)
    time_providers(calls_of(gpu), sampling, "main", lambda at: seen.append((at, gpu.device > gpu.host)))
    assert seen == [("before", False), ("during", True), ("after", False)]  # and whether it has work to do


def noisy(gpu: Gpu, spread: float) -> Callable[[], None]:
    draw = random.Random(1)
    return lambda: gpu.enqueue(50.0 * (1 + spread * draw.gauss(0, 1)), 5.0)


def test_rounds_are_added_until_every_median_is_precise_enough(gpu: Gpu) -> None:
    loud = timed({"calm": noisy(gpu, 0.001), "loud": noisy(gpu, 0.05)}, 50, precision=0.005).times_us
    assert len(loud["calm"]) == len(loud["loud"]) > 100
    assert half_width(loud["loud"]) <= 0.005
    assert len(timed({"calm": noisy(gpu, 0.001)}, 50, precision=0.005).times_us["calm"]) == 50
    assert len(timed({"loud": noisy(gpu, 0.05)}, 50).times_us["loud"]) == 50


def test_precision_out_of_reach_ends_with_the_budget(gpu: Gpu) -> None:
    times = timed({"loud": noisy(gpu, 0.05)}, 50, precision=1e-6).times_us["loud"]
    assert len(times) == pytest.approx(1e6 * BUDGET_S / (50 + FLUSH_US), rel=0.05)


def test_rounds_to_add_are_bounded_by_those_done_and_by_the_budget() -> None:
    steps = [[1.0 + 0.01 * n for n in range(100)]]
    assert more_rounds(steps, 1e3, Sampling(0, 50, 1e-4, 100)) == 100
    assert more_rounds(steps, 1e3, Sampling(0, 50, 1e-4, 0.13)) == 30
    assert more_rounds(steps, 1e3, Sampling(0, 50, 1e-4, 0.05)) == 0
    assert more_rounds(steps, 1e3, Sampling(0, 50, 0.5, 100)) == 0


def test_interval_of_the_median_holds_it_as_often_as_it_says() -> None:
    draw = random.Random(3)
    held = 0
    for _ in range(2000):
        times = [draw.gauss(100, 1) for _ in range(50)]
        ordered = sorted(times)
        low, high = ordered[17], ordered[32]  # of 50 coins fewer than 18 heads, or tails, come with 3 %
        assert half_width(times) == pytest.approx((high - low) / 2 / statistics.median(times))
        held += low <= 100 <= high
    assert 0.95 < held / 2000 < 0.98


@pytest.mark.parametrize("count", [1, 7])
def test_few_samples_are_never_precise(count: int) -> None:
    assert half_width([1.0] * count) == float("inf")


def test_what_changes_the_memory_of_a_provider_comes_before_each_of_its_flushes(gpu: Gpu) -> None:
    seen: list[int] = []
    sampling = Sampling(0, 5, None, BUDGET_S)
    time_providers(calls_of(gpu), sampling, "main", before={"a": lambda: seen.append(gpu.flushes)})
    assert len(seen) == 5
    assert sorted(set(seen)) == seen

"""Times on a simulated GPU, a queue that the host fills and a clock: what is measured is the GPU's own work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from rooflift.collect import timing
from rooflift.collect.timing import BUDGET_S, FEWEST_SAMPLES, MOST_FLUSHES, flush_count, sample_count, time_subjects

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


@pytest.mark.parametrize("host_us", [5.0, 80.0, 150.0, 700.0, 2500.0])
def test_sample_holds_the_work_and_none_of_the_hosts_time(gpu: Gpu, host_us: float) -> None:
    times = time_subjects({"small": gpu.call(3.0, host_us), "large": gpu.call(900.0, host_us)}, 30)
    assert {name: len(samples) for name, samples in times.items()} == {"small": 30, "large": 30}
    assert times["small"] == [pytest.approx(3.0)] * 30
    assert times["large"] == [pytest.approx(900.0)] * 30


def test_every_sample_is_flushed_and_no_more_often_than_needed(gpu: Gpu) -> None:
    time_subjects({"fast host": gpu.call(3.0, 10.0)}, 30)
    warm_up = gpu.flushes - 30
    assert warm_up == 1 + timing.WARM_UP
    before = gpu.flushes
    time_subjects({"slow host": gpu.call(3.0, 150.0)}, 30)  # 300 us of lead: four flushes of 95 us
    assert gpu.flushes - before - warm_up == 4 * 30


def test_slow_case_has_fewer_samples_of_every_subject(gpu: Gpu) -> None:
    times = time_subjects({"v0": gpu.call(80_000.0, 10.0), "v1": gpu.call(10_000.0, 10.0)}, 50)
    assert {len(samples) for samples in times.values()} == {int(1e6 * BUDGET_S / (90_000 + 2 * FLUSH_US))}


@pytest.mark.parametrize(("host_us", "count"), [(0, 1), (47, 1), (48, 2), (1e9, MOST_FLUSHES)])
def test_flushes_last_for_twice_the_hosts_time_within_reason(host_us: float, count: int) -> None:
    assert flush_count(host_us, FLUSH_US) == count


@pytest.mark.parametrize(
    ("round_us", "samples", "count"), [(1.0, 50, 50), (1e9, 50, FEWEST_SAMPLES), (1e5, 50, 30), (1e9, 10, 10)]
)
def test_samples_fit_into_the_budget_and_are_never_too_few(round_us: float, samples: int, count: int) -> None:
    assert sample_count(round_us, samples) == count

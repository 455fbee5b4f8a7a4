"""What a report holds of the time inside a launch, by PM sampling, read inside the limited child; makes no frame."""

from __future__ import annotations

import math
import re
from typing import Any

import msgspec

from rooflift.ncu.metrics import WORKLOAD_TIME

MOST_SAMPLES = 20_000  # of a series
# ncu to 2025.3 writes pmsampling:sm__..., later ones the domain in front: SM_A.TriageAC.sm__...
_SAMPLED = re.compile(r"^pmsampling:|^(?:\w+\.)?Triage\w*\.")
_GROUP = re.compile(WORKLOAD_TIME.format(side="start", group=r"(\d+)$"))


class Series(msgspec.Struct, frozen=True, array_like=True):
    """One metric of a launch over its time; a pass of ncu samples some metrics, another one the others."""

    metric: str  # without what says that it was sampled
    unit: str
    times_ns: list[int]  # since the launch began, or since the first sample
    values: list[float | None]  # None: not a number, as ncu writes it where a pass found nothing
    from_start: bool  # whether the report says when the launch began in this pass


class Sampled(msgspec.Struct, frozen=True, array_like=True):
    """One launch with what was sampled over its time."""

    measured: tuple[str, str, str]  # version, case and dtype
    kernel: str
    series: list[Series]


def sampled(action: Any, measured: tuple[str, str, str], kernel: str) -> Sampled:
    """Read every sampled metric of one launch that has samples with their times."""
    found = []
    windows = _windows(action)
    for name in sorted(action.metric_names()):
        metric = action.metric_by_name(name) if _SAMPLED.search(name) else None
        if metric is None or not metric.num_instances() or not metric.has_correlation_ids():
            continue
        count, stamps = min(metric.num_instances(), MOST_SAMPLES), metric.correlation_ids()
        pairs = sorted((int(stamps.as_uint64(place)), float(metric.as_double(place))) for place in range(count))
        window = next((one for one in windows if any(one[0] <= at <= one[1] for at, _ in pairs)), None)
        begin, end = window or (pairs[0][0], pairs[-1][0])
        inside = [(at - begin, value if math.isfinite(value) else None) for at, value in pairs if begin <= at <= end]
        times, values = (list(own) for own in zip(*inside, strict=True))
        found.append(Series(_SAMPLED.sub("", name), metric.unit() or "", times, values, bool(window)))
    return Sampled(measured, kernel, found)


def _windows(action: Any) -> list[tuple[int, int]]:
    """Return begin and end of the launch in each group of passes, where the report says them."""
    groups = [match[1] for name in action.metric_names() if (match := _GROUP.match(name))]
    found = []
    for group in groups:
        ends = [_stamp(action, WORKLOAD_TIME.format(side=side, group=group)) for side in ("start", "end")]
        if ends[0] is not None and ends[1] is not None:
            found.append((ends[0], ends[1]))
    return found


def _stamp(action: Any, name: str) -> int | None:
    """Return a time of the GPU's clock: the metric's first instance, or its value."""
    metric = action.metric_by_name(name)
    if metric is None:
        return None
    if metric.num_instances() and metric.has_correlation_ids():
        return int(metric.correlation_ids().as_uint64(0))
    return int(metric.as_uint64()) if metric.has_value() else None

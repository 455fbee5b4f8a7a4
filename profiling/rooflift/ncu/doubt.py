"""Values that cannot be, as ncu sometimes reports them: told with ncu's own reasons, and never used in silence."""

from __future__ import annotations

import math

from rooflift.ncu.metrics import BY_NAME

MOST_PCT = 101.0  # of a peak: passes of one kernel differ by that much without anything being wrong
# NVIDIA, Nsight Compute, Kernel Profiling Guide, FAQ: metrics above 100 %, and Range and Precision
_REASON = {
    "above": "more than there can be: its parts come from several replay passes, which differed; usual for a small "
    "workload, caches or clocks that were left alone, or other work on the GPU",
    "below": "less than nothing: its parts come from several replay passes, which differed, or the counter overflowed",
    "time": "no time: the clock or the report is damaged",
}


def doubt(metric: str, value: float | None, unit: str = "") -> str:
    """Return why a value of a metric cannot be, "" where nothing speaks against it.

    `metric` is a short name of the registry, or an ncu name with its `unit`.

    >>> doubt("l2_hit_pct", 130.0)[:23]
    'more than there can be:'
    >>> doubt("l2_hit_pct", 99.7)
    ''
    """
    if value is None or math.isnan(value):
        return ""
    about = BY_NAME.get(metric)
    unit = about.unit if about else unit
    if metric == "ncu_time_ns" and value <= 0:
        return _REASON["time"]
    if value < 0:
        return _REASON["below"]
    return _REASON["above"] if unit == "%" and value > MOST_PCT else ""


def reason(metric: str, value: float | None, unit: str = "", missing: str = "") -> str:
    """Return why a value is missing or cannot be, "" of a sound one.

    >>> reason("l2_hit_pct", 130.0)[:26]
    '130 is more than there can'
    """
    doubted = doubt(metric, value, unit)
    return missing or (f"{value:.4g} is {doubted}" if doubted else "")


def is_doubt(text: str) -> bool:
    """Tell whether a reason is that a value cannot be."""
    return text.partition(" is ")[2] in _REASON.values()

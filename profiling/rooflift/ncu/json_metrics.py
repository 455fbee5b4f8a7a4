"""Metrics as JSON, as scripts write them: by kernel or as records, with units or without, one value or one a launch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from rooflift.errors import RunFault
from rooflift.ncu.csv_metrics import KERNEL, LAUNCH, NAME, UNIT, VALUE
from rooflift.ncu.held import Held
from rooflift.ncu.units import Units

FORM = 'Metrics are JSON of the form {"kernel": {"ncu name": number}}; a value may be {"value": 17.4, "unit": "us"}.'
WRAPPERS = ("kernels", "launches", "results", "metrics", "data", "report", "actions")
KERNEL_KEYS = (*KERNEL, "kernel", "kernel_name", "name", "function", "demangled_name", "kernelName")
METRIC_KEYS = ("metrics", "values")
ABOUT = {"id", "ID", "Process ID", "Process Name", "Host Name", "Context", "Stream", "Device", "CC", "device", "gpu"}
ABOUT |= {"launch", "index", "grid", "block", "Device Name", "launch_id", "note", "pid", "process_name"}


class Pairs(list[tuple[str, Any]]):
    """An object of the file with all its names, also those that stand twice."""


def read_json(text: str, where: str, units: Units = "auto") -> list[Held]:
    """Return the launches of a JSON text.

    Raises:
        RunFault: it is no JSON of such a form, with kernel and metric; or it is something else, which is named.
    """
    try:
        data = json.loads(text, object_pairs_hook=Pairs)
    except (ValueError, RecursionError) as error:
        raise RunFault(f"{where}: JSON is malformed: {error}", FORM) from None
    other = _other(data)
    if other:
        raise RunFault(f"{where}: {other[0]}", other[1])
    found = [held for kernel, about in _launches(data, where) for held in _held(kernel, about, where, units)]
    if not found:
        raise RunFault(f"{where}: no kernel in it", FORM)
    return found


def _other(data: Any) -> tuple[str, str] | None:
    """Return what a file is that is no metrics of kernels, and what to do; None for all others."""
    objects = list(_objects(data))
    names = [{name for name, _ in pairs} for pairs in objects]
    if any({"mean", "std", "num_trials"} <= own for own in names):
        remedy = "`rooflift new --kernelbench FILE` takes the problems themselves, and `rooflift profile` times them."
        return "timing results of KernelBench: times, no metrics of kernels", remedy
    if any({"compiled", "correctness"} <= own for own in names):
        return "evaluation results of KernelBench: no metrics of kernels", "`rooflift show --fast-p` is rooflift's own."
    if any("tune_params_keys" in own or ({"kernel_name", "cache"} <= own) for own in names) or (
        len(names) > 1 and sum({"time", "times", "compile_time"} <= own for own in names) > 0
    ):
        remedy = "Profile the best configuration with `ncu -o NAME`, and import the report."
        return "tuning results of Kernel Tuner: times of configurations, no metrics of kernels", remedy
    if any({"nbformat", "cells"} <= own for own in names):
        return "a Jupyter notebook", FORM
    if any("traceEvents" in own for own in names):
        return "a trace of a timeline (Chrome, torch.profiler)", "Profile the kernel with `ncu -o NAME COMMAND`."
    return None


def _objects(data: Any, depth: int = 3) -> Iterator[Pairs]:
    if isinstance(data, Pairs):
        yield data
    children = [value for _, value in data] if isinstance(data, Pairs) else data if isinstance(data, list) else []
    for child in children[:50] if depth else []:
        yield from _objects(child, depth - 1)


def _launches(data: Any, where: str) -> Iterator[tuple[str, Any]]:
    """Yield each kernel with what is said of it."""
    if isinstance(data, Pairs):
        if len(data) == 1 and data[0][0] in WRAPPERS:
            yield from _launches(data[0][1], where)
            return
        wrapped = [value for name, value in data if name in WRAPPERS[:3] and isinstance(value, list)]
        if wrapped:
            yield from _launches(wrapped[0], where)
            return
        if any(name in KERNEL_KEYS and isinstance(value, str) for name, value in data):
            yield from _records([data], where)
            return
        yield from data
    elif isinstance(data, list):
        yield from _records(data, where)
    else:
        raise RunFault(f"{where}: {_what(data)}, no kernels", FORM)


def _records(records: Sequence[Any], where: str) -> Iterator[tuple[str, Any]]:
    """Yield the launches of records: one a launch, or one a metric as the lines of a CSV."""
    by_launch: dict[tuple[Any, ...], tuple[str, Pairs]] = {}
    for number, record in enumerate(records):
        if not isinstance(record, Pairs):
            raise RunFault(f"{where}: record {number} is {_what(record)}, no launch", FORM)
        named = dict(record)
        kernel = next((named[key] for key in KERNEL_KEYS if isinstance(named.get(key), str)), None)
        if kernel is None:
            remedy = f"Each record names its kernel, as {KERNEL[0]!r} or 'kernel'. {FORM}"
            raise RunFault(f"{where}: record {number} names no kernel", remedy)
        if NAME in named:
            key = (*(str(named.get(name)) for name in LAUNCH), kernel)
            _, values = by_launch.setdefault(key, (kernel, Pairs()))
            values.append((named[NAME], Pairs([("value", named.get(VALUE)), ("unit", named.get(UNIT) or "")])))
            continue
        inner = next((named[key] for key in METRIC_KEYS if isinstance(named.get(key), Pairs | list)), None)
        yield kernel, inner if inner is not None else Pairs(p for p in record if p[0] not in (*KERNEL_KEYS, *ABOUT))
    yield from by_launch.values()


def _held(kernel: str, about: Any, where: str, units: Units) -> Iterator[Held]:
    """Yield the launches of one kernel; where values are lists, the first launch has the first of each."""
    if isinstance(about, list) and not isinstance(about, Pairs):
        if about and all(isinstance(one, Pairs) and dict(one).keys() >= {"name", "value"} for one in about):
            about = Pairs((dict(one)["name"], Pairs(p for p in one if p[0] != "name")) for one in about)
        else:
            for one in about:
                yield from _held(kernel, one, where, units)
            return
    if not isinstance(about, Pairs):
        raise RunFault(f"{where}: kernel {kernel!r}: expected its metrics, got {_what(about)}", FORM)
    inner = next((value for name, value in about if name in METRIC_KEYS and isinstance(value, Pairs)), None)
    if inner is not None:
        about = inner
    if not about:
        raise RunFault(f"{where}: kernel {kernel!r}: a kernel without a metric", FORM)
    values = [(name, _value(kernel, name, value, where)) for name, value in about if name not in ABOUT]
    count = max((len(value) for _, (value, _) in values if isinstance(value, list)), default=1)
    for launch in range(count):
        held = Held(kernel)
        for name, (value, unit) in values:
            one = value if not isinstance(value, list) else value[launch] if launch < len(value) else None
            held.put(name, one, unit, units, where)
        yield held


class Value(NamedTuple):
    """A value, or one a launch, and its unit."""

    value: Any
    unit: str


def _value(kernel: str, name: str, value: Any, where: str) -> Value:
    unit = ""
    if isinstance(value, Pairs):
        parts: Mapping[str, Any] = {key.lower(): part for key, part in value}
        if not parts.keys() & {"value", "values"}:
            keys = ", ".join(parts) or "nothing"
            what = f"kernel {kernel!r}, metric {name!r}: an object with {keys}, and no value"
            raise RunFault(f"{where}: {what}", FORM)
        value, unit = parts.get("value", parts.get("values")), str(parts.get("unit") or parts.get("units") or "")
    each = value if isinstance(value, list) else [value]
    for one in each:
        if isinstance(one, list | bool) or not isinstance(one, int | float | str | None):
            what = f"kernel {kernel!r}, metric {name!r}: expected a number, got {_what(one)}"
            raise RunFault(f"{where}: {what}", FORM)
    return Value(value, unit)


def _what(data: Any) -> str:
    kinds = {dict: "an object", Pairs: "an object", list: "a list", str: "a text", bool: "true or false"}
    return kinds.get(type(data), "nothing" if data is None else "a number")

"""Metrics as JSON, as scripts write them: by kernel or as records, with units or without, one value or one a launch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from rooflift.errors import RunFault
from rooflift.ncu.csv_metrics import KERNEL, LAUNCH, NAME, UNIT, VALUE
from rooflift.ncu.held import Held, is_ncu_name
from rooflift.ncu.units import Units, is_decimal_comma, plain

FORM = 'Metrics are JSON of the form {"kernel": {"ncu name": number}}; a value may be {"value": 17.4, "unit": "us"}.'
PROFILE_BEST = "Profile the best configuration with `ncu -o NAME`, and import the report."
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
        data = _tabular(_parsed(text))
    except (ValueError, RecursionError) as error:
        raise RunFault(f"{where}: JSON is malformed: {error}", FORM) from None
    other = _other(data)
    if other:
        raise RunFault(f"{where}: {other[0]}", other[1])
    if is_decimal_comma((text, "") for text in _texts(data)):
        data = _with_points(data)
    found = [held for kernel, about in _launches(data, where) for held in _held(kernel, about, where, units)]
    if not found:
        raise RunFault(f"{where}: no kernel in it", FORM)
    names = [name for held in found for name in held.values]
    if not any(map(is_ncu_name, names)):
        raise RunFault(f"{where}: no metric of ncu in it, but {', '.join(dict.fromkeys(names[:3]))}", FORM)
    return found


def _parsed(text: str) -> Any:
    """Return what a JSON text holds; of a text with one object a line their list."""
    try:
        return json.loads(text, object_pairs_hook=Pairs)
    except ValueError:
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) < 2 or not all(line.strip()[0] + line.strip()[-1] == "{}" for line in lines):
            raise
        objects = [json.loads(line, object_pairs_hook=Pairs) for line in lines]
        is_record = any(name in KERNEL_KEYS for name, _ in objects[0])
        return objects if is_record else Pairs(pair for one in objects for pair in one)


def _tabular(data: Any) -> Any:
    """Return a table as pandas writes it, by column or split, as records; by metric and kernel as by kernel."""
    if not isinstance(data, Pairs):
        return data
    named = dict(data)
    if isinstance(named.get("columns"), list) and isinstance(named.get("data"), list):
        return [
            Pairs(zip(map(str, named["columns"]), row, strict=False)) for row in named["data"] if isinstance(row, list)
        ]
    of_names = next((named[key] for key in KERNEL_KEYS if isinstance(named.get(key), list)), None)
    if isinstance(of_names, Pairs):  # an object with the kernel of each row
        objects = {name: dict(column) for name, column in data if isinstance(column, Pairs)}
        return [Pairs((name, column.get(row)) for name, column in objects.items()) for row, _ in of_names]
    if of_names is not None:
        lists = {name: column for name, column in data if isinstance(column, list)}
        return [Pairs(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=False)]
    if data and all(is_ncu_name(name) and isinstance(column, Pairs) for name, column in data):
        kernels = dict.fromkeys(kernel for _, column in data for kernel, _ in column)
        if not {"value", "unit"} & kernels.keys():
            return Pairs(
                (kernel, Pairs((name, dict(column).get(kernel)) for name, column in data)) for kernel in kernels
            )
    return data


def _texts(data: Any) -> Iterator[str]:
    """Yield the values that are text."""
    if isinstance(data, str):
        yield data
    for part in [value for _, value in data] if isinstance(data, Pairs) else data if isinstance(data, list) else []:
        yield from _texts(part)


def _with_points(data: Any) -> Any:
    """Return the same with numbers that have a decimal comma as ones with a point."""
    if isinstance(data, Pairs):
        return Pairs((name, _with_points(value)) for name, value in data)
    if isinstance(data, list):
        return [_with_points(value) for value in data]
    return plain(data, decimal_comma=True) if isinstance(data, str) else data


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
        return "tuning results of Kernel Tuner: times of configurations, no metrics of kernels", PROFILE_BEST
    if any({"configuration", "measurements"} <= own for own in names):  # of the format T4
        return "tuning results: times of configurations, no metrics of kernels", PROFILE_BEST
    if any({"children", "frame", "metrics"} <= own for own in names):
        return (
            "a tree of Proton: times of scopes, no metrics of kernels",
            "Profile the kernel with `ncu -o NAME COMMAND`.",
        )
    if any({"nbformat", "cells"} <= own for own in names):
        return "a Jupyter notebook", FORM
    if any("traceEvents" in own or {"ph", "ts"} <= own for own in names):
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
        kernels = [(name, about) for name, about in data if not isinstance(about, str)]  # beside words of the file
        for name, about in kernels or data:
            yield (_kernel_name(about) or name) if isinstance(about, Pairs) else name, about
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
        named, kernel = dict(record), _kernel_name(record)
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


def _kernel_name(record: Pairs) -> str | None:
    named = dict(record)
    return next((named[key] for key in KERNEL_KEYS if isinstance(named.get(key), str)), None)


def _held(kernel: str, about: Any, where: str, units: Units) -> Iterator[Held]:
    """Yield the launches of one kernel; where values are lists, the first launch has the first of each."""
    if isinstance(about, list) and not isinstance(about, Pairs):
        of_metrics = [key for key in ("name", "metric") if all(isinstance(o, Pairs) and key in dict(o) for o in about)]
        if about and of_metrics and all("value" in dict(one) for one in about):
            key = of_metrics[0]
            about = Pairs((str(dict(one)[key]), Pairs(p for p in one if p[0] != key)) for one in about)
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
    values = [(name, _value(kernel, name, value, where)) for name, value in about if name not in (*ABOUT, *KERNEL_KEYS)]
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

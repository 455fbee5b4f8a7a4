"""From what one launch holds under ncu's names to the registry's metrics, whatever form it came in. Reads no file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import NamedTuple

from rooflift.ncu.metric import Formula, Metric
from rooflift.ncu.metrics import METRICS
from rooflift.schema import LARGEST

NOT_COLLECTED = "not collected in this report"
NO_VALUE = "collected, but this GPU gives no value"
NOT_A_NUMBER = "not a number: "


class Given(NamedTuple):
    """What stands under one ncu name: a value in base units, or why there is none."""

    value: float | None
    unit: str = ""
    missing: str = ""


Cell = tuple[float | None, str, str, str]  # value, unit, the ncu name or names that supplied it, why there is no value
Find = Callable[[str], Given | None]  # of an ncu name; None where the launch does not hold it


def given(value: object, unit: str = "") -> Given:
    """Return a value as it was found: a number of a size that can be, or the reason why it is none.

    >>> given(float("nan")).missing
    'not a number: nan'
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST:
        return Given(float(value), unit)
    return Given(None, unit, f"{NOT_A_NUMBER}{str(value)[:200]}")


def cells(find: Find, names: Iterable[str], breakdown: frozenset[str] = frozenset()) -> list[Cell]:
    """Return a cell for each metric of the registry, in its order.

    `names` are all that the launch holds. `breakdown` are those that ncu's Speed Of Light is made of, where the launch
    says so: then no other counter is taken for a unit of it.
    """
    matching: dict[str, list[str]] = {}
    for name in names:
        for metric in _families(name):
            matching.setdefault(metric, []).append(name)
    return [_cell(metric, find, matching.get(metric.name, []), breakdown) for metric in METRICS]


_PATTERNS = [(metric.name, re.compile(metric.pattern)) for metric in METRICS if metric.pattern]


@cache
def _families(name: str) -> tuple[str, ...]:
    """Return the metrics of the registry whose pattern an ncu name matches."""
    return tuple(metric for metric, pattern in _PATTERNS if pattern.fullmatch(name))


def _cell(metric: Metric, find: Find, matching: Sequence[str], breakdown: frozenset[str]) -> Cell:
    if metric.sol and breakdown:
        matching = [name for name in matching if name in breakdown]
    several = metric.sol or metric.adds  # all that match count, not the first that there is
    missing = NOT_COLLECTED
    for name in () if several else metric.ncu:
        found = find(name)
        if found is not None and found.value is not None:
            return found.value, found.unit or metric.unit, name, ""
        missing = _worse(missing, found)
    seen = {name: found for name in matching if (found := find(name)) is not None}
    values = {name: found.value for name, found in seen.items() if found.value is not None}
    if values and metric.adds and sum(values.values()) <= LARGEST:
        return sum(values.values()), metric.unit, " + ".join(values), ""
    if values:
        name = max(values, key=lambda n: values[n])
        return values[name], seen[name].unit or metric.unit, name, ""
    for formula in metric.formulas:
        value = _computed(formula, find)
        if value is not None and abs(value) <= LARGEST:
            return value, metric.unit, _spelled(formula), ""
    for found in seen.values():
        missing = _worse(missing, found)
    return None, metric.unit, metric.ncu[0], missing


def _worse(missing: str, found: Given | None) -> str:
    """Return the reason that says more: a value that is no number before one that the GPU does not give."""
    if found is None or missing.startswith(NOT_A_NUMBER):
        return missing
    return found.missing or missing


def _computed(formula: Formula, find: Find) -> float | None:
    total = 0.0
    for factor, names in formula:
        for name in names:
            found = find(name)
            if found is None or found.value is None:
                return None
            factor *= found.value
        total += factor
    return total


def _spelled(formula: Formula) -> str:
    """Return a formula as it is printed beside a value: the names that gave it, multiplied and added."""
    return " + ".join(" x ".join([*names, *([f"{factor:g}"] if factor != 1 else [])]) for factor, names in formula)

"""Sizes that no case has: drawn for what the cases let vary, and for nothing else.

A size varies where two cases of an operator have it different: a named one (`sizes`), or the same dimension of the same
input. What is the same in all cases may be all that the operator takes, such as heads of 64. A size keeps the largest
factor that all cases have in common: where they are 64 and 128, it is a multiple of 64.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import msgspec

from rooflift.errors import CatalogError
from rooflift.project.cases import Case
from rooflift.project.inputs import Entry, Input

MOST = 12  # shapes; in the interpreter a case takes about a second
Key = TypeVar("Key")
Place = tuple[int, int]  # a tensor among the inputs, and a dimension of it


@dataclass(frozen=True, slots=True)
class OddSizes:
    """Cases of other sizes, and the sizes for which there are none because they never vary."""

    cases: list[Case]
    untried: list[str]


def odd_sizes(tests: Sequence[Case], every: Sequence[Case], seed: int) -> OddSizes:
    """Return cases like the tests with one size each that is 1, odd, or not seen; `every` case tells what varies."""
    draw = random.Random(seed)  # noqa: S311  # no secret
    sized = [case.sizes for case in every if case.sizes]
    shaped = [_dimensions(case) for case in every if case.inputs and not case.sizes]
    named, placed = _steps(sized), _steps(shaped)
    found: list[Case | None] = []
    for turn, case in enumerate(case for case in tests if case.inputs):
        if case.sizes:
            free: list[Any] = [name for name in case.sizes if named[name]]
            if free:
                name = free[turn % len(free)]
                found.append(_with_size(case, name, _other(case.sizes[name], named[name], draw)))
        else:
            sizes = _dimensions(case)
            free = [place for place in sizes if placed[place]]
            if free:
                place = free[-1 - turn % len(free)]
                together = {at for at in sizes if all(one.get(at) == one.get(place) for one in shaped)}
                found.append(_with_dimensions(case, together, sizes[place], _other(sizes[place], placed[place], draw)))
    made = [case for case in found if case is not None]
    untried = [f"size {name}" for name, step in named.items() if not step]
    untried += [f"dimension {axis} of input {number}" for (number, axis), step in placed.items() if not step]
    return OddSizes(draw.sample(made, min(MOST, len(made))), untried)


def _dimensions(case: Case) -> dict[Place, int]:
    return {(n, axis): size for n, shape in enumerate(case.shapes) for axis, size in enumerate(shape)}


def _steps(sizes: Sequence[Mapping[Key, int]]) -> dict[Key, int]:
    """Return for each size the step in which it may vary, 0 for one that never does."""
    keys = dict.fromkeys(key for one in sizes for key in one)
    seen = {key: {one[key] for one in sizes if key in one} for key in keys}
    return {key: (math.gcd(*values) or 1) if len(values) > 1 else 0 for key, values in seen.items()}


def _other(size: int, step: int, draw: random.Random) -> int:
    many = size // step
    return step * draw.choice([1, many + 1 + many % 2, 2 * many + 1, *([33 + 2 * draw.randrange(16)] * (step == 1))])


def _with_size(case: Case, name: str, size: int) -> Case | None:
    try:
        return replace(case.with_sizes(**{name: size}), name=f"{case.name} with {name} = {size}")
    except CatalogError:  # a formula has no such value
        return None


def _with_dimensions(case: Case, places: Collection[Place], old: int, size: int) -> Case | None:
    """Return a case with another size in some places; None where integers are counted by the old one, or in lists."""
    inputs: list[Entry] = []
    number = 0
    for entry in case.inputs or ():
        described = Input(tuple(entry)) if isinstance(entry, list) else entry
        if described.items is not None or old in (described.low, described.high):
            return None
        if described.shape is None:
            inputs.append(entry)
            continue
        shape = [size if (number, axis) in places else own for axis, own in enumerate(described.shape)]
        inputs.append(shape if isinstance(entry, list) else msgspec.structs.replace(entry, shape=tuple(shape)))
        number += 1
    changed = replace(case, inputs=inputs)
    return replace(changed, name=f"{case.name} with inputs {changed.shapes}")

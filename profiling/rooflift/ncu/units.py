"""The units in which ncu prints values, and what they are in base units: byte, ns, hz, %. Reads no file."""

from __future__ import annotations

import re
from typing import Literal

from rooflift.ncu.cells import NOT_A_NUMBER, Given, given
from rooflift.ncu.metrics import BASE_UNITS, DISPLAYED

Units = Literal["auto", "base", "display"]  # of values without one

PREFIX = {"": 1.0, "n": 1e-9, "u": 1e-6, "µ": 1e-6, "m": 1e-3, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_UNIT = re.compile(r"(?P<prefix>[numµkKMGT]?)(?P<base>byte|bytes|B|hz|Hz|second|seconds|sec|s)(?P<per>/.+)?")
_BASE = {"byte": "byte", "bytes": "byte", "B": "byte", "hz": "hz", "Hz": "hz"}
_NUMBER = re.compile(
    r"(?P<number>[-+]?(\d[\d,']*\.?\d*|\.\d+)([eE][-+]?\d+)?|nan|[-+]?inf)\s*(?P<unit>\S.*)?", re.IGNORECASE
)
NS_PER_S = 1e9


def to_base(value: float, unit: str) -> tuple[float, str]:
    """Return a value in base units; one whose unit is not known stays as it is.

    >>> to_base(17.5, "us"), to_base(268.45, "Mbyte")
    ((17500.0, 'ns'), (268450000.0, 'byte'))
    """
    found = _UNIT.fullmatch(unit.strip())
    if found is None:
        return value, unit.strip()
    base = _BASE.get(found["base"], "ns")
    factor = PREFIX[found["prefix"]] * (NS_PER_S if base == "ns" else 1.0)
    per = found["per"] or ""
    rate = _UNIT.fullmatch(per.removeprefix("/"))
    if rate is not None and rate["base"] not in _BASE:  # a rate is of the second
        factor /= PREFIX[rate["prefix"]]
        per = "/s"
    return value * factor, base + per


def read_value(value: object, unit: str = "") -> Given:
    """Return a value as a file spells it: a number, with separators, or with its unit behind it.

    >>> read_value("17,376"), read_value("93.52%").unit, read_value("n/a").missing
    (Given(value=17376.0, unit='', missing=''), '%', 'not a number: n/a')
    """
    if value is None or value == "":
        return Given(None, unit, "null in the file" if value is None else "empty in the file")
    if isinstance(value, str):
        found = _NUMBER.fullmatch(value.strip())
        if found is None:
            return Given(None, unit, f"{NOT_A_NUMBER}{value[:200]}")
        value, unit = float(found["number"].replace(",", "").replace("'", "")), unit or found["unit"] or ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Given(None, unit, f"{NOT_A_NUMBER}{str(value)[:200]}")
    try:
        return given(*to_base(float(value), unit))
    except OverflowError:
        return Given(None, unit, f"{NOT_A_NUMBER}larger than a number can be")


def assumed_unit(name: str, value: float, units: Units, *, displayed: bool) -> str | None:
    """Return the unit of a value that has none; None where it cannot be told, and "" where it needs none.

    Times and bytes are whole numbers in base units: one with a fraction is of another unit, or a mean. `displayed`: the
    metric stands under the name that ncu displays, and so its unit is taken for the displayed one, too.
    """
    base = BASE_UNITS.get(name, "")
    if base not in DISPLAYED or units == "base":
        return base
    if units == "display" or displayed:
        return DISPLAYED[base]
    return base if value == int(value) else None

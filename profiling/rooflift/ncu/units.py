"""The units in which ncu prints values, and what they are in base units: byte, ns, hz, %. Reads no file."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from rooflift.ncu.cells import NOT_A_NUMBER, Given, given
from rooflift.ncu.metrics import BASE_UNITS, DISPLAYED

Units = Literal["auto", "base", "display"]  # of values without one

PREFIX = {"": 1.0, "n": 1e-9, "u": 1e-6, "µ": 1e-6, "m": 1e-3, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
PREFIX |= {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}
_UNIT = re.compile(r"(?P<prefix>[KMGT]i|[numµkKMGT]?)(?P<base>bytes?|B|[hH]z|seconds?|sec|s)(?P<per>/.+)?")
_PER_TIME = re.compile(r"cycles?/(?P<prefix>[numµ]?)s(ec(onds?)?)?")
_BASE = {"byte": "byte", "bytes": "byte", "B": "byte", "hz": "hz", "Hz": "hz"}
_NUMBER = re.compile(
    r"(?P<number>[-+]?(\d{1,3}(,\d{3})+(?!\d)|\d+)(\.\d*)?([eE][-+]?\d+)?|[-+]?\.\d+|[-+]?nan|[-+]?inf)"
    r"(\s*(?P<unit>[^\d\s.,(]\D*?))?(\s*\(.*\))?",  # behind a value may stand those of its instances
    re.IGNORECASE,
)
_GAP = re.compile("(?<=\\d)[ '\u2019\u00a0\u2009\u202f](?=\\d{3}(?!\\d))")  # between groups of three digits
_COMMA = re.compile(
    r"[-+]?(\d{1,3}([.]\d{3})+,\d+|\d+,(\d{1,2}|\d{4,})|0\d*,\d+|\d{4,},\d+|\d{1,3}([.]\d{3}){2,})(?![\d.,])"
)
_POINT = re.compile(
    r"[-+]?(\d{1,3}(,\d{3})+[.]\d+|\d+[.](\d{1,2}|\d{4,})|0\d*[.]\d+|\d{4,}[.]\d+|\d{1,3}(,\d{3}){2,})(?![\d.,])"
)
_GROUPED = re.compile(r"[1-9]\d{0,2}[.]\d{3}")
_WHOLE = ("byte", "ns", "nsecond", "inst", "cycle", "sector")
_SWAP = str.maketrans(".,", ",.")
NS_PER_S = 1e9


def to_base(value: float, unit: str) -> tuple[float, str]:
    """Return a value in base units; one whose unit is not known stays as it is.

    >>> to_base(17.5, "us"), to_base(268.45, "Mbyte")
    ((17500.0, 'ns'), (268450000.0, 'byte'))
    """
    spelled = unit.strip().replace("\u03bc", "µ")
    clock = _PER_TIME.fullmatch(spelled)
    if clock is not None:
        return value * round(1 / PREFIX[clock["prefix"]]), "hz"
    found = _UNIT.fullmatch(spelled)
    if found is None:
        return value, spelled
    base = _BASE.get(found["base"], "ns")
    factor = PREFIX[found["prefix"]] * (NS_PER_S if base == "ns" else 1.0)
    per = found["per"] or ""
    rate = _UNIT.fullmatch(per.removeprefix("/"))
    if rate is not None and rate["base"] not in _BASE:  # a rate is of the second
        factor /= PREFIX[rate["prefix"]]
        per = "/s"
    return value * factor, base + per


def is_decimal_comma(values: Iterable[tuple[str, str]]) -> bool:
    """Tell whether the numbers of a file are written as in "1.234,5", by those that can be read in one way alone.

    `values` stand with their units: of bytes and nanoseconds there are no thousandths.

    >>> is_decimal_comma([("151.580", ""), ("84,2", "%")]), is_decimal_comma([("17,376", "ns"), ("84.2", "%")])
    (True, False)
    >>> is_decimal_comma([("4.750", "byte")]), is_decimal_comma([("4.750", "Mbyte")])
    (True, False)
    """
    numbers = [(value, unit) for value, unit in values if value[-1:].isdigit() or value[:1].isdigit()]
    commas = any(_COMMA.match(value) or (unit in _WHOLE and _GROUPED.fullmatch(value)) for value, unit in numbers)
    return commas and not any(_POINT.match(value) for value, _ in numbers)


def plain(value: str, *, decimal_comma: bool) -> str:
    """Return a number as Python writes it, but for commas between groups of digits; any other text as it is.

    >>> plain("1.234,5 us", decimal_comma=True), plain("268 450", decimal_comma=False)
    ('1,234.5 us', '268450')
    """
    text = _GAP.sub("", value)
    number = re.match(r"[-+]?[\d.,]+", text) if decimal_comma else None
    return number[0].translate(_SWAP) + text[number.end() :] if number else text


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
        value, unit = float(found["number"].replace(",", "")), unit or found["unit"] or ""
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

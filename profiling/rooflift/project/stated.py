"""The FLOP and bytes that a case states itself: `flop` and `bytes` in cases.toml, formulas of its named numbers.

A case states them where torch counts too much (a causal mask, a triangular or diagonal factor, an embedding table that
is read in part) or nothing (element-wise operators, scans).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rooflift.dtypes import DTYPES, FP32, FP64, SPECIAL, product_unit
from rooflift.errors import CatalogError, did_you_mean
from rooflift.project.formula import whole

Formula = str | int
Stated = Formula | dict[str, Formula]

TENSOR = "tensor"  # products: the unit that may multiply the case's dtype
UNIT_KEYS = {TENSOR: "", "fp32": FP32, "fp64": FP64, "special": SPECIAL}
BYTE_KEYS = ("read", "write")
ITEMSIZE = "itemsize"  # in a formula: the bytes of an element of the case's dtype


def flop_by_unit(
    stated: Stated | None, names: Mapping[str, Any], dtype: str, *, allow_tf32: bool = False
) -> dict[str, int]:
    """Return the FLOP that a case states, by unit (results for the special functions); {} where it states none.

    >>> flop_by_unit({"tensor": "4*S*S*D/2", "special": "S*S/2"}, {"S": 64, "D": 16}, "bfloat16")
    {'BF16 tensor': 131072, 'special functions': 2048}

    Raises:
        CatalogError: a formula or a unit is wrong; the message begins with the key.
    """
    if stated is None:
        return {}
    parts = stated if isinstance(stated, dict) else {TENSOR: stated}
    found: dict[str, int] = {}
    for key, formula in parts.items():
        where = f"flop.{key}" if isinstance(stated, dict) else "flop"
        if key not in UNIT_KEYS:
            raise CatalogError(f"{where}: no unit {key!r}", did_you_mean(key, UNIT_KEYS))
        unit = UNIT_KEYS[key] or product_unit(dtype, allow_tf32=allow_tf32)
        found[unit] = found.get(unit, 0) + _value(where, formula, names, dtype)
    return found


def bytes_by_direction(stated: Stated | None, names: Mapping[str, Any], dtype: str) -> dict[str, int]:
    """Return the bytes that a case states under "read" and "write", or under "" where it states one number.

    >>> bytes_by_direction("(M + 1) * itemsize", {"M": 7}, "float16")
    {'': 16}

    Raises:
        CatalogError: a formula or a key is wrong; the message begins with the key.
    """
    if stated is None:
        return {}
    if not isinstance(stated, dict):
        return {"": _value("bytes", stated, names, dtype)}
    if set(stated) != set(BYTE_KEYS):
        raise CatalogError(f"bytes: {', '.join(stated) or 'nothing'}", "State both: bytes = {read = ..., write = ...}.")
    return {key: _value(f"bytes.{key}", stated[key], names, dtype) for key in BYTE_KEYS}


def _value(where: str, formula: Formula, names: Mapping[str, Any], dtype: str) -> int:
    try:
        return whole(formula, {ITEMSIZE: DTYPES[dtype].bytes, **names})
    except CatalogError as error:
        raise CatalogError(f"{where}: {error.message}", error.remedy) from None

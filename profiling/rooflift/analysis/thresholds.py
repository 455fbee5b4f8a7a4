"""The rules of a gate: how much slower, how far below the roof, how many registers and spills. Judges nothing."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from rooflift.errors import CatalogError
from rooflift.project.settings import read_settings
from rooflift.schema import Count

_FORM = 'The rules are max-slowdown = "2%", min-sol = "85%", max-registers = 64, max-spills = 0, cases = ["main"].'


def parse_share(text: str) -> float:
    """Return 0.02 for "2%" or "0.02".

    Raises:
        CatalogError: it is neither, or above 1 without a sign.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*(%?)\s*", text)
    if match is None or (float(match[1]) > 1 and not match[2]):
        raise CatalogError(f"{text!r} is no share", "Write 2% or 0.02.")
    return float(match[1]) / (100 if match[2] else 1)


class GateRules(msgspec.Struct, frozen=True):
    """What a version must keep to; None is no rule."""

    max_slowdown: float | None = None  # of the time relative to base: 0.02 is 2 %
    min_sol: float | None = None  # SOL time / time: 0.85 is 85 %
    max_registers: int | None = None  # a thread
    max_spills: int | None = None  # local loads and stores in the binary
    cases: tuple[str, ...] = ()  # for which times are judged; none: all

    @property
    def given(self) -> bool:
        """Whether there is any rule."""
        return any(rule is not None for rule in (self.max_slowdown, self.min_sol, self.max_registers, self.max_spills))


class _Table(msgspec.Struct, forbid_unknown_fields=True, rename="kebab"):
    max_slowdown: str | float | None = None
    min_sol: str | float | None = None
    max_registers: Count | None = None
    max_spills: Count | None = None
    cases: tuple[str, ...] = ()


def read_rules(path: Path) -> GateRules:
    """Read [tool.rooflift.gate] of a pyproject.toml; no file or no table is no rule.

    Raises:
        CatalogError: the file is no TOML, or a rule is unknown, of another type or out of its range.
    """
    try:
        found = msgspec.convert(read_settings(path.parent).gate, _Table)
    except msgspec.ValidationError as error:
        raise CatalogError(f"{path}: [tool.rooflift.gate]: {error}", _FORM) from None
    slowdown, roof = (
        None if value is None else parse_share(str(value)) for value in (found.max_slowdown, found.min_sol)
    )
    return GateRules(slowdown, roof, found.max_registers, found.max_spills, found.cases)

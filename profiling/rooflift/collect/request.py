"""What a user asks for: versions, cases, dtypes, counters. Shapes only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rooflift.catalog.cases import Case
from rooflift.catalog.families import Family, Version
from rooflift.collect.operators import CasePlan


def case_plans(cases: Sequence[Case], dtypes: Sequence[str]) -> list[CasePlan]:
    """Return a plan for each case and each of its dtypes, or each of `dtypes` when some are given."""
    return [CasePlan(c.name, dtype, c.init, c.inputs) for c in cases for dtype in (dtypes or c.dtypes)]


@dataclass(frozen=True, slots=True)
class Request:
    """What to measure."""

    root: Path
    family: Family
    versions: Sequence[Version]
    cases: Sequence[Case]
    dtypes: Sequence[str]
    counters: str  # a counter set of the registry, or none
    timeout_s: float
    command: list[str]  # as it is published

    @property
    def work(self) -> list[CasePlan]:
        """The cases, one entry a dtype."""
        return case_plans(self.cases, self.dtypes)

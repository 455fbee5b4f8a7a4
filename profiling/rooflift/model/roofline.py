"""Roofline arithmetic: no drawing, no files, no GPU.

The model is the one of Williams, Waterman and Patterson, "Roofline", CACM 52(4), 2009:
attainable FLOP/s = min(compute roof, arithmetic intensity x bandwidth roof).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Roof:
    """One ceiling: `per_s` is bytes/s for a bandwidth roof and FLOP/s for a compute roof."""

    name: str
    kind: Literal["bandwidth", "compute"]
    per_s: float
    source: str  # where the figure comes from, printed beside the roof
    measured: bool


def attainable_flops_per_s(intensity: float, roofs: Sequence[Roof]) -> float:
    """Return the lowest ceiling in FLOP/s at `intensity` FLOP a DRAM byte; inf without roofs."""
    return min(
        (roof.per_s * intensity if roof.kind == "bandwidth" else roof.per_s for roof in roofs), default=float("inf")
    )

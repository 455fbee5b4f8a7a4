"""Roofline arithmetic: no drawing, no files, no GPU.

The model is the one of Williams, Waterman and Patterson, "Roofline", CACM 52(4), 2009:
attainable FLOP/s = min(compute roof, arithmetic intensity x bandwidth roof).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from rooflift.dtypes import UNITS
from rooflift.project.gpus import GpuSpec, spec_for_name
from rooflift.schema import RoofRow, Roofs

_DATASHEET = {
    "DRAM": "dram_bytes_per_s",
    "DRAM copy": "dram_bytes_per_s",
    "DRAM read": "dram_bytes_per_s",
    **UNITS,
}


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


def measured_roofs(measured: Roofs, names: Sequence[str]) -> list[Roof]:
    """Return the measured roofs of these names, in the order of the measurement, each with its date as the source."""
    source = f"measured {measured.created[:10]}"
    return [_roof(row, source) for row in measured.rows if row.name in names]


def _roof(row: RoofRow, source: str) -> Roof:
    return Roof(row.name, row.kind, row.per_s, source, measured=True)


def datasheet_roofs(spec: GpuSpec, names: Sequence[str], source: str = "datasheet") -> list[Roof]:
    """Return what the GPU's spec says of these names; a figure that its maker does not publish is left out."""
    found: list[Roof] = []
    for name in names:
        per_s = getattr(spec, _DATASHEET[name])
        if per_s:
            kind: Literal["bandwidth", "compute"] = "bandwidth" if name == "DRAM" else "compute"
            found.append(Roof(name, kind, per_s, source, measured=False))
    return found


def with_datasheet(measured: Roofs) -> list[dict[str, Any]]:
    """Return the measured rows, each with datasheet_per_s: NaN for what the GPU's maker does not publish."""
    spec = spec_for_name(measured.machine.gpu)
    return [
        msgspec.structs.asdict(row) | {"datasheet_per_s": getattr(spec, _DATASHEET.get(row.name, ""), None) or math.nan}
        for row in measured.rows
    ]

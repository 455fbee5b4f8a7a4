"""What a text form holds: kernel launches with values under ncu's names, and the rows that they become."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rooflift.errors import RunFault
from rooflift.ncu.cells import NOT_COLLECTED, Given, cells
from rooflift.ncu.metrics import DISPLAY_NAMES, METRICS
from rooflift.ncu.units import Units, assumed_unit, read_value, to_base
from rooflift.schema import UNKNOWN, MetricRow

NOT_IN_FILE = "not in the file"


@dataclass(slots=True)
class Held:
    """One launch of a file: its values in base units, by ncu name."""

    kernel: str
    values: dict[str, Given] = field(default_factory=dict)
    assumed: dict[str, str] = field(default_factory=dict)  # the unit that was assumed for a value without one

    def put(self, name: str, value: object, unit: str, units: Units, where: str) -> None:
        """Take a value under its ncu name, or the name that ncu displays; the first one that is there stays.

        Raises:
            RunFault: it has no unit, and which is meant cannot be told.
        """
        found = read_value(value, unit)
        known = next(
            (DISPLAY_NAMES[key] for key in ((name, found.unit), (name, ""), (name, "%")) if key in DISPLAY_NAMES), name
        )
        if found.value is not None and not found.unit:
            assumed = assumed_unit(known, found.value, units, displayed=known != name)
            if assumed is None:
                what = f"{name} of {self.kernel!r} is {found.value:g} and has no unit"
                meant = f"{to_base(found.value, 'us')[0]:g} ns" if "time" in known else f"{found.value:g} Mbyte"
                base = f"{found.value:g} {'ns' if 'time' in known else 'byte'}"
                remedy = f"Say which with --units: base means {base}, display, as ncu prints it, {meant}."
                raise RunFault(f"{where}: {what}", remedy)
            if assumed != to_base(1, assumed)[1]:
                self.assumed[name] = assumed
            found = Given(*to_base(found.value, assumed))
        if known not in self.values or self.values[known].value is None:
            self.values[known] = found


def held_rows(launches: Sequence[Held], source: str, key: tuple[str, str, str] = ("", "", "")) -> list[MetricRow]:
    """Return the rows of a file's launches: the registry's metrics by short name, all others under their ncu names."""
    rows: list[MetricRow] = []
    for launch, held in enumerate(launches):
        used: set[str] = set()
        found = cells(held.values.get, held.values, frozenset())
        for metric, (value, unit, name, missing) in zip(METRICS, found, strict=True):
            used.add(name)
            reason = NOT_IN_FILE if missing == NOT_COLLECTED else missing
            rows.append(MetricRow(*key, held.kernel, launch, metric.name, value, unit, name, source, reason))
        for name, one in held.values.items():
            if name not in used:
                unit = one.unit or UNKNOWN
                rows.append(MetricRow(*key, held.kernel, launch, name, one.value, unit, name, source, one.missing))
    return rows

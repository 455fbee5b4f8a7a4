"""What a text form holds: kernel launches with values under ncu's names, and the rows that they become."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from rooflift.errors import RunFault
from rooflift.ncu.cells import NOT_A_NUMBER, NOT_COLLECTED, Given, cells
from rooflift.ncu.metrics import BASE_UNITS, DISPLAY_NAMES, METRICS
from rooflift.ncu.units import Units, assumed_unit, read_value, to_base
from rooflift.schema import UNKNOWN, MetricRow

NOT_IN_FILE = "not in the file"
CONVERTED = ("byte", "ns", "hz")  # base units, to which a value's own unit is brought
_WITH_UNIT = re.compile(r"(?P<name>.*\S)\s*[\[(](?P<unit>[^\])]{1,12})[\])]")  # "Duration [us]"


@dataclass(slots=True)
class Held:
    """One launch of a file: its values in base units, by ncu name."""

    kernel: str
    values: dict[str, Given] = field(default_factory=dict)
    assumed: dict[str, str] = field(default_factory=dict)  # the unit that was assumed for a value without one
    launches: int = 1  # of which the values are averages

    def put(self, name: str, value: object, unit: str, units: Units, where: str) -> None:
        """Take a value under its ncu name, or the name that ncu displays; the first one that is there stays.

        Raises:
            RunFault: it has no unit, and which is meant cannot be told.
        """
        found = read_value(value, unit)
        known = _ncu_name(name, found.unit)
        behind = _WITH_UNIT.fullmatch(name) if known == name else None
        if behind and is_ncu_name(inner := _ncu_name(behind["name"], behind["unit"])):
            known, found = inner, read_value(value, unit or behind["unit"])
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
        base = BASE_UNITS.get(known, "")
        if found.value is not None and base in CONVERTED and found.unit not in ("", base):
            found = Given(None, found.unit, f"{NOT_A_NUMBER}{found.value:g} {found.unit}, whose unit is not known")
        if known not in self.values or self.values[known].value is None:
            self.values[known] = found


def is_ncu_name(name: str) -> bool:
    """Tell whether a name is of the form that ncu gives metrics: unit__what.roll-up."""
    return re.match(r"[a-z0-9]+__\w", name) is not None


def _ncu_name(name: str, unit: str) -> str:
    """Return the ncu name of a metric that stands under the name that ncu displays; any other name as it is."""
    return next((DISPLAY_NAMES[key] for key in ((name, unit), (name, ""), (name, "%")) if key in DISPLAY_NAMES), name)


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

"""What `ncu --csv` printed: the raw page, one line a launch, or a line a metric; with ncu's own lines around it."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from rooflift.errors import RunFault
from rooflift.ncu.held import Held
from rooflift.ncu.units import Units

KERNEL = ("Kernel Name", "Function Name", "Kernel", "Name")
NAME, UNIT, VALUE = "Metric Name", "Metric Unit", "Metric Value"
LAUNCH = ("ID", "Process ID", "Host Name")  # what tells two launches apart, beside the kernel
ABOUT = {
    *LAUNCH,
    *KERNEL,
    "Process Name",
    "Context",
    "Stream",
    "Block Size",
    "Grid Size",
    "Device",
    "CC",
    "Device Name",
}
REMEDY = "rooflift reads what `ncu --csv --page raw` and `--page details` print."
csv.field_size_limit(2**20)


def read_csv(text: str, where: str, units: Units = "auto") -> list[Held]:
    """Return the launches of a CSV.

    Raises:
        RunFault: it has no head with kernel names, a line has more fields than the head, or no launch.
    """
    lines = [line for line in text.splitlines(keepends=True) if not line.startswith("==")]
    start = next((at for at, line in enumerate(lines) if any(f"{name}" in line for name in (*KERNEL[:2], NAME))), None)
    if start is None:
        raise RunFault(f"{where}: a CSV without the columns of ncu, such as {KERNEL[0]!r}", REMEDY)
    separator = ";" if lines[start].count(";") > lines[start].count(",") else ","
    try:
        head, *rows = csv.reader(io.StringIO("".join(lines[start:])), delimiter=separator)
    except csv.Error as error:
        raise RunFault(f"{where}: {error}", REMEDY) from None
    rows = [row for row in rows if any(row)]
    for number, row in enumerate(rows, start=2):
        if len(row) > len(head):
            raise RunFault(f"{where}: line {number} of the table has {len(row)} fields, its head {len(head)}", REMEDY)
    named = [dict(zip(head, row, strict=False)) for row in rows]
    launches = _long(named, where, units) if NAME in head else _wide(named, where, units)
    if not launches:
        raise RunFault(f"{where}: no kernel launch in it", REMEDY)
    return launches


def _kernel(row: dict[str, str]) -> str:
    return next((row[name] for name in KERNEL if row.get(name)), "")


def _long(rows: Sequence[dict[str, str]], where: str, units: Units) -> list[Held]:
    """Read a table with a line a metric; lines of ncu's rules have no metric."""
    found: dict[tuple[str, ...], Held] = {}
    for row in rows:
        key = (*(row.get(name, "") for name in LAUNCH), _kernel(row))
        held = found.setdefault(key, Held(_kernel(row)))
        if row.get(NAME):
            held.put(row[NAME], row.get(VALUE, ""), row.get(UNIT, ""), units, where)
            _launch(held, row, units, where)
    return [held for held in found.values() if held.values]


def _wide(rows: Sequence[dict[str, str]], where: str, units: Units) -> list[Held]:
    """Read a table with a line a launch; the line under its head may hold the units."""
    unit: dict[str, str] = {}
    found = []
    for at, row in enumerate(rows):
        if at == 0 and not _kernel(row):
            unit = row
            continue
        held = Held(_kernel(row))
        for name, value in row.items():
            if name and name not in ABOUT and value != "":
                held.put(name, value, unit.get(name, ""), units, where)
        _launch(held, row, units, where)
        found.append(held)
    return found


def _launch(held: Held, row: dict[str, str], units: Units, where: str) -> None:
    """Take grid and block of a launch, "(4096, 1, 1)", where no metric says them."""
    for name in ("Grid Size", "Block Size"):
        parts = row.get(name, "").strip("() ").split(",")
        if all(part.strip().isdigit() for part in parts) and parts != [""]:
            size = 1
            for part in parts:
                size *= int(part)
            held.put(name, size, "", units, where)

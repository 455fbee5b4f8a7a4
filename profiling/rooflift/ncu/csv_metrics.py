"""What `ncu --csv` printed: the raw page, one line a launch, or a line a metric; with ncu's own lines around it."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from rooflift.errors import RunFault
from rooflift.ncu.held import Held
from rooflift.ncu.units import Units, is_decimal_comma, plain

KERNEL = ("Demangled Name", "Kernel Name", "Function Name", "Kernel", "Name")
NAME, UNIT, VALUE = "Metric Name", "Metric Unit", "Metric Value"
AVERAGE, COUNT = "Average", "Invocations"  # what --print-summary has instead of a value
LAUNCH = ("ID", "Process ID", "Host Name")  # what tells two launches apart, beside the kernel
SIZES = ("Grid Size", "Block Size")
UNNAMED = "unnamed kernel"  # of a table without a column for it
ABOUT = {
    *LAUNCH,
    *KERNEL,
    *SIZES,
    "Process Name",
    "Context",
    "Stream",
    "Device",
    "CC",
    "Device Name",
}
REMEDY = "rooflift reads what `ncu --csv --page raw` and `--page details` print."
csv.field_size_limit(2**20)


def read_csv(text: str, where: str, units: Units = "auto") -> list[Held]:
    """Return the launches of a CSV.

    Lines of the program between those of ncu are passed over.

    Raises:
        RunFault: it has no head with kernel names, a line has more fields than the head or is cut off, or no launch.
    """
    lines = [line for line in text.splitlines(keepends=True) if not line.startswith("==")]
    start = next((at for at, line in enumerate(lines) if any(name in line for name in (*KERNEL[:3], NAME))), None)
    if start is None:
        raise RunFault(f"{where}: a CSV without the columns of ncu, such as {KERNEL[1]!r}", REMEDY)
    separator = max(",;\t", key=lines[start].count)
    try:
        head, *rows = csv.reader(io.StringIO("".join(lines[start:])), delimiter=separator)
    except csv.Error as error:
        raise RunFault(f"{where}: {error}", REMEDY) from None
    head = [name.strip() for name in head]
    value = next((name for name in (VALUE, AVERAGE) if name in head), "")
    least = head.index(value) + 1 if value else len(head)  # fields that a line of ncu has
    named = []
    for number, row in enumerate(rows, start=2):
        if len(row) > len(head):
            raise RunFault(f"{where}: line {number} of the table has {len(row)} fields, its head {len(head)}", REMEDY)
        if len(row) >= least and row != head:
            named.append(dict(zip(head, row, strict=False)))
        elif head[0] in LAUNCH and row and row[0].isdigit():
            raise RunFault(
                f"{where}: line {number} of the table ends after {len(row)} fields: cut off", "Print it again."
            )
    columns = [value] if value else [name for name in head if name not in ABOUT]
    under_head = next((row for row in named if not _kernel(row)), {})  # the units of a table with a line a launch
    cells = ((row[name], row.get(UNIT, "") if value else under_head.get(name, "")) for row in named for name in columns)
    comma = is_decimal_comma(cells)
    for line in named:
        line.update({name: plain(line[name], decimal_comma=comma) for name in columns})
    launches = _long(named, value, where, units) if value else _wide(named, under_head, where, units)
    if not launches:
        raise RunFault(f"{where}: no kernel launch in it", REMEDY)
    return launches


def _kernel(row: dict[str, str]) -> str:
    if row.keys().isdisjoint(KERNEL):
        return UNNAMED
    return next((row[name] for name in KERNEL if row.get(name)), "")


def _long(rows: Sequence[dict[str, str]], value: str, where: str, units: Units) -> list[Held]:
    """Read a table with a line a metric; lines of ncu's rules have no metric."""
    found: dict[tuple[str, ...], Held] = {}
    for row in rows:
        if not row.get(NAME) or not _kernel(row):
            continue
        key = (*(row.get(name, "") for name in (*LAUNCH, *SIZES)), _kernel(row))
        held = found.setdefault(key, Held(_kernel(row)))
        held.put(row[NAME], row[value], row.get(UNIT, ""), units, where)
        if value == AVERAGE and row.get(COUNT, "").isdigit():
            held.launches = int(row[COUNT])
        _launch(held, row, units, where)
    return list(found.values())


def _wide(rows: Sequence[dict[str, str]], unit: dict[str, str], where: str, units: Units) -> list[Held]:
    """Read a table with a line a launch; the line under its head may hold the units."""
    found: list[Held] = []
    for row in rows:
        if not _kernel(row):
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
    for name in SIZES:
        parts = row.get(name, "").strip("() ").split(",")
        if all(part.strip().isdigit() for part in parts) and parts != [""]:
            size = 1
            for part in parts:
                size *= int(part)
            held.put(name, size, "", units, where)

"""Base and head as the compiler sees them: resources, occupancy and instruction mix side by side. Compiles nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rooflift.ncu.metrics import shown_in
from rooflift.report import cells
from rooflift.report.cells import MISSING, Cell, Column, Table, words
from rooflift.report.columns import SPILLS
from rooflift.schema import CompiledKernel

FIGURES = {"spill_instructions": SPILLS.heading} | {metric.name: metric.heading for metric in shown_in("compiled")}
Key = tuple[str, str, str, int, str]  # case, dtype, target, launch, configuration


def _by_key(kernels: Sequence[CompiledKernel], version: str) -> dict[Key, CompiledKernel]:
    return {(k.case, k.dtype, k.target, k.launch, k.config): k for k in kernels if k.version == version}


def compiled_table(kernels: Sequence[CompiledKernel]) -> Table:
    """Return a row a case, dtype, target, launch and configuration of base and head, the first and the last version."""
    import pandas as pd

    base, head = (_by_key(kernels, kernels[place].version) for place in (0, -1))
    groups = sorted({group for kernel in kernels for group in kernel.sass})
    rows = []
    for key in dict.fromkeys([*base, *head]):
        one, other = base.get(key), head.get(key)
        named = other or one
        assert named is not None
        row: dict[str, Any] = {"case": key[0], "dtype": key[1], "target": key[2], "kernel": named.kernel}
        row |= {heading: _both(one, other, name) for name, heading in FIGURES.items()}
        row |= {
            group: _change(*(None if k is None else k.sass.get(group, 0) for k in (one, other))) for group in groups
        }
        rows.append(row)
    names = ("case", "dtype", "target", "kernel")
    return cells.table(pd.DataFrame(rows), [*map(words, names), *map(_changes, (*FIGURES.values(), *groups))])


def _changes(name: str) -> Column:
    return Column(name, lambda row: Cell(row[name]))


def _both(base: CompiledKernel | None, head: CompiledKernel | None, name: str) -> str:
    return _change(*(None if kernel is None else getattr(kernel, name) for kernel in (base, head)))


def _change(base: float | None, head: float | None) -> str:
    """Return "40 → 32", or the one figure where nothing changed."""
    one, other = (MISSING if value is None else f"{value:.0f}" for value in (base, head))
    return one if one == other else f"{one} → {other}"


def compiled_lines(kernels: Sequence[CompiledKernel]) -> str:
    """Return the first line: what the compiler makes of head that base did not have."""
    base, head = (_by_key(kernels, kernels[place].version) for place in (0, -1))
    shared = [key for key in head if key in base]
    spilling = [key for key in shared if head[key].spill_instructions > base[key].spill_instructions]
    spilling += [key for key in head if key not in base and head[key].spill_instructions]
    less = [key for key in shared if head[key].occupancy_pct < base[key].occupancy_pct]
    changed = [key for key in shared if base[key].opcodes != head[key].opcodes]
    parts = [
        f"other instructions in {len(changed)} of {len(shared)} kernels that both have",
        f"more spills in {len(spilling)}",
        f"less occupancy in {len(less)}",
    ]
    mark = "**Compiled, not run: head spills more**" if spilling else "**Compiled, not run**"
    return f"{mark}: {', '.join(parts)}."

"""Two versions of recorded runs compared down to the instruction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rooflift.analysis import hotspots, kernels, selection
from rooflift.api.hotspots import Hotspots, of_run
from rooflift.api.shown import Part, Titled, records
from rooflift.escape import Markdown, code, escaped
from rooflift.ncu.metrics import BY_NAME
from rooflift.report import cells
from rooflift.report.cells import markdown, words
from rooflift.report.hotspots import lines_table
from rooflift.report.kernels import SIDES, mix_table, sass_changes, stalls_table
from rooflift.runs.run import Run

if TYPE_CHECKING:
    import pandas as pd

RESOURCES = (
    "registers",
    "shared_bytes",
    "block_size",
    "grid_size",
    "occupancy_pct",
    "warps_active_pct",
    "inst_executed",
)


@dataclass(frozen=True)
class KernelComparison:
    """What changed between two versions: resources, instructions, stalls, source lines and the SASS behind them."""

    base: Hotspots
    head: Hotspots
    resources: pd.DataFrame  # metric, base, head

    @property
    def mix(self) -> pd.DataFrame:
        """Instructions by group: group, base and head in the binary, base_executed and head_executed by warps."""
        return kernels.mixes(self.base.instructions, self.head.instructions)

    @property
    def stalls(self) -> pd.DataFrame:
        """Samples by stall reason: reason, base_pct, head_pct."""
        return kernels.stalls(self.base.instructions, self.head.instructions)

    @property
    def changes(self) -> list[kernels.LineChange]:
        """The source lines whose SASS changed, the largest change first."""
        return kernels.changed_lines(
            self.base.instructions, self.head.instructions, self.base.sources, self.head.sources
        )

    def table(self) -> pd.DataFrame:
        """Return the hottest lines of head, as `Hotspots.table`."""
        return self.head.table()

    def parts(self) -> list[Part]:
        """Return what a terminal shows."""
        parts: list[Part] = [f"{self.base.name} -> {self.head.name}", *self._tables()]
        for title, lines in self._diff():
            parts += [title, *(f"    {line}" for line in lines)]
        return parts

    @property
    def markdown(self) -> Markdown:
        """The same for a pull request, the SASS folded."""
        told = [f"### {escaped(self.base.name)} → {escaped(self.head.name)}"]
        told += [f"{escaped(table.title)}:\n\n{markdown(table.table)}" for table in self._tables()]
        for title, lines in self._diff():
            body = "\n".join(f"- {code(line)}" for line in lines)
            told.append(f"<details><summary>SASS</summary>\n\n{escaped(title)}\n\n{body}\n\n</details>")
        return Markdown("\n\n".join(told) + "\n")

    def record(self) -> dict[str, Any]:
        """Return the same for a program, with every changed line."""
        return {
            "base": self.base.name,
            "head": self.head.name,
            "resources": records(self.resources),
            "mix": records(self.mix),
            "stalls": records(self.stalls),
            "changes": [asdict(change) for change in self.changes],
        }

    def _tables(self) -> Sequence[Titled]:
        base, head = self.base.instructions, self.head.instructions
        before = hotspots.lines(base, self.base.sources)
        return (
            Titled("Resources", cells.table(self.resources, [words("metric"), *SIDES])),
            Titled("Instructions, in the binary and executed", mix_table(base, head)),
            Titled("Samples by stall reason", stalls_table(base, head)),
            Titled("Hottest lines of head", lines_table(self.head.table(), before)),
        )

    def _diff(self) -> list[tuple[str, list[str]]]:
        """Return a title for each source line of the SASS diff, and its lines."""
        return sass_changes(self.changes, "--json has all.")


def compare_kernels(
    base: Run, base_version: str | None, head: Run, head_version: str | None, case: str | None, dtype: str | None
) -> KernelComparison:
    """Compare two versions on one case and dtype, by default the main one of base; `head` may be the same run.

    Raises:
        CatalogError: a version, case or dtype is unknown.
        ReportFault: a run has no samples of instructions, with how to get them.
    """
    import pandas as pd

    about = selection.select(base, base_version, case, dtype)
    other = selection.select(head, head_version, about.case, about.dtype)
    old, new = (selection.of(selection.figures(run), one) for run, one in ((base, about), (head, other)))
    rows = [{"metric": BY_NAME[name].heading, "base": old[name], "head": new[name]} for name in RESOURCES]
    return KernelComparison(
        of_run(base, about.version, about.case, about.dtype),
        of_run(head, other.version, about.case, about.dtype),
        pd.DataFrame(rows).astype({"base": float, "head": float}),
    )

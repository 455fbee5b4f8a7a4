"""Two versions compared down to the instruction: of recorded runs, or as the compiler makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rooflift.analysis import hotspots, kernels, selection
from rooflift.api.hotspots import Hotspots, of_run
from rooflift.api.project import Say, silent
from rooflift.api.shown import Part, Titled, records
from rooflift.errors import KernelFault
from rooflift.escape import Markdown, code, escaped
from rooflift.ncu.instructions import frame
from rooflift.ncu.metrics import BY_NAME
from rooflift.ncu.source import Instructions
from rooflift.project.operator import Operator, find_root
from rooflift.report import cells
from rooflift.report.cells import markdown, words
from rooflift.report.hotspots import lines_table
from rooflift.report.kernels import SIDES, mix_table, sass_changes, stalls_table
from rooflift.runs.run import Run
from rooflift.schema import CompiledKernel

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

COMPILED = {  # of the compiler alone, the most that any kernel of the version takes
    "registers": "Registers",
    "shared_bytes": "Shared Memory",
    "spill_instructions": "Spill instructions",
    "occupancy_pct": "Theoretical Occupancy %",
}
TIMEOUT_S = 1800


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
        if not base["instructions"].any() and not head["instructions"].any():  # nothing was run
            return (
                Titled("Resources", cells.table(self.resources, [words("metric"), *SIDES])),
                Titled("Instructions in the binary", cells.table(self.mix, [words("group"), *SIDES])),
            )
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


def compare_compiled(
    operator: Operator,
    base: str,
    head: str,
    case: str | None = None,
    dtype: str | None = None,
    target: int = 90,
    say: Say = silent,
) -> KernelComparison:
    """Compile two versions of an operator for one target, without a GPU, and compare them as `compare_kernels` does.

    Raises:
        CatalogError: a version, case or dtype is unknown.
        KernelFault: a version does not compile, or launches no Triton kernel.
        EnvironmentFault: triton or nvdisasm is missing.
    """
    import pandas as pd

    from rooflift.measure.compiled import list_instructions
    from rooflift.measure.request import Request, known_dtype

    pair = [operator.select_versions([name])[0] for name in (base, head)]
    (about,) = operator.select_cases([case or operator.main], "bench")
    request = Request(
        root=find_root(operator.folder),
        operator=operator,
        versions=[*dict.fromkeys(pair)],
        cases=[about],
        dtypes=[known_dtype(dtype) if dtype else (*about.metrics, *about.dtypes)[0]],
        metric_set="none",
        timeout_s=TIMEOUT_S,
        command=[],
        named=True,
    )
    say("compiling")
    found = list_instructions(request, target, say)
    one = request.profiled[0]
    sides = []
    for version in pair:
        own = [
            (kernel, listed) for kernel, listed in found if (kernel.version, kernel.dtype) == (version.name, one.dtype)
        ]
        if not own:
            remedy = "Versions in plain torch and in CUDA C++ have none."
            raise KernelFault(f"{version.name}: no Triton kernel is launched, so there is nothing to compile", remedy)
        texts = {version.path.name: version.path.read_text(encoding="utf-8")}
        name = f"{operator.label} {version.name} {one.name} {one.dtype}, compiled for sm_{target}"
        sides.append(Hotspots(name, frame([_listed(kernel, listed) for kernel, listed in own]), texts))
    most = {name: [max(getattr(k, name) for k, _ in found if k.version == v.name) for v in pair] for name in COMPILED}
    rows = [{"metric": COMPILED[name], "base": float(old), "head": float(new)} for name, (old, new) in most.items()]
    old_side, new_side = sides
    return KernelComparison(old_side, new_side, pd.DataFrame(rows))


def _listed(kernel: CompiledKernel, listed: Sequence[tuple[str, int, int, str]]) -> Instructions:
    """Return a compiled kernel's instructions in the form of a report's, of which nothing was counted."""
    return Instructions(
        (kernel.version, kernel.case, kernel.dtype),
        kernel.kernel,
        collected=True,
        texts={},
        offsets=[offset for _, _, offset, _ in listed],
        files=[file for file, _, _, _ in listed],
        lines=[line for _, line, _, _ in listed],
        sass=[text for _, _, _, text in listed],
        ptx=[""] * len(listed),
        values={},
    )


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

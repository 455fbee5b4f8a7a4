"""`capture`: kernels of any program recorded under ncu, and the run folder that is made of them."""

from __future__ import annotations

import datetime
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rooflift.api.project import Say, silent
from rooflift.api.run import Run
from rooflift.api.shown import Part, Titled, short
from rooflift.errors import CatalogError
from rooflift.measure.first_run import FirstRun, Kernel, as_metrics
from rooflift.ncu.capture import kernel_pattern
from rooflift.ncu.names import short_name
from rooflift.project.operator import find_root
from rooflift.project.settings import reports_folder
from rooflift.region import SEPARATOR
from rooflift.report.cells import figure, table_of, time, words

if TYPE_CHECKING:
    from rooflift.importer import Label, Made
    from rooflift.measure.capture import Captured as Recorded
    from rooflift.ncu.capture import Graphs, Replay

FOLDER = "captured"
RANK_OF_THIS = ("RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID")
LISTED = 20  # kernels in the table
WHOLE = ("range", "graph")  # what ncu calls the workload where it takes several kernels as one


@dataclass(frozen=True)
class Captured:
    """The kernels of a program by time, and the runs that hold what was recorded: one, or one a rank."""

    first: FirstRun
    chosen: Sequence[Kernel]
    runs: Sequence[Run]
    refused: str  # why there are no metrics

    def _recorded(self, kernel: Kernel) -> bool:
        """Tell whether a report has launches of a kernel of the first run."""
        expression = re.compile(kernel_pattern(kernel.name))
        return not self.refused and any(map(expression.search, self._names()))

    def _names(self) -> set[str]:
        return {name for run in self.runs for name in run.metrics["kernel"]}

    def _missed(self) -> list[str]:
        """Return the kernels that were asked for and of which no report has a launch."""
        whole = self.refused or self.first.regions or self._names() & set(WHOLE)
        return [] if whole else [short_name(kernel.name) for kernel in self.chosen if not self._recorded(kernel)]

    def _rows(self) -> list[dict[str, Any]]:
        return [
            {
                "kernel": kernel.name,
                "launches": kernel.count,
                "total_us": kernel.total_ns / 1e3,
                "mean_us": kernel.total_ns / kernel.count / 1e3,
                "share_pct": 100 * kernel.share,
                "recorded": self._recorded(kernel),
            }
            for kernel in self.first.kernels()
        ]

    def parts(self) -> list[Part]:
        """Return what a terminal shows: kernels by time, then each run."""
        rows = [
            row | {"kernel": short_name(row["kernel"]), "recorded": "yes" if row["recorded"] else ""}
            for row in self._rows()
        ]
        columns = [words("kernel"), figure("launches", "launches"), time("total_us", "total"), time("mean_us", "mean")]
        columns += [figure("share_pct", "share", 1, " %"), words("recorded", "metrics")]
        title = f"First run, by {self.first.by}: {len(rows)} kernels"
        more = [f"{len(rows) - LISTED} more kernels"] if len(rows) > LISTED else []
        told: list[Part] = [Titled(title, table_of(rows[:LISTED], columns)), *more]
        if self.refused:
            told.append(f"No metrics: {self.refused}. The runs hold durations alone.")
        if missed := self._missed():
            told.append(f"ncu saw no such launch of {', '.join(missed)}; ncu_command in run.json says what was asked.")
        for run in self.runs:
            told += [*run.parts(), f"Wrote {short(run.folder)}"]
        return told

    def record(self) -> dict[str, Any]:
        """Return the same for a program."""
        return {
            "by": self.first.by,
            "kernels": self._rows(),
            "refused": self.refused or None,
            "runs": [short(run.folder) for run in self.runs],
        }

    def __repr__(self) -> str:
        return f"<Captured: {len(self.chosen)} kernels, {', '.join(run.name for run in self.runs)}>"


def capture(
    program: Sequence[str],
    *,
    kernel: str | None = None,
    top: int = 5,
    launches: int = 3,
    metrics: str = "standard",
    replay: Replay = "kernel",
    graphs: Graphs = "node",
    out: Path | str | None = None,
    timeout_s: float = 1800,
    say: Say = silent,
    root: Path | str | None = None,
) -> Captured:
    """Run any program twice in the working directory, and make a run of the kernels that take most of its time.

    The first run finds them: by CUPTI where the program's Python has cupti-python, else by torch's profiler, else, as
    for a program without Python, by one pass of ncu. The second is under ncu: of the `top` kernels, of those whose
    name the regular expression `kernel` finds, so many `launches` each are recorded, of its child processes, too; each
    rank of torchrun, mpirun or srun has a report and a run of its own. Regions that the program marks with `rl.region`
    become the versions of a ladder instead, and all their launches are recorded.

    `replay`: how ncu measures again what one pass cannot hold: kernel by kernel, the whole application, or ranges.
    `graphs`: the kernels of a CUDA graph by node, or each graph whole. `metrics`: basic, standard, source or full.
    Where ncu is refused the performance counters, or is missing, the run holds the durations of the first run.

    >>> import rooflift as rl
    >>> rl.capture(["python", "train.py"], top=3).runs[0].summary()  # doctest: +SKIP

    Raises:
        CatalogError: no kernel is called so; where the program begins behind a launcher cannot be told.
        EnvironmentFault: the program fails, or runs too long.
        NcuFault: ncu failed, or saw no kernel; CounterPermission where not even durations are known.
        RunFault: `out` exists or cannot be written.
    """
    from rooflift.measure import capture as measured
    from rooflift.measure.request import known_metric_set

    if not program:
        raise CatalogError("no program is named", "Name it as in a shell: rooflift capture -- python train.py")
    if known_metric_set(metrics) == "none":
        raise CatalogError("--metrics none collects nothing", "Choose basic, standard, source or full.")
    request = measured.CaptureRequest(tuple(program), kernel, top, launches, metrics, replay, graphs, timeout_s)
    top_folder = _top(root)
    with tempfile.TemporaryDirectory(prefix="rooflift-capture-") as name:
        stage = Path(name)
        recorded = measured.capture(request, stage, say)
        say("reading the reports" if recorded.reports else "no metrics: keeping durations")
        runs = _runs(recorded, program, stage, Path(out) if out else None, top_folder)
    return Captured(recorded.first, recorded.chosen, runs, recorded.refused)


def _top(root: Path | str | None) -> Path:
    """Return the project's folder, without one the working directory."""
    start = Path(root or Path.cwd()).resolve()
    try:
        return find_root(start)
    except CatalogError:
        return start


def _runs(recorded: Recorded, program: Sequence[str], stage: Path, out: Path | None, root: Path) -> list[Run]:
    """Make a run of each rank's report; without metrics one of each case that the durations are of."""
    from rooflift.importer import Choice, Label, Made, import_files

    label = Label(None, "", None, "", "")
    made = Made(tuple(_notes(recorded, program)), tuple(recorded.command))
    begin = out or _folder(root, program)
    runs = []
    for rank, report in recorded.reports.items():
        where = _free(_named(begin, f"rank{rank}") if rank else begin, numbered=out is None)
        found = import_files([report], label, root, where, Choice(regions=True), made=made)
        runs.append(Run(found.folder, found.manifest, None))
    return runs or _of_durations(recorded, stage, label, made, begin, root, numbered=out is None)


def _of_durations(
    recorded: Recorded, stage: Path, label: Label, made: Made, out: Path, root: Path, *, numbered: bool
) -> list[Run]:
    from rooflift.importer import Choice, import_files

    named = {kernel.name for kernel in recorded.chosen}
    groups = [group for group in recorded.first.groups if group.kernel in named or group.region]
    cases: dict[tuple[str, str], dict[str, Any]] = {}
    for group in groups:
        version, case, dtype = group.region.split(SEPARATOR) if group.region else ("", "", "")
        cases.setdefault((case, dtype), {}).setdefault(version, []).append(group)
    runs = []
    for (case, dtype), versions in cases.items():
        paths = []
        for version, own in versions.items():
            paths.append(stage / f"{version or 'durations'}.json")
            paths[-1].write_text(as_metrics(own), encoding="utf-8")
        where = _free(_named(out, case) if len(cases) > 1 else out, numbered=numbered)
        names = tuple(version for version in versions if version)
        of_case = type(label)(None, "", None, case, dtype)
        found = import_files(paths, of_case, root, where, Choice(names=names), made=made)
        runs.append(Run(found.folder, found.manifest, None))
    return runs


def _notes(recorded: Recorded, program: Sequence[str]) -> list[str]:
    first, chosen = recorded.first, recorded.chosen
    told = " ".join(Path(word).name if word.startswith("/") else word for word in program)
    share = sum(kernel.share for kernel in chosen)
    seen = f"First run, by {first.by}: {len(first.kernels())} kernels"
    taken = f"the {len(chosen)} asked for take {100 * share:.0f} % of their time"
    what = "what ran inside of its regions is recorded" if first.regions else taken
    return [
        f"Captured from `{told}`. {seen}; {what}.",
        *([f"No metrics: {recorded.refused}."] if recorded.refused else []),
    ]


def _folder(root: Path, program: Sequence[str]) -> Path:
    """Return reports/captured/<date>-<program>, with the rank where this process is one of several."""
    scripts = [Path(word).stem for word in program if word.endswith(".py")] or [Path(program[0]).name]
    rank = next((os.environ[name] for name in RANK_OF_THIS if name in os.environ), "")
    name = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}-{scripts[0]}{f'-rank{rank}' if rank else ''}"
    return reports_folder(root) / FOLDER / name


def _named(folder: Path, part: str) -> Path:
    return folder.with_name(f"{folder.name}-{part}")


def _free(folder: Path, *, numbered: bool) -> Path:
    """Return the folder, or the first of folder-2, -3, ... that does not exist."""
    number, found = 2, folder
    while numbered and found.exists():
        found, number = _named(folder, str(number)), number + 1
    return found

"""What a loop measures: a version before the next step, a candidate beside its base, all kept versions in the end."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from rooflift import pipeline
from rooflift.analysis.selection import Selection, advise, select
from rooflift.errors import CatalogError, KernelFault, NoRun, WrongResult
from rooflift.measure.request import Request, command_line
from rooflift.optimize.journal import State, Step
from rooflift.optimize.setting import Setting
from rooflift.optimize.trusted import builds_extension
from rooflift.optimize.verdict import NotKept, require_faster, require_whole
from rooflift.project.header import parse_header
from rooflift.project.operator import Operator, Version, load_operator
from rooflift.runs.find import newest_on
from rooflift.runs.run import Run, read_run
from rooflift.schema import MeasureOptions


@dataclass(frozen=True, slots=True)
class Bench:
    """The measurements of a loop as it stands; a run that is there is not made again."""

    setting: Setting
    state: State

    def operator(self) -> Operator:
        """Return the loop's operator: the base and what was kept, and no version that the journal lacks."""
        found = load_operator(self.setting.folder, self.setting.operator.label, bare=True)
        return replace(found, versions=found.versions[: self.state.next_version])

    def version(self, name: str) -> tuple[Operator, Version | None]:
        """Return the operator and one of its versions; None for "", the reference alone."""
        operator = self.operator()
        return operator, next((version for version in operator.versions if version.name == name), None)

    def measured(self, base: str) -> tuple[Run, Selection] | None:
        """Return a run with a version, and where in it; without a GPU a recorded run of the project, None without."""
        setting = self.setting
        if self.state.started.gpu is None:
            with suppress(NoRun, CatalogError):
                if setting.base is not None:
                    run = newest_on(setting.root, setting.operator.label, setting.spec.matches)
                    return run, select(run, setting.base.name)
            return None
        for one in self.state.kept:
            if one.version == base:
                run = read_run(setting.folder / "iterations" / f"{one.number:03}" / "run", setting.root)
                return run, select(run, base)
        operator, version = self.version(base)
        if version is None:
            return None
        run = self._profiled(operator, [version], setting.folder / "iterations" / "000" / "run")
        return run, select(run, base)

    def timed(self, step: Step, candidate: Path, place: Path) -> dict[str, object]:
        """Profile a candidate beside its base, twice; return its figures if it is faster both times.

        The first version stands alone: it is kept where it does the work of the case.

        Raises:
            NotKept: it cannot be profiled, needs less than the work of the case does, or is not faster.
        """
        header = parse_header(ast.parse(candidate.read_text(encoding="utf-8")), candidate)
        own = Version(self.state.next_version, candidate.stem, candidate, header)
        operator, base = self.version(step.base)
        both = replace(operator, versions=(*operator.versions, own))
        try:
            if base is None:
                return require_whole(self._profiled(both, [own], place / "run"), own.name)
            found = require_faster(self._profiled(both, [base, own], place / "run"), base.name, own.name)
            # a second time, in processes of their own: what was lucky or found its moment is not kept
            require_faster(self._profiled(both, [base, own], place / "again"), base.name, own.name, "again")
        except (KernelFault, WrongResult) as fault:
            raise NotKept("profile", [str(fault)]) from None
        return found

    def _profiled(self, operator: Operator, versions: Sequence[Version], out: Path, *, baselines: bool = False) -> Run:
        """Return the run in `out`, measured now unless it is there."""
        if not out.exists():
            started = self.state.started
            request = Request(
                root=self.setting.root,
                operator=operator,
                versions=versions,
                cases=operator.select_cases([], "bench"),
                dtypes=[],
                metric_set=self.setting.metric_set,
                timeout_s=self.setting.timeout_s,
                command=command_line(
                    "optimize",
                    operator.label,
                    base=self.setting.base.name if self.setting.base else None,
                    stages=",".join(started.stages),
                    iterations=started.iterations,
                    metrics=self.setting.metric_set,
                ),
                about=self._about,
                options=MeasureOptions(slow_baselines=baselines),
                sandbox=self.setting.sandbox,
                trusted=self._trusted(versions),
            )
            with self.setting.progress() as progress:
                told = pipeline.profile(request, out, progress)
            if told.resumed:
                self.setting.note(told.resumed)
        return read_run(out, self.setting.root)

    def _trusted(self, versions: Sequence[Version]) -> list[str]:
        if not self.setting.trust:
            return []
        return [one.name for one in versions if builds_extension(one.path.read_text(encoding="utf-8"))]

    @property
    def _about(self) -> str:
        if self.setting.base is None:
            return "Versions of an optimize loop that began with the reference alone."
        return f"Versions of an optimize loop: {self.state.started.base} is {self.setting.base.name} of the project."

    def reached(self) -> str:
        """Return the stop rule's reason, "" while there is something to gain."""
        measured = self.measured(self.state.base)
        if measured is None:
            return ""
        run, about = measured
        found = advise(run, about)
        if not found.stop:
            return ""
        if found.sol_pct is None:
            return f"{about} keeps {found.bottleneck} at its peak with the compulsory bytes"
        return f"{about} is at {found.sol_pct:.1f} % of SOL ({found.sol_binds})"

    def last_run(self) -> str:
        """Measure all versions of the loop in one run and return its folder, relative to the loop's; "" untimed."""
        if self.state.started.gpu is None:
            return ""
        place, operator = Path("reports", self.setting.operator.name, "optimize"), self.operator()
        if not operator.versions:
            return ""
        self._profiled(operator, operator.versions, self.setting.folder / place, baselines=self.setting.baselines)
        return place.as_posix()

"""A run as users hold it: what its folder holds, and what can be asked of its versions and made of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rooflift import queries
from rooflift.analysis import compare, selection
from rooflift.api.advice import Advice
from rooflift.api.comparison import Comparison, Gate
from rooflift.api.contents import Contents
from rooflift.api.hotspots import Hotspots
from rooflift.api.kernels import KernelComparison
from rooflift.api.project import Share, project_root, share_of
from rooflift.api.project import gpu as spec_of
from rooflift.api.views import Overview, Report
from rooflift.errors import CatalogError, RunFault
from rooflift.ncu.report import RuleResult
from rooflift.ncu.report import read_rules as read_rule_results
from rooflift.project.settings import build_folder
from rooflift.report.data import report_data
from rooflift.runs import run as stored
from rooflift.runs.verify import Verified, verify

if TYPE_CHECKING:
    from rooflift.api.picker import Picker
    from rooflift.api.timeline import Timeline
    from rooflift.api.tune import Tune
    from rooflift.ncu.units import Units


@dataclass(frozen=True, repr=False)
class Run(Contents):
    """A run folder. Beside what it says itself it has the tables `metrics`, `timings`, `samples` and `compiled`.

    `manifest` is run.json: machine, software, versions, cases, commit. `reports` are the .ncu-rep files.
    """

    def compare(
        self,
        base: str | None = None,
        head: str | None = None,
        *,
        other: stored.Run | None = None,
        alpha: float = compare.ALPHA,
        min_effect: Share = compare.MIN_EFFECT,
        force: bool = False,
    ) -> Comparison:
        """Compare two versions of this run, or `base` of this run with `head` of the run `other`; None: the last.

        `alpha` is the probability of one false verdict or more among all cases; a change smaller than `min_effect`
        (0.01 or "1%"), or than the measured noise, is none. With `force` what is not comparable has a ratio, and still
        no verdict.

        >>> import rooflift as rl
        >>> run = rl.latest("depthwise_conv2d", gpu="H100", versions=["v6", "v7"])
        >>> run.compare("v6", "v7").verdict
        'faster'

        Raises:
            CatalogError: a run has no such version, or both are the same version of the same run.
            RunFault: the two runs are of different operators.
        """
        run = self if other is None or other.folder.resolve() == self.folder.resolve() else other
        one = compare.side(self, selection.select(self, base).version)
        two = compare.side(run, selection.select(run, head).version)
        if run is self and one.version == two.version:
            raise CatalogError(f"{one.name} on both sides", "Name two versions: `rooflift compare RUN:v1 :v2`.")
        rule = compare.Rule(alpha, share_of(min_effect) or 0.0)
        about = selection.select(run)
        return Comparison(compare.compare(one, two, rule, force=force), about.case, about.dtype)

    def compare_kernels(
        self,
        base: str,
        head: str | None = None,
        *,
        other: stored.Run | None = None,
        case: str | None = None,
        dtype: str | None = None,
    ) -> KernelComparison:
        """Compare two versions down to the instruction: resources, mixes, stalls, lines and their SASS.

        `head` is by default the last version, of the run `other` or of this one; both need samples of instructions.

        >>> import rooflift as rl
        >>> found = rl.open("tests/fixtures/h100_source").compare_kernels("v7", "v10")
        >>> list(map(str, found.resources.iloc[0]))
        ['Registers', '80.0', '56.0']

        Raises:
            CatalogError: a run has no such version, case or dtype.
            ReportFault: a run was profiled without samples, with how to get them.
        """
        from rooflift.api import kernels

        return kernels.compare_kernels(self, base, other or self, head, case, dtype)

    def timeline(self, version: str | None = None, case: str | None = None, dtype: str | None = None) -> Timeline:
        """Return the longest launch of a version over its time, by ncu's PM sampling: ramp, phases, tail.

        >>> import rooflift as rl
        >>> rl.latest("matmul").timeline("v7").table()  # doctest: +SKIP

        Raises:
            CatalogError: the run has no such version, case or dtype.
            ReportFault: the run was profiled without, with how to get it.
        """
        from rooflift.api.timeline import of_run

        return of_run(self, version, case, dtype)

    def tune(self, version: str | None = None, **options: Any) -> Tune:
        """Try configurations of a version of this run, by default the last, on the case that the run is about.

        The options are those of `rl.tune`. It is measured on the GPU here, whichever the run's was; without one the
        configurations are compiled for the run's.

        >>> import rooflift as rl
        >>> rl.latest("softmax").tune("v9", values={"num_warps": [4, 8]}).best  # doctest: +SKIP

        Raises:
            CatalogError: the run has no such version or belongs to no project.
            KernelFault, EnvironmentFault, RunFault: as `rl.tune`.
        """
        from rooflift.api.tune import tune
        from rooflift.runs.find import ladder_label

        about = selection.select(self, version)
        target = int(self.manifest.machine.compute_capability.replace(".", "") or 0) or None
        chosen = {"cases": [about.case], "dtypes": [about.dtype], "target": target, "root": self.root} | options
        return tune(ladder_label(self.manifest), about.version, **chosen)

    def gate(
        self,
        version: str | None = None,
        *,
        base: str | None = None,
        other: stored.Run | None = None,
        max_slowdown: Share | None = None,
        min_sol: Share | None = None,
        max_registers: int | None = None,
        max_spills: int | None = None,
        cases: Collection[str] = (),
    ) -> Gate:
        """Hold a version, by default the last, against thresholds; those of the project's pyproject.toml hold, too.

        `max_slowdown` (0.02 or "2%") is against `base` of the run `other`, or of this one: by default the version
        before. `min_sol` is the least share of the speed of light; `max_spills` counts local loads and stores of a
        kernel; the times of `cases` alone are judged. What is given here goes before [tool.rooflift.gate].

        >>> import rooflift as rl
        >>> run = rl.latest("depthwise_conv2d", gpu="H100", versions=["v6", "v7"])
        >>> run.gate("v7", max_slowdown="2%", cases=["main"]).passed
        True

        Raises:
            CatalogError: a version is unknown, or a rule malformed.
        """
        import msgspec

        from rooflift import rerender
        from rooflift.analysis.gate import judge_gate
        from rooflift.analysis.thresholds import GateRules, read_rules

        given: dict[str, Any] = {"max_slowdown": share_of(max_slowdown), "min_sol": share_of(min_sol)}
        given |= {"max_registers": max_registers, "max_spills": max_spills, "cases": tuple(cases) or None}
        rules = read_rules(self.root / "pyproject.toml") if self.root else GateRules()
        rules = msgspec.structs.replace(rules, **{name: value for name, value in given.items() if value is not None})
        head = compare.side(self, selection.select(self, version).version)
        before = self.versions[: self.versions.index(head.version)]
        comparison = None
        if rules.max_slowdown is not None and (base or other or before):
            run = other or self
            one = selection.select(run, base or (None if other else before[-1])).version
            comparison = compare.compare(compare.side(run, one), head)
        compiled = rerender.compiled_kernels(self) if rules.max_spills is not None else self.compiled
        return Gate(head.name, judge_gate(rules, head.version, selection.figures(self), compiled, comparison))

    def advice(self, version: str | None = None, case: str | None = None, dtype: str | None = None) -> Advice:
        """Return the bottleneck of a version, by default the last, and which stage addresses that.

        >>> import rooflift as rl
        >>> advice = rl.latest("depthwise_conv2d", gpu="H100", metrics=True, versions=["v0"]).advice("v0")
        >>> advice.bottleneck, advice.stage
        ('Issue Slots', 'grid')

        Raises:
            CatalogError: the run has no such version, case or dtype.
        """
        about = selection.select(self, version, case, dtype)
        rules = queries.rule_results(self, about, self._rule_results)
        return Advice(self, about, selection.advise(self, about, self._rows), rules)

    def hotspots(self, version: str | None = None, case: str | None = None, dtype: str | None = None) -> Hotspots:
        """Return the source lines that the time of a version goes to, by default the last, down to the instruction.

        >>> import rooflift as rl
        >>> spots = rl.open("tests/fixtures/h100_source").hotspots("v7")
        >>> spots.table()["line"].tolist()[:3]
        [94, 189, 60]

        Raises:
            CatalogError: the run has no such version, case or dtype.
            ReportFault: the run was profiled without samples, with how to get them.
        """
        from rooflift.api import hotspots

        return hotspots.of_run(self, version, case, dtype)

    def report(
        self,
        out: Path | str | None = None,
        *,
        base: str | None = None,
        other: stored.Run | None = None,
        page: bool = True,
        png: bool = False,
        bundle: bool = False,
    ) -> Report:
        """Write report.md, the figures and, with `page`, report.html into `out`; return the files. The run stays as is.

        `out` is by default build/<operator>/<run> in the project. The last version is compared with `base` of the run
        `other`, or of this one: by default the version before. With `png` each figure is there as PNG, too; with
        `bundle` one zip of report, figures, data and .ncu-rep files.

        >>> import tempfile, rooflift as rl
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     files = rl.latest("rms_norm").report(folder)
        >>> sorted(file.name for file in files if file.suffix in (".md", ".html"))
        ['report.html', 'report.md']

        Raises:
            CatalogError: `base` is unknown.
            RunFault: the run was imported and has no times, its reports and metrics.csv disagree, or `out` is a run or
                cannot be written.
        """
        from rooflift import rerender

        self._require_cases("report")
        build = build_folder(self.root or Path.cwd())
        folder = Path(out) if out is not None else build / self.operator / self.name
        if (folder / "run.json").exists():
            raise RunFault(f"{folder} is a run", "Name another folder; what was measured is never overwritten.")
        run = other or self
        side = compare.side(run, selection.select(run, base).version) if base or other else None
        found = rerender.rerender(self, folder, side, page=page, png=png)
        zipped = [rerender.bundle(self, folder, found.written)] if bundle else []
        return Report([*found.written, *zipped], self.folder, found.data)

    def overview(self, *, base: str | None = None, other: stored.Run | None = None) -> Overview:
        """Return what the report says unfolded, without files: five lines that decide, and one table.

        The last version is compared with `base` of the run `other`, or of this one: by default the version before.

        >>> import rooflift as rl
        >>> rl.latest("rms_norm").overview().parts()[0]  # doctest: +ELLIPSIS
        'Verdict: v0_baseline is the fastest: 1.094 ms, ...'

        Raises:
            CatalogError: `base` is unknown.
            RunFault: the run was imported and has no times.
        """
        self._require_cases("report")
        run = other or self
        side = compare.side(run, selection.select(run, base).version) if base or other else None
        data = report_data(
            self.manifest, self.metrics, self.timings, self.compiled, self.samples, side, measured=self.roofs
        )
        return Overview(data, self.folder)

    def pick(self, version: str | None = None) -> Picker:
        """Return a version of the main case, by default the last, as pages show it; a notebook has a menu of all.

        >>> import rooflift as rl
        >>> rl.latest("depthwise_conv2d", gpu="H100", versions=["v6"], metrics=True).pick("v6")  # doctest: +ELLIPSIS
        <Picker ...: v6_ahead of ... versions>

        Raises:
            CatalogError: the run has no such version.
            RunFault: the run was imported and has no times.
        """
        from rooflift.api.picker import Picker

        self._require_cases("show")
        return Picker(self._data, selection.select(self, version).version)

    def verify(self) -> Verified:
        """Hold every file of the run against its recorded sha256; `whole`, `faults` and `notes` say what is found.

        >>> import rooflift as rl
        >>> rl.latest("rms_norm").verify().whole
        True
        """
        return verify(self.folder, self.root)

    @classmethod
    def imported(
        cls,
        file: Path | str | Sequence[Path | str],
        out: Path | str,
        *,
        operator: str | None = None,
        version: str | None = None,
        gpu: str | None = None,
        case: str | None = None,
        dtype: str | None = None,
        names: Sequence[str] = (),
        by_kernel: bool = False,
        kernel: str | None = None,
        launch: int | None = None,
        skip: int = 0,
        last: bool = False,
        units: Units = "auto",
        root: Path | str | None = None,
    ) -> Self:
        """Make the run folder `out` of a report, of what `ncu --csv` printed, or of metrics as JSON, from elsewhere.

        Several files are the versions of one ladder, `names` their names; with `by_kernel` the kernels of one file are.
        `kernel` (a regular expression), `launch`, `skip` and `last` pick launches as in `rl.launches`. Launches of one
        kernel with the same grid are repeats, whose medians count. Times are ncu's own durations, and notes say so.
        What is not given, and the file does not tell either, is recorded as unknown; `manifest.notes` say so.

        >>> import tempfile, rooflift as rl
        >>> report = rl.latest("rms_norm").reports[0]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = rl.Run.imported(report, f"{folder}/run")
        >>> run.manifest.origin.kind
        'ncu-rep'

        Raises:
            CatalogError: a name is unknown, or contradicts what a report of rooflift says of itself.
            ReportFault: the file is no report with a kernel launch.
            RunFault: a text is malformed, or the unit of a value cannot be told; or `out` exists or cannot be written.
        """
        from rooflift.importer import Choice, Label, import_files
        from rooflift.measure.request import known_dtype
        from rooflift.project.operator import load_operator

        top = project_root(root) if operator else Path(root or Path.cwd())
        of_operator = load_operator(top, operator) if operator else None
        if of_operator and case:
            of_operator.select_cases([case], "bench")
        of_version = of_operator.select_versions([version])[0] if of_operator and version else version or ""
        in_dtype = known_dtype(dtype) if dtype else ""
        label = Label(of_operator, of_version, spec_of(gpu) if gpu else None, case or "", in_dtype)
        files = [Path(file)] if isinstance(file, str | Path) else [Path(one) for one in file]
        choice = Choice(tuple(names), by_kernel, kernel, launch, skip, last)
        found = import_files(files, label, top, Path(out), choice, units)
        return cls(found.folder, found.manifest, top if operator else None)

    @cached_property
    def _rule_results(self) -> list[RuleResult]:
        return read_rule_results(self.reports)

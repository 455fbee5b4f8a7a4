"""Operators of the project: their versions, and what is made of them without a measured run."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rooflift.analysis.compare import ALPHA, MIN_EFFECT
from rooflift.api.project import TARGETS, Say, Share, project_root, share_of, silent
from rooflift.api.shown import html_table, texts
from rooflift.api.start import Written, write_version
from rooflift.errors import CatalogError, RunFault
from rooflift.project import operator as project
from rooflift.project.settings import build_folder, reports_folder

if TYPE_CHECKING:
    import pandas as pd

    from rooflift.api.checks import Offline
    from rooflift.api.comparison import Comparison, CompiledPair
    from rooflift.measure.request import Request
    from rooflift.project.git import Pair


@dataclass(frozen=True)
class Operator(project.Operator):
    """One ladder of an operator: the reference, the ladder's versions in order, the cases that it serves by name."""

    @property
    def root(self) -> Path:
        """The project's folder."""
        return project.find_root(self.folder)

    def table(self) -> pd.DataFrame:
        """Return one row a version: version, stage, title, change, why, expect (its predictions)."""
        import pandas as pd

        names = ("stage", "title", "change", "why", "expect")
        rows = [{"version": v.name} | {name: getattr(v.header, name) for name in names} for v in self.versions]
        return pd.DataFrame(rows, columns=["version", *names])

    def export(self, out: Path | str | None = None, *, force: bool = False) -> str:
        """Return the operator as one module that needs torch and triton alone; write it to `out`, if that is given.

        It holds the class ModelNew of dispatch.py with the kernels that dispatch chooses from, or of an operator
        without one its newest version, and the project's licence. `force` replaces `out`.

        >>> import rooflift as rl
        >>> "class ModelNew" in rl.operator("rms_norm").export()
        True

        Raises:
            CatalogError: the dispatch imports something that can be neither inlined nor expected beside torch.
            RunFault: `out` exists or cannot be written.
        """
        from rooflift.export import export_module
        from rooflift.runs import atomic

        text = export_module(self, self.root / "LICENSE")
        if out is not None:
            if Path(out).exists() and not force:
                raise RunFault(f"{out} exists", "Name another file, or replace it with --force.")
            atomic.write_file(Path(out), text.encode())
        return text

    def new_version(self, idea: str | None = None, *, stage: str | None = None, base: str | None = None) -> Written:
        """Copy the newest version, or `base`, as the next one of the ladder, with a header to fill in.

        `idea` becomes part of the file's name; it is a stage, or stands beside `stage`.

        >>> import rooflift as rl
        >>> rl.operator("rms_norm").new_version("memory")  # doctest: +SKIP
        <Written: v6_memory.py>

        Raises:
            CatalogError: no stage is said, or a name is unknown.
        """
        return write_version(self, idea, stage, base)

    def offline(
        self,
        *,
        versions: Collection[str] = (),
        cases: Collection[str] = (),
        dtypes: Collection[str] = (),
        every: bool = False,
        timeout_s: float = 1800,
        say: Say = silent,
    ) -> Offline:
        """Do what needs no GPU: check in the interpreter and compile the newest version of each ladder.

        Of named `versions` these alone; with `every` all. `rooflift profile` does so where there is no GPU.

        >>> import rooflift as rl
        >>> rl.operator("rms_norm").offline(versions=["v0"]).text  # doctest: +SKIP
        "Checked here in Triton's interpreter: 12 comparisons ..."

        Raises:
            CatalogError: a name is unknown.
            KernelFault, WrongResult: a version does not compile or run, or differs from the reference.
            EnvironmentFault: triton or cuobjdump is missing.
        """
        from rooflift import pipeline
        from rooflift.api.checks import Offline
        from rooflift.measure.environment import package_version
        from rooflift.measure.request import request_for

        request = request_for(
            *(self.root, self.label),
            versions=versions,
            cases=cases,
            dtypes=dtypes,
            use="bench",
            timeout_s=timeout_s,
        )
        found = pipeline.check_and_compile(request, TARGETS, say, every=every or bool(versions))
        return Offline(found.checks, found.compiled, found.left_out, package_version("triton"), tuple(found.gaps))

    def compare(
        self,
        revisions: str,
        *,
        version: str | None = None,
        cases: Collection[str] = (),
        dtypes: Collection[str] = (),
        suite: bool = False,
        metrics: str = "standard",
        precision: Share | None = 0.005,
        budget_s: float | None = None,
        alpha: float = ALPHA,
        min_effect: Share = MIN_EFFECT,
        out: Path | str | None = None,
        timeout_s: float = 1800,
        say: Say = silent,
    ) -> Comparison:
        """Measure a version, by default the newest, at two git revisions in one run, and compare the two.

        `revisions` is "main..HEAD", or "main.." for the working tree. The run, whose versions are v0_base and v1_head,
        is left in `out`, by default below build/compare/; the other options are those of `rl.profile` and
        `Run.compare`.

        >>> import rooflift as rl
        >>> rl.operator("rms_norm").compare("main..").verdict  # doctest: +SKIP
        'within noise'

        Raises:
            CatalogError: a name is unknown, or the reference differs between the revisions.
            NoGpu, NcuFault, KernelFault, WrongResult, RunFault: as `rl.profile`.
        """
        from rooflift import pipeline
        from rooflift.api.run import Run
        from rooflift.measure import environment
        from rooflift.measure.request import command_line, share_text
        from rooflift.project.git import pair, parse_range
        from rooflift.runs.run import read_run
        from rooflift.schema import MeasureOptions

        environment.driver()  # the first thing that can be missing
        narrow = share_of(precision)
        command = command_line(
            "compare",
            revisions,
            self.label,
            version=version,
            case=cases,
            dtype=dtypes,
            suite=suite,
            metrics=metrics,
            precision=share_text(narrow),
            budget=budget_s,
        )
        with pair(self.root, parse_range(revisions), self.label, version) as both:
            request = replace(
                self._request_for(both, cases, dtypes, metrics, timeout_s),
                command=command,
                suite=suite,
                options=MeasureOptions(precision=narrow, budget_s=budget_s, noise=True),
            )
            folder = Path(out) if out else build_folder(self.root) / "compare" / self.label
            made = pipeline.profile(request, folder, say, numbered=out is None)
        run = Run(made.folder, read_run(made.folder).manifest, self.root)
        found = run.compare("v0_base", "v1_head", alpha=alpha, min_effect=min_effect)
        return replace(found, about=request.about)

    def compare_compiled(
        self,
        revisions: str,
        *,
        version: str | None = None,
        cases: Collection[str] = (),
        dtypes: Collection[str] = (),
        targets: Collection[int] = TARGETS,
        timeout_s: float = 1800,
        say: Say = silent,
    ) -> CompiledPair:
        """Compile a version, by default the newest, at two git revisions, without a GPU, and show both side by side.

        `revisions` and `version` are those of `compare`, `targets` those of `rl.compile`.

        >>> import rooflift as rl
        >>> print(rl.operator("rms_norm").compare_compiled("main..", targets=[90]).text)  # doctest: +SKIP
        Compiled, not run: other instructions in 0 of 24 kernels that both have, ...

        Raises:
            CatalogError: a name is unknown, or the reference differs between the revisions.
            KernelFault: a version does not compile.
            EnvironmentFault: triton or cuobjdump is missing.
        """
        from rooflift.api.comparison import CompiledPair
        from rooflift.measure.compiled import compile_kernels
        from rooflift.project.git import pair, parse_range

        with pair(self.root, parse_range(revisions), self.label, version) as both:
            say("compiling")
            request = self._request_for(both, cases, dtypes, "none", timeout_s)
            return CompiledPair(self.label, both.about, compile_kernels(request, list(targets), say))

    def _request_for(
        self, both: Pair, cases: Collection[str], dtypes: Collection[str], metrics: str, timeout_s: float
    ) -> Request:
        """Return what is asked of two revisions, which `both` holds as versions of one operator."""
        from rooflift.measure.request import Request, known_dtype, known_metric_set

        return Request(
            root=self.root,
            operator=both.operator,
            versions=both.operator.versions,
            cases=both.operator.select_cases(list(cases), "bench"),
            dtypes=[known_dtype(dtype) for dtype in dtypes],
            metric_set=known_metric_set(metrics),
            timeout_s=timeout_s,
            command=[],
            named=bool(cases),
            commit=both.commit,
            about=both.about,
        )

    def __repr__(self) -> str:
        return f"<Operator {self.label}: {len(self.versions)} versions, {len(self.cases)} cases>"

    def _repr_html_(self) -> str:
        return html_table(texts(self.table(), ["version", "stage", "title"]), repr(self)[1:-1])

    def parts(self) -> list[str]:
        """Return what a terminal shows: the versions, the cases, the runs."""
        found = self.record()
        versions = (f"  {one['version']:<24} {one['stage']:<10} {one['title']}" for one in found["versions"])
        runs = f"  runs:  {', '.join(found['runs']) or 'none'}"
        return [self.label, *versions, f"  cases: {', '.join(self.cases)}", runs]

    def record(self) -> dict[str, Any]:
        """Return the versions, the cases with their uses and the runs' names for a program."""
        from rooflift.runs.find import find_runs

        return {
            "operator": self.label,
            "versions": [{"version": v.name, "stage": v.header.stage, "title": v.header.title} for v in self.versions],
            "cases": {case.name: sorted(case.use) for case in self.cases.values()},
            "runs": [path.name for path in find_runs(reports_folder(self.root), self.label)],
        }


def operator(name: str, *, root: Path | str | None = None) -> Operator:
    """Return an operator of the project, a folder below kernels/, or a ladder of it ("depthwise_conv2d/large_filter").

    >>> import rooflift as rl
    >>> rl.operator("rms_norm").versions[0].name
    'v0_baseline'

    Raises:
        CatalogError: the operator is unknown, or one of its files is malformed; with file and line.
    """
    found = project.load_operator(project_root(root), name)
    return Operator(**{field.name: getattr(found, field.name) for field in fields(project.Operator)})


@dataclass(frozen=True)
class Unreadable:
    """An operator that cannot be read yet: a file is missing or malformed."""

    label: str
    reason: str
    remedy: str

    def parts(self) -> list[str]:
        """Return what a terminal shows: the reason and the remedy."""
        return [self.label, f"  cannot be read: {self.reason}", f"  {self.remedy}"]

    def record(self) -> dict[str, Any]:
        """Return the reason and the remedy for a program."""
        return {"operator": self.label, "error": self.reason, "remedy": self.remedy}


def all_operators(*, root: Path | str | None = None) -> list[Operator | Unreadable]:
    """Return all operators as `operators` does, and those that cannot be read with the reason in their place.

    Raises:
        CatalogError: no project is found.
    """
    top, found = project_root(root), list[Operator | Unreadable]()
    for name in project.operator_names(top):
        try:
            found.append(operator(name, root=top))
        except CatalogError as fault:
            found.append(Unreadable(name, fault.message, fault.remedy))
    return found


def operators(*, root: Path | str | None = None) -> list[Operator]:
    """Return all operators of the project, each ladder by itself, in the order of their names.

    >>> import rooflift as rl
    >>> "depthwise_conv2d/large_filter" in [one.label for one in rl.operators()]
    True

    Raises:
        CatalogError: no project is found, or a file is malformed.
    """
    return [operator(name, root=root) for name in project.operator_names(project_root(root))]

"""What works on kernels and reports: profile, verify, compile, lint, and any .ncu-rep read. Prints nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rooflift.api.find import project_root
from rooflift.api.run import Run
from rooflift.api.shown import html_table, texts
from rooflift.errors import CatalogError, NoGpu
from rooflift.lint.findings import Finding
from rooflift.measure.request import profile_request, request_for
from rooflift.project.operator import load_operator
from rooflift.schema import CheckRecord, CompiledKernel, MeasureOptions

if TYPE_CHECKING:
    import pandas as pd

Say = Callable[[str], None]  # is told what is being done


def _silent(text: str) -> None:
    """Say nothing."""


def profile(
    operator: str,
    *,
    versions: Collection[str] = (),
    cases: Collection[str] = (),
    dtypes: Collection[str] = (),
    metrics: str = "standard",
    suite: bool = False,
    baselines: bool | None = None,
    sanitize: bool = False,
    precision: float | None = None,
    budget_s: float | None = None,
    noise: bool = False,
    out: Path | str | None = None,
    timeout_s: float = 1800,
    say: Say = _silent,
    root: Path | str | None = None,
) -> Run:
    """Check, profile and time versions of an operator on this machine's GPU; return the run, whose folder it leaves.

    `versions`, `cases`, `dtypes`: none for all. `metrics`: none, basic, standard or full. `suite`: time every bench
    case in all its dtypes. `baselines`: time the slow ones, too (default: with `suite`). `precision`: add rounds until
    half the width of every median's interval is this share of it, such as 0.005, within `budget_s` seconds a case.
    `noise`: time the last version twice. `out`: the folder to make, by default one below reports/. `say` is told what
    is being done.

    >>> import rooflift as rl
    >>> rl.profile("rms_norm", versions=["v0"], metrics="basic", say=print)  # doctest: +SKIP
    <Run 2026-11-22-h100-3d4a7f3: rms_norm on NVIDIA H100 80GB HBM3, 1 versions>

    Raises:
        CatalogError: a name is unknown.
        NoGpu, NcuFault, CounterPermission, SanitizerFault: something is missing here.
        KernelFault, WrongResult: a version does not run, or is wrong.
        RunFault: `out` exists or cannot be written.
    """
    from rooflift import pipeline

    request = profile_request(
        project_root(root),
        operator,
        versions=versions,
        cases=cases,
        dtypes=dtypes,
        metric_set=metrics,
        suite=suite,
        baselines=baselines,
        options=MeasureOptions(precision=precision, budget_s=budget_s, noise=noise, sanitize=sanitize),
        timeout_s=timeout_s,
    )
    told = pipeline.profile(request, Path(out) if out else None, say)
    return Run(told.folder, told.story.manifest, request.root)


def verify(
    operator: str,
    *,
    versions: Collection[str] = (),
    cases: Collection[str] = (),
    dtypes: Collection[str] = (),
    interpret: bool | None = None,
    timeout_s: float = 1800,
    say: Say = _silent,
    root: Path | str | None = None,
) -> pd.DataFrame:
    """Compare versions with the reference in float64 on the test cases: on the GPU, or in Triton's interpreter.

    `interpret` None: in the interpreter where there is no GPU. Return one row a comparison: version, case, dtype, seed,
    max_abs_error, error_over_tolerance (at most 1 passes).

    >>> import rooflift as rl
    >>> checks = rl.verify("rms_norm", versions=["v0"], dtypes=["float32"], interpret=True)  # doctest: +SKIP
    >>> checks["error_over_tolerance"].max() <= 1  # doctest: +SKIP
    True

    Raises:
        CatalogError: a name is unknown, or the operator has no test case.
        WrongResult: a version's output differs from the reference.
        KernelFault: a version does not run.
    """
    from rooflift.measure import environment, session
    from rooflift.runs.run import to_frame

    request = request_for(
        project_root(root), operator, versions=versions, cases=cases, dtypes=dtypes, use="test", timeout_s=timeout_s
    )
    if not request.cases:
        raise CatalogError(f"{operator}: no case to check", "Give a small case use = ['test'] in cases.toml.")
    if interpret is None:
        try:
            environment.driver()
            interpret = False
        except NoGpu:
            interpret = True
    return to_frame(session.verify(request, request.cases, interpret, say), CheckRecord)


def compile(  # noqa: A001  # rl.compile, as re.compile
    operator: str,
    *,
    versions: Collection[str] = (),
    cases: Collection[str] = (),
    dtypes: Collection[str] = (),
    targets: Collection[int] = (89, 90),
    timeout_s: float = 600,
    say: Say = _silent,
    root: Path | str | None = None,
) -> pd.DataFrame:
    """Compile versions for targets (90 for compute capability 9.0) without a GPU: one row a kernel launch and target.

    Columns: the fields of rooflift.schema.CompiledKernel, such as registers, spill_instructions, shared_bytes,
    occupancy_pct, code_sha256 (the same machine code has the same), and `sass`, a dict: instructions by group.

    >>> import rooflift as rl
    >>> rl.compile("rms_norm", dtypes=["float32"], targets=[90])["registers"].max() > 0  # doctest: +SKIP
    True

    Raises:
        CatalogError: a name is unknown.
        KernelFault: a version does not compile.
        EnvironmentFault: triton or cuobjdump is missing.
    """
    from rooflift.measure.compiled import compile_kernels
    from rooflift.runs.run import to_frame

    request = request_for(
        project_root(root), operator, versions=versions, cases=cases, dtypes=dtypes, use="bench", timeout_s=timeout_s
    )
    return to_frame(compile_kernels(request, list(targets), say), CompiledKernel)


@dataclass(frozen=True)
class Lint:
    """What the linter finds in a candidate."""

    file: Path
    findings: tuple[Finding, ...]
    unchecked: tuple[str, ...]  # what could not be judged, each with its reason

    @property
    def accepted(self) -> bool:
        """No rule is broken."""
        return not self.findings

    def table(self) -> pd.DataFrame:
        """Return one row a finding: rule, line, column, what, remedy."""
        import pandas as pd

        names = ["rule", "line", "column", "what", "remedy"]
        return pd.DataFrame([asdict(finding) for finding in self.findings], columns=names)

    def __repr__(self) -> str:
        return f"<Lint {self.file.name}: {'accepted' if self.accepted else f'{len(self.findings)} findings'}>"

    def _repr_html_(self) -> str:
        return html_table(texts(frame := self.table(), list(frame)), repr(self)[1:-1])


def lint(
    file: Path | str,
    operator: str,
    *,
    stage: str | None = None,
    base: Path | str | None = None,
    root: Path | str | None = None,
) -> Lint:
    """Judge a candidate, a kernel file or Markdown with one fenced block, without running it.

    `operator` names the reference it stands for; the rules of `stage` hold as well; `base` is the version that the
    candidate starts from.

    >>> import rooflift as rl
    >>> rl.lint("kernels/rms_norm/v0_baseline.py", "rms_norm").accepted
    True

    Raises:
        CandidateFault: the candidate or the base cannot be read.
        CatalogError: the operator or the stage is unknown.
    """
    from rooflift.lint.lint import lint_file, unchecked

    reference = load_operator(project_root(root), operator).reference
    start = Path(base) if base is not None else None
    return Lint(Path(file), tuple(lint_file(Path(file), reference, stage, start)), tuple(unchecked(stage, start)))


def read_report(file: Path | str) -> pd.DataFrame:
    """Read any .ncu-rep into a tidy frame: one row a metric of a kernel launch. A limited child process parses it.

    Columns: version, case, dtype ("" in a report that rooflift did not make), kernel, launch (its number, from 0),
    metric, value, unit, ncu_name, source, missing (why there is no value). `attrs["gpu"]` is the GPU's name.

    >>> import rooflift as rl
    >>> frame = rl.read_report(rl.latest("depthwise_conv2d", gpu="H100", metrics=True).reports[0])
    >>> frame.attrs["gpu"], sorted(frame["kernel"].unique())
    ('NVIDIA H100 80GB HBM3', ['depthwise_conv2d_kernel'])

    Raises:
        ReportFault: the file is missing, no whole report, or holds no kernel launch.
        EnvironmentFault: ncu_report cannot be imported.
    """
    from rooflift.ncu.report import read_reports, report_gpu

    path = Path(file)
    frame = read_reports([path], path.parent)
    frame.attrs = {"gpu": report_gpu(path)}
    return frame

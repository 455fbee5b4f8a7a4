"""What works on kernels: profile and compile. Prints nothing."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from rooflift.api.project import TARGETS, Say, Share, project_root, share_of, silent
from rooflift.api.run import Run
from rooflift.measure.request import profile_request, request_for
from rooflift.schema import CompiledKernel, MeasureOptions

if TYPE_CHECKING:
    import pandas as pd


def profile(
    operator: str,
    *,
    versions: Collection[str] = (),
    candidate: Path | str | None = None,
    cases: Collection[str] = (),
    dtypes: Collection[str] = (),
    metrics: str = "standard",
    suite: bool = False,
    baselines: bool | None = None,
    sanitize: bool = False,
    precision: Share | None = None,
    budget_s: float | None = None,
    noise: bool = False,
    out: Path | str | None = None,
    timeout_s: float = 1800,
    say: Say = silent,
    root: Path | str | None = None,
) -> Run:
    """Check, profile and time versions of an operator on this machine's GPU; return the run, whose folder it leaves.

    `versions`, `cases`, `dtypes`: none for all. `candidate`: a kernel file with ModelNew that is no version yet; it is
    measured alone, or beside the versions that are named. `metrics`: none, basic, standard or full. `suite`: time every
    bench case in all its dtypes. `baselines`: time the slow ones, too (default: with `suite`). `precision`: add rounds
    until half the width of every median's interval is this share of it, 0.005 or "0.5%", within `budget_s` seconds a
    case. `noise`: time the last version twice. `out`: the folder to make, by default one below reports/. `say` is
    told what is being done. A version that is wrong or does not run is left out, and `run.manifest.left_out` says why.

    >>> import rooflift as rl
    >>> rl.profile("rms_norm", versions=["v0"], metrics="basic", say=print)  # doctest: +SKIP
    <Run 2026-11-22-h100-3d4a7f3: rms_norm on NVIDIA H100 80GB HBM3, 1 versions>

    Raises:
        CatalogError: a name is unknown.
        NoGpu, NcuFault, CounterPermission, SanitizerFault: something is missing here.
        KernelFault, WrongResult: none of the versions runs and is right; the fault of the first.
        RunFault: `out` exists or cannot be written.
    """
    from rooflift import pipeline

    request = profile_request(
        project_root(root),
        operator,
        versions=versions,
        candidate=Path(candidate) if candidate is not None else None,
        cases=cases,
        dtypes=dtypes,
        metric_set=metrics,
        suite=suite,
        baselines=baselines,
        options=MeasureOptions(precision=share_of(precision), budget_s=budget_s, noise=noise, sanitize=sanitize),
        timeout_s=timeout_s,
    )
    made = pipeline.profile(request, Path(out) if out else None, say)
    return Run(made.folder, made.data.manifest, request.root)


def compile(  # noqa: A001  # rl.compile, as re.compile
    operator: str,
    *,
    versions: Collection[str] = (),
    cases: Collection[str] = (),
    dtypes: Collection[str] = (),
    targets: Collection[int] = TARGETS,
    timeout_s: float = 600,
    say: Say = silent,
    root: Path | str | None = None,
) -> pd.DataFrame:
    """Compile versions for targets (90 for compute capability 9.0) without a GPU: one row a kernel launch and target.

    Columns: the fields of rooflift.schema.CompiledKernel, such as registers, spill_instructions, shared_bytes,
    occupancy_pct, code_sha256 (the same machine code has the same), and `sass`, a dict: instructions by group.
    `attrs["triton"]` is the version of triton.

    >>> import rooflift as rl
    >>> rl.compile("rms_norm", dtypes=["float32"], targets=[90])["registers"].max() > 0  # doctest: +SKIP
    True

    Raises:
        CatalogError: a name is unknown.
        KernelFault: a version does not compile.
        EnvironmentFault: triton or cuobjdump is missing.
    """
    from rooflift.measure.compiled import compile_kernels
    from rooflift.measure.environment import package_version
    from rooflift.runs.run import to_frame

    request = request_for(
        project_root(root), operator, versions=versions, cases=cases, dtypes=dtypes, use="bench", timeout_s=timeout_s
    )
    frame = to_frame(compile_kernels(request, list(targets), say), CompiledKernel)
    frame.attrs = {"triton": package_version("triton")}
    return frame

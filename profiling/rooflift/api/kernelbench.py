"""KernelBench's verdicts and figures: its evaluation's results of a version, fast_p of a project's operators."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rooflift.analysis.fast_p import PS
from rooflift.analysis.fast_p import fast_p as shares_of
from rooflift.analysis.summary import main_case
from rooflift.api.project import Say, project_root, silent
from rooflift.api.shown import html_table, texts
from rooflift.errors import CatalogError, NoGpu, RunFault
from rooflift.measure.request import request_for
from rooflift.project.operator import BASELINE
from rooflift.worker.protocol import Executed

if TYPE_CHECKING:
    import pandas as pd

    from rooflift.api.run import Run

_FIELDS = ("compiled", "correctness", "metadata", "runtime", "runtime_stats", "ref_runtime", "ref_runtime_stats")


@dataclass(frozen=True)
class KernelBenchResults:
    """What KernelBench's evaluation would say of versions."""

    results: Sequence[Executed]

    @property
    def accepted(self) -> bool:
        """Every version is correct on every case."""
        return all(one.correctness for one in self.results)

    def table(self) -> pd.DataFrame:
        """Return one row a version, case and dtype: compiled, correctness, trials, issue, runtime and speedup.

        Runtimes are means in milliseconds, None where nothing was timed.
        """
        import pandas as pd

        rows = [
            {
                "version": one.version,
                "case": one.case,
                "dtype": one.dtype,
                "compiled": one.compiled,
                "correctness": one.correctness,
                "trials": one.metadata.get("correctness_trials", ""),
                "issue": _issue(one),
                "runtime_ms": one.runtime if one.runtime > 0 else None,
                "speedup": one.ref_runtime / one.runtime if one.runtime > 0 else None,
            }
            for one in self.results
        ]
        return pd.DataFrame(rows)

    def parts(self) -> list[str]:
        """Return what a terminal shows: a line a version, case and dtype."""
        return [_line(one) for one in self.results]

    def record(self) -> list[dict[str, Any]]:
        """Return KernelBench's JSON form of each result, with version, case and dtype in front."""
        return [{name: getattr(one, name) for name in ("version", "case", "dtype", *_FIELDS)} for one in self.results]

    def __repr__(self) -> str:
        right = sum(one.correctness for one in self.results)
        return f"<KernelBenchResults: {right} of {len(self.results)} correct>"

    def _repr_html_(self) -> str:
        return html_table(texts(frame := self.table(), list(frame)), repr(self)[1:-1])


def _issue(one: Executed) -> str:
    issues = ("compilation_error", "runtime_error", "correctness_issue")
    return next((str(one.metadata[name]) for name in issues if name in one.metadata), "")


def _line(one: Executed) -> str:
    said = f"{one.version} on {one.case} {one.dtype}: "
    if one.correctness:
        said += f"correct {one.metadata.get('correctness_trials', '')}"
        faster = f", {one.runtime:.4g} ms, {one.ref_runtime / one.runtime:.2f}x" if one.runtime > 0 else ""
        return said + faster
    largest = max(one.metadata.get("max_difference", []), key=float, default="")
    more = f", the largest difference is {largest}" if largest else ""
    return f"{said}{'not correct' if one.compiled else 'not compiled'}: {_issue(one)}{more}"


def kernelbench(
    operator: str,
    *,
    versions: Collection[str] = (),
    candidate: Path | str | None = None,
    cases: Collection[str] = (),
    dtypes: Collection[str] = (),
    interpret: bool | None = None,
    timeout_s: float = 1800,
    say: Say = silent,
    root: Path | str | None = None,
) -> KernelBenchResults:
    """Judge versions as KernelBench's evaluation does: allclose with the reference in the working dtype, five trials.

    On a GPU on the case `main`, and a correct version is timed; in the interpreter on the test cases. In float32,
    unless `dtypes` are named. Weights are those that each draws under the same seed.

    >>> import rooflift as rl
    >>> rl.kernelbench("rms_norm", versions=["v0"], interpret=True).accepted  # doctest: +SKIP
    True

    Raises:
        CatalogError: a name is unknown, the operator has no test case, or KernelBench has no tolerance for a dtype.
        KernelFault: the reference does not run.
    """
    from rooflift.measure import environment
    from rooflift.measure.kernelbench import judge

    if not interpret:
        try:
            environment.driver()
        except NoGpu:
            if interpret is not None:
                raise
            interpret = True
    request = request_for(
        project_root(root),
        operator,
        versions=versions,
        candidate=Path(candidate) if candidate is not None else None,
        cases=cases or (() if interpret else ("main",)),
        dtypes=dtypes or ("float32",),
        use="test",
        timeout_s=timeout_s,
    )
    if not request.cases:
        raise CatalogError(f"{operator}: no case to check", "Give a small case use = ['test'] in cases.toml.")
    for dtype in request.dtypes:
        if dtype not in ("float32", "float16", "bfloat16"):
            raise CatalogError(f"KernelBench has no tolerance for {dtype}", "Name float32, float16 or bfloat16.")
    return KernelBenchResults(judge(request, bool(interpret), say))


@dataclass(frozen=True)
class FastP:
    """fast_p of a project's operators: the share with a correct version more than p times as fast as torch_eager."""

    speedups: Mapping[str, float | None]  # by operator: of its fastest version; None without one in a run
    ps: Sequence[float]

    @property
    def shares(self) -> dict[float, float]:
        """fast_p by p."""
        return shares_of(self.speedups, self.ps)

    def table(self) -> pd.DataFrame:
        """Return one row a p: p, fast_p, operators (how many are so fast)."""
        import pandas as pd

        rows = [(f"{p:g}", share, round(share * len(self.speedups))) for p, share in self.shares.items()]
        return pd.DataFrame(rows, columns=["p", "fast_p", "operators"])

    def parts(self) -> list[str]:
        """Return what a terminal shows: of how many operators it is, and a line a p."""
        measured = sum(speedup is not None for speedup in self.speedups.values())
        about = f"fast_p of {len(self.speedups)} operators, {measured} of them with a measured version"
        lines = [f"  fast_{p:g}: {share:6.1%}" for p, share in self.shares.items()]
        return [about, *lines]

    def record(self) -> dict[str, Any]:
        """Return fast_p by p and the speedup of each operator for a program."""
        return {"fast_p": {f"{p:g}": share for p, share in self.shares.items()}, "speedups": dict(self.speedups)}

    def __repr__(self) -> str:
        return (
            f"<FastP of {len(self.speedups)} operators: {', '.join(f'{p:g}: {x:.2f}' for p, x in self.shares.items())}>"
        )

    def _repr_html_(self) -> str:
        return html_table(texts(frame := self.table(), list(frame)), repr(self)[1:-1])


def fast_p(*, gpu: str = "", ps: Sequence[float] = PS, root: Path | str | None = None) -> FastP:
    """Return fast_p of the project's operators by their newest runs, on one GPU if a part of its name is given.

    A run holds versions that agree with the reference alone, so each is correct. The speedup is torch_eager's median
    time over that of the fastest version on the case and dtype that the operator is about; baselines (v0 of a
    KernelBench problem is the reference itself) count as no version. Ladders beside the general one are left out.

    >>> import rooflift as rl
    >>> rl.fast_p().shares[0.0] > 0
    True

    Raises:
        CatalogError: no project is found, or a file is malformed.
    """
    from rooflift.api import find, operators

    speedups: dict[str, float | None] = {}
    for one in operators.operators(root=root):
        if one.ladder:
            continue
        try:
            speedups[one.name] = _speedup(find.latest(one.name, gpu=gpu, root=root))
        except RunFault:  # no run, or none of this GPU
            speedups[one.name] = None
    return FastP(speedups, tuple(ps))


def _speedup(run: Run) -> float | None:
    """Return torch_eager's median time over that of the fastest version that is no baseline; None without the two."""
    about = main_case(run.manifest)
    of_case = run.timings[(run.timings["case"] == about.case) & (run.timings["dtype"] == about.dtype)]
    times = dict(zip(of_case["provider"], of_case["median_us"], strict=True))
    versions = [v.version for v in run.manifest.versions if v.stage != BASELINE and v.version in times]
    if "torch_eager" not in times or not versions:
        return None
    return float(times["torch_eager"] / min(times[version] for version in versions))

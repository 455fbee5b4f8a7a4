"""One version of a run, on one case and dtype: its figures, why some are missing, advice. Opens no report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rooflift.analysis.advice import Diagnosis, diagnose
from rooflift.analysis.estimate import Estimate, Held, hold
from rooflift.analysis.sol import UNKNOWN_CASE, speed_of_light
from rooflift.analysis.summary import KEY, combined, main_case, summarize
from rooflift.errors import CatalogError, RunFault, did_you_mean
from rooflift.ncu.doubt import reason
from rooflift.runs.roofs import roofs_of
from rooflift.runs.run import Run
from rooflift.schema import Roofs

if TYPE_CHECKING:
    import pandas as pd

DERIVED = ("time_us", "sol_us", "sol_pct", "memory_us", "excess_traffic", "compulsory_bytes", "flop")


@dataclass(frozen=True, slots=True)
class Selection:
    """What a question is about; version, case and dtype are "" where nobody named them, as in an imported run."""

    version: str
    case: str
    dtype: str

    def __str__(self) -> str:
        return " ".join(filter(None, (self.version or "unnamed version", self.case, self.dtype)))


def select(run: Run, version: str | None = None, case: str | None = None, dtype: str | None = None) -> Selection:
    """Return the subject of a question: version by stem (v1_grid) or number (v1, 1), without a name the run's last one.

    Of a report that was taken apart by kernels that is the one that takes most of the time. Case and dtype are by
    default those that the headers speak of.

    Raises:
        CatalogError: the run has no such version, case or dtype; its own are named.
    """
    names = versions(run)
    found = [n for n in names if version in (n, n.partition("_")[0], n.partition("_")[0].removeprefix("v"))]
    if version is not None and not found:
        raise CatalogError(f"{run.folder}: it has no version {version!r}", did_you_mean(version, filter(None, names)))
    chosen = found[-1] if version is not None else _meant(run, names)
    cases = _cases(run)
    main = main_case(run.manifest) if run.manifest.cases else None
    case = case if case is not None else (main.case if main else cases[0][0])
    dtypes = [d for c, d in cases if c == case]
    if not dtypes:
        raise CatalogError(f"{run.folder}: no case {case!r}", did_you_mean(case, dict.fromkeys(c for c, _ in cases)))
    if dtype is not None and dtype not in dtypes:
        raise CatalogError(f"{run.folder}: {case} was not measured in {dtype!r}", did_you_mean(dtype, dtypes))
    return Selection(chosen, case, dtype if dtype is not None else dtypes[0])


def _meant(run: Run, names: Sequence[str]) -> str:
    """Return the version that is meant where none is named: the last, of a report's kernels that of the most time."""
    if run.manifest.origin is None or not run.manifest.origin.unnamed or run.timings.empty:
        return names[-1]
    total = run.timings.assign(total=run.timings["median_us"] * run.timings["n"])
    return str(total.loc[total["total"].idxmax(), "provider"])


def versions(run: Run) -> list[str]:
    """Return the names of a run's versions, in order; [""] for an import whose version nobody named."""
    return [version.version for version in run.manifest.versions] or [*dict.fromkeys(run.metrics["version"])]


def _cases(run: Run) -> list[tuple[str, str]]:
    if run.manifest.cases:
        return [(case.case, case.dtype) for case in run.manifest.cases]
    pairs = run.metrics[["case", "dtype"]].drop_duplicates()
    return [(row.case, row.dtype) for row in pairs.itertuples()]


def figures(run: Run) -> pd.DataFrame:
    """Return the summary of a run, columns as `summarize`; of an import without a known case the metrics alone."""
    if run.manifest.cases:
        return summarize(run.manifest, run.metrics, run.timings, roofs_of(run))
    return combined(run.manifest, run.metrics).assign(sol_binds="", **dict.fromkeys(DERIVED, math.nan))


def of(frame: pd.DataFrame, about: Selection) -> dict[str, Any]:
    """Return the row of `figures` that a subject names."""
    rows = frame[(frame[KEY] == [about.version, about.case, about.dtype]).all(axis=1)]
    found: dict[str, Any] = rows.iloc[0].to_dict()
    return found


def missing(run: Run, about: Selection) -> dict[str, str]:
    """Return the metrics without a value, and why."""
    rows = run.metrics
    rows = rows[(rows[KEY] == [about.version, about.case, about.dtype]).all(axis=1)]
    if rows.empty:
        return {}
    found = {row.metric: reason(row.metric, row.value, row.unit, row.missing) for row in rows.itertuples()}
    return {metric: why for metric, why in found.items() if why}


def ncu_names(run: Run, about: Selection) -> dict[str, str]:
    """Return the ncu name, or names, that gave each metric its value."""
    rows = run.metrics
    rows = rows[(rows[KEY] == [about.version, about.case, about.dtype]).all(axis=1) & (rows["missing"] == "")]
    return dict(zip(rows["metric"], rows["ncu_name"], strict=True))


def counted(run: Run, about: Selection) -> bool:
    """Tell whether ncu looked at this subject; a suite's other cases have times alone."""
    return bool((run.metrics[KEY] == [about.version, about.case, about.dtype]).all(axis=1).any())


def advise(run: Run, about: Selection, rows: pd.DataFrame | None = None) -> Diagnosis:
    """Return the diagnosis of a run's version; `rows` are the run's `figures`, where they are at hand."""
    row = of(figures(run) if rows is None else rows, about)
    case = next((c for c in run.manifest.cases if (c.case, c.dtype) == (about.case, about.dtype)), None)
    sol = speed_of_light(case, run.timings, roofs_of(run), run.manifest.machine.gpu) if case else UNKNOWN_CASE
    stages = {version.version: version.stage for version in run.manifest.versions}
    before = versions(run)[: versions(run).index(about.version) + 1]
    tried = [stages.get(name, "") for name in before]
    return diagnose(row, sol, tried, missing(run, about), ncu_names(run, about))


def copy_rate(row: dict[str, Any], measured: Roofs | None) -> float:
    """Return the rate of the memory term of this case, bytes/s, else that of the measured roof; NaN without."""
    own = float(row["compulsory_bytes"]) / float(row["memory_us"]) * 1e6
    return roof_rate(measured) if math.isnan(own) else own


def roof_rate(measured: Roofs | None) -> float:
    """Return the measured rate of a device copy, bytes/s; NaN when no roofs were measured."""
    return next((r.per_s for r in measured.rows if r.name == "DRAM copy"), math.nan) if measured else math.nan


def select_all(
    run: Run, wanted: Sequence[str] | None = None, case: str | None = None, dtype: str | None = None
) -> list[Selection]:
    """Return the versions that ncu profiled on a case, all of them or those named, in the run's order.

    Raises:
        CatalogError: a name is unknown.
        RunFault: none of them was profiled on that case.
    """
    chosen = [select(run, name, case, dtype) for name in wanted or versions(run)]
    found = [about for about in dict.fromkeys(chosen) if counted(run, about)]
    if not found:
        raise RunFault(f"{run.folder}: no metrics of {chosen[0]}", "Choose a case that `rooflift show` has metrics of.")
    return found


def held(found: Sequence[tuple[Selection, Estimate]], truth: Run) -> list[Held]:
    """Return estimates beside what a run on their target measured of the same version, case and dtype.

    An imported truth without a case stands for the case of the estimate.

    Raises:
        RunFault: the two runs share no version.
    """
    measured = figures(truth)
    pairs = []
    for about, told in found:
        for key in (about, Selection(about.version, "", "")):
            if (measured[KEY] == [key.version, key.case, key.dtype]).all(axis=1).any():
                pairs.append(hold(told, (about.version, about.case, about.dtype), of(measured, key)))
                break
    if not pairs:
        raise RunFault(f"{truth.folder}: none of the estimated versions was measured there", "Choose another run.")
    return pairs

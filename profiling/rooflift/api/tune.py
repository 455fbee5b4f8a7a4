"""A version tuned: its configurations compiled, checked, timed, and what is to be kept of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rooflift.api.project import Say, project_root, silent
from rooflift.api.shown import Part, Picture, Titled, records, short
from rooflift.errors import CatalogError
from rooflift.report.tune import TuneData, best_table, counts, moved_table, tried_table, verdict, why_text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SHOWN = 20  # configurations of a case on a terminal


@dataclass(frozen=True, repr=False)
class Tune(Picture):
    """What became of the configurations of a version; a notebook shows the time over each parameter."""

    data: TuneData
    folder: Path | None  # with tune.csv, tune.svg, tune.md; None: nothing was written
    measured: bool  # False: there is no GPU here, and they were compiled alone

    def table(self) -> pd.DataFrame:
        """Return one row a configuration, case and dtype, as tune.csv.

        Columns: case, dtype, configuration, a column a parameter, status, reason, registers, spill_instructions,
        shared_bytes, occupancy_pct, occupancy_limit, sha256 (of what is launched), time_us, time_x (over the version as
        it stands, in the same rounds); of the best ones best_us, best_x, low, high, verdict: timed once more together.
        """
        return self.data.table

    @property
    def best(self) -> pd.DataFrame:
        """The best configurations of each case and dtype, the fastest first."""
        found = self.data.table[self.data.table["best_us"].notna()]
        return found.sort_values(["case", "dtype", "best_us"], kind="stable").reset_index(drop=True)

    @property
    def keep(self) -> str:
        """The few configurations to keep, as a list for triton.autotune; "" where nothing was timed."""
        return self.data.keep

    def why(self, case: str, dtype: str) -> pd.DataFrame:
        """Return the metrics that moved from the version as it stands to the best configuration."""
        return self.data.why(case, dtype)[1]

    def figure(self, case: str | None = None, dtype: str | None = None) -> Figure:
        """Draw the time over each parameter, by default of the first case.

        Raises:
            CatalogError: nothing was tried on such a case.
        """
        for one in self.data.cases:
            if (case in (None, one[0])) and dtype in (None, one[1]):
                return self.data.figure(*one)
        raise CatalogError(f"nothing was tried on {case} {dtype}", f"It has {self.data.cases}.")

    def parts(self) -> list[Part]:
        """Return what a terminal shows."""
        parts: list[Part] = []
        for case, dtype in self.data.cases:
            own, about = self.data.of(case, dtype), f"{self.data.title}, {case} {dtype}"
            told = counts(own, self.data.sizes[case, dtype])
            if not self.measured:
                parts.append(Titled(f"{about}: {told}", tried_table(own)))
                continue
            parts += [Titled(about, best_table(own)), verdict(own)]
            parts.append(Titled(f"{told}; the first {min(SHOWN, len(own))}", tried_table(own, SHOWN)))
            said, moved = self.data.why(case, dtype)
            parts += [Titled(why_text(said), moved_table(moved))] if len(moved) else []
        parts += ["To keep:", *self.keep.splitlines()] if self.keep else []
        parts += [*self.data.notes, self.data.provenance]
        return parts + ([f"Wrote {short(self.folder)}"] if self.folder is not None else [])

    def record(self) -> dict[str, Any]:
        """Return the same for a program."""
        cases = []
        for case, dtype in self.data.cases:
            own, (said, moved) = self.data.of(case, dtype), self.data.why(case, dtype)
            cases.append(
                {
                    "case": case,
                    "dtype": dtype,
                    "size": self.data.sizes[case, dtype],
                    "verdict": verdict(own) if self.measured else "",
                    "why": said,
                    "moved": records(moved),
                    "configurations": records(own),
                }
            )
        return {
            "title": self.data.title,
            "measured": self.measured,
            "folder": short(self.folder) if self.folder is not None else None,
            "where": self.data.provenance,
            "keep": self.keep,
            "cases": cases,
        }

    def __repr__(self) -> str:
        return f"<Tune {self.data.title}: {len(self.data.table)} configurations>"


def read(folder: Path | str) -> Tune:
    """Return what a tuning left in a folder below reports/<operator>/tune/.

    Raises:
        RunFault: a file is missing, or is none that a tuning leaves.
    """
    from rooflift import tuning

    return Tune(tuning.read(Path(folder)), Path(folder), measured=True)


def tune(
    operator: str,
    version: str,
    *,
    values: Mapping[str, Collection[Any]] | Collection[str] = (),
    cases: Collection[str] = (),
    dtypes: Collection[str] = (),
    search: str = "auto",
    evaluations: int | None = None,
    budget_s: float | None = None,
    best: int = 5,
    metrics: str = "standard",
    target: int | None = None,
    out: Path | str | None = None,
    timeout_s: float = 1800,
    say: Say = silent,
    root: Path | str | None = None,
) -> Tune:
    """Try configurations of a version: compile them side by side, check and time what fits, profile the best.

    `values` has the values of each parameter: arguments of the launch, tl.constexpr arguments of kernels, variables of
    the host's code; without it those of the version's @triton.autotune. `cases`: by default the case that the ladder
    is about, in its first dtype. `search`: all, tpe, random, or auto, which walks a space of up to 128 whole and
    searches a larger one by TPE. `evaluations`: at most so many a case. `budget_s`: no batch begins after so many
    seconds of a case. `best`: so many are timed once more together, and profiled with `metrics`. Without a GPU they are
    compiled alone, for `target` (90). The same call resumes what was interrupted.

    >>> import rooflift as rl
    >>> print(rl.tune("matmul", "v1", values={"num_warps": [4, 8]}).keep)  # doctest: +SKIP
    [
        triton.Config({}, num_warps=8),
    ]

    Raises:
        CatalogError: a name is unknown, or the version has no @triton.autotune and `values` are none.
        KernelFault: the version as it stands does not run, or nothing that was tried fits.
        EnvironmentFault: triton, ncu or, of a search, optuna is missing.
        RunFault: `out` exists or cannot be written.
    """
    from rooflift import tuning
    from rooflift.measure.request import tune_request

    texts = (
        [f"{name}={','.join(map(str, own))}" for name, own in values.items()] if isinstance(values, Mapping) else values
    )
    request = tune_request(
        *(project_root(root), operator, version),
        cases=cases,
        dtypes=dtypes,
        metric_set=metrics,
        timeout_s=timeout_s,
        said={"set": texts, "search": search, "evaluations": evaluations, "budget": budget_s, "best": best},
    )
    asked = tuning.Asked(list(texts), search, evaluations, budget_s, best, target)
    made = tuning.tune(request, asked, Path(out) if out else None, say)
    return Tune(made.data, made.folder, made.measured)

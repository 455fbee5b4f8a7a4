"""The history of a project's runs: the best version of each case and GPU, how it came about, and what became slower."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rooflift.analysis.compare import MIN_EFFECT, compare, side
from rooflift.api.shown import Part, Titled, html_table, texts
from rooflift.report.cells import figure, table_of, time, words
from rooflift.runs.run import read_run

if TYPE_CHECKING:
    import pandas as pd

KEY = ("operator", "case", "dtype", "gpu")


@dataclass(frozen=True)
class History:
    """Times of versions by operator, case, dtype, GPU and date; unlike GPUs are never compared."""

    times: Sequence[dict[str, Any]]  # of runs/index.py
    verdicts: MutableMapping[str, str] = field(default_factory=dict)  # what `verdict` found, for who keeps it
    version: str = ""  # the one that it is about, where it is about one

    def table(self) -> pd.DataFrame:
        """Return one row a run that timed a case: the best version of it there, and time_x, that over the best before.

        Columns: operator, case, dtype, gpu, created, run, version, time_us, best_before_us, time_x.
        """
        import pandas as pd

        columns = [*KEY, "created", "run", "version", "time_us", "best_before_us", "time_x"]
        return pd.DataFrame(self._steps, columns=columns)

    def best(self) -> pd.DataFrame:
        """Return one row a case, dtype and GPU: the fastest version that any run saw, where, and among how many runs.

        Columns: operator, case, dtype, gpu, version, time_us, run, created, runs.
        """
        import pandas as pd

        return pd.DataFrame(self._best, columns=[*KEY, "version", "time_us", "run", "created", "runs"])

    def regressions(self) -> pd.DataFrame:
        """Return what the newest run of a case and GPU shows slower than the best before, as `Run.compare` judges it.

        Only a newest run that timed the version of that best or a later one counts: a run of v0 alone is none.
        Columns: operator, case, dtype, gpu, base_run, base, run, version, time_x, verdict.
        """
        import pandas as pd

        return pd.DataFrame(self._slower, columns=[*KEY, "base_run", "base", "run", "version", "time_x", "verdict"])

    def verdict(self, before: dict[str, Any], now: dict[str, Any]) -> str:
        """Return what `Run.compare` says of a version against one of another run, on a case that both timed."""
        key = ", ".join(f"{one['folder']} {one['version']} {one['time_us']!r}" for one in (before, now))
        key = f"{key}, {now['case']} {now['dtype']}"
        if key not in self.verdicts:
            self.verdicts[key] = _verdict(before, now)
        return self.verdicts[key]

    @cached_property
    def groups(self) -> list[tuple[dict[str, Any], list[list[dict[str, Any]]]]]:
        """The runs of each case, dtype and GPU, oldest first, each with the times of its versions."""
        found = []
        for key, rows in groupby(self.times, lambda row: tuple(row[name] for name in KEY)):
            runs = [list(own) for _, own in groupby(rows, lambda row: (row["created"], row["folder"]))]
            found.append((dict(zip(KEY, key, strict=True)), runs))
        return found

    @cached_property
    def _steps(self) -> list[dict[str, Any]]:
        steps = []
        for about, runs in self.groups:
            before = None
            for run in runs:
                own = fastest(run)
                us = own["time_us"]
                steps.append({**about, **own, "best_before_us": before, "time_x": us / before if before else None})
                before = min(us, before or us)
        return steps

    @cached_property
    def _best(self) -> list[dict[str, Any]]:
        return [
            {**about, **fastest([one for run in runs for one in run]), "runs": len(runs)} for about, runs in self.groups
        ]

    @cached_property
    def _slower(self) -> list[dict[str, Any]]:
        found = []
        for about, runs in self.groups:
            if len(runs) < 2:
                continue
            before, now = fastest([one for run in runs[:-1] for one in run]), fastest(runs[-1])
            reached = max(one["number"] for one in runs[-1]) >= before["number"]
            if not reached or now["time_us"] <= (1 + MIN_EFFECT) * before["time_us"]:
                continue
            verdict = self.verdict(before, now)
            if verdict == "slower":
                ratio = now["time_us"] / before["time_us"]
                names = {"base_run": before["run"], "base": before["version"], "run": now["run"]}
                found.append({**about, **names, "version": now["version"], "time_x": ratio, "verdict": verdict})
        return found

    def parts(self) -> list[Part]:
        """Return what a terminal shows: the best of each operator, then what became slower, each with its command."""
        if not self.times:
            return ["No run has times yet: `rooflift profile OPERATOR` makes one, on a machine with a GPU."]
        if self.version:
            return self._of_version()
        columns = [*map(words, ("case", "dtype")), words("gpu", "GPU"), words("version"), time("time_us", "time")]
        columns += [words("run"), figure("runs", "runs")]
        tables: list[Part] = [
            Titled(f"{name}: the fastest of each case and GPU", table_of(list(own), columns))
            for name, own in groupby(self._best, lambda row: row["operator"])
        ]
        slower = [
            f"{row['operator']} {row['case']} {row['dtype']} on {row['gpu']}: {row['version']} takes "
            f"{row['time_x']:.3f}x of {row['base']} before: "
            f"rooflift compare {row['base_run']}:{row['base']} {row['run']}:{row['version']}"
            for row in self._slower
        ]
        return [*tables, *(slower or ["No newest run is slower than the best before it."])]

    def _of_version(self) -> list[Part]:
        """Return every time of the version, by operator, case and GPU, oldest first."""
        columns = [*map(words, ("case", "dtype")), words("gpu", "GPU"), words("date"), words("run")]
        columns += [words("version"), time("time_us", "time"), figure("time_x", "over the best before", 3, "x")]
        rows = [row | {"date": row["created"][:10]} for row in self._steps]
        return [
            Titled(f"{name}: {self.version} over runs and GPUs", table_of(list(own), columns))
            for name, own in groupby(rows, lambda row: row["operator"])
        ]

    def record(self) -> dict[str, Any]:
        """Return the same for a program, with every step."""
        best = [
            {name: row[name] for name in (*KEY, "version", "time_us", "run", "created", "runs")} for row in self._best
        ]
        names = (*KEY, "created", "run", "version", "time_us", "best_before_us", "time_x")
        return {"best": best, "history": [{n: row[n] for n in names} for row in self._steps], "slower": self._slower}

    def __repr__(self) -> str:
        return f"<History: {len(self.times)} times, {len(self.groups)} cases and GPUs>"

    def _repr_html_(self) -> str:
        return html_table(texts(frame := self.best(), list(frame)), repr(self)[1:-1])


def fastest(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the row with the least time."""
    return min(rows, key=lambda row: row["time_us"])


def _verdict(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Return what the comparison of two versions in their runs says of one case."""
    base, head = (side(read_run(Path(one["folder"])), one["version"]) for one in (before, now))
    cases = compare(base, head).cases
    own = cases[(cases["case"] == now["case"]) & (cases["dtype"] == now["dtype"])]
    return str(own.iloc[0]["verdict"]) if len(own) else "not comparable"

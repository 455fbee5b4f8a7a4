"""The result of a tuning in tables, sentences and Markdown; every figure comes from its table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rooflift.analysis.compare import MIN_EFFECT
from rooflift.analysis.tuned import KEPT_WITHIN, NOISE, current, pruned, why
from rooflift.escape import escaped
from rooflift.project.space import AS_IT_STANDS, LAUNCH_OPTIONS
from rooflift.report import cells
from rooflift.report.cells import Cell, Column, duration, figure, markdown, named, time, words
from rooflift.report.columns import SPILLS, TABLES, interval
from rooflift.report.figures.style import save
from rooflift.report.figures.tune import tune_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from rooflift.report.cells import Row, Table

RESOURCES = (
    figure("registers", "registers"),
    SPILLS,
    figure("shared_bytes", "shared B"),
    figure("occupancy_pct", "occupancy %", 1),
    words("occupancy_limit", "limited by"),
)


@dataclass(frozen=True, slots=True)
class TuneData:
    """What became of the configurations of a version, as its report shows it."""

    title: str
    table: pd.DataFrame  # as measure.tune_table
    values: Mapping[str, Sequence[Any]]  # by parameter
    sizes: Mapping[tuple[str, str], int]  # how many configurations there are, by case and dtype
    metrics: pd.DataFrame  # rows as metrics.csv, the configurations in the place of versions; empty: none
    notes: Sequence[str]
    provenance: str

    @property
    def cases(self) -> list[tuple[str, str]]:
        """Cases and dtypes, in order."""
        return list(self.sizes)

    def of(self, case: str, dtype: str) -> pd.DataFrame:
        """Return the rows of one case and dtype."""
        return self.table[(self.table["case"] == case) & (self.table["dtype"] == dtype)].reset_index(drop=True)

    def why(self, case: str, dtype: str) -> tuple[str, pd.DataFrame]:
        """Return what explains the best one's time against the version as it stands, and the metrics that moved."""
        last = self.of(case, dtype).set_index("configuration")["best_us"].dropna().sort_values(kind="stable")
        names = [str(name) for name in last.index if name != AS_IT_STANDS]
        if not names or AS_IT_STANDS not in last.index:
            return why(self.metrics, case, dtype, "", "", 1.0)
        return why(self.metrics, case, dtype, names[0], AS_IT_STANDS, float(last[names[0]] / last[AS_IT_STANDS]))

    @property
    def keep(self) -> str:
        """The few configurations to keep, as a list to paste into the kernel; "" where nothing was timed."""
        return pruned_text(self.table, list(self.values))

    def figure(self, case: str, dtype: str) -> Figure:
        """Draw the time over each parameter."""
        own = self.of(case, dtype)
        standing = own.loc[own["configuration"] == AS_IT_STANDS, "time_us"]
        return tune_figure(
            own[own["configuration"] != AS_IT_STANDS],
            self.values,
            standing_us=float(standing.iloc[0]) if len(standing) else math.nan,
            title=f"{self.title}, {case} {dtype}",
            footnote=self.provenance,
        )


def _state(row: Row) -> Cell:
    return Cell(f"{row['status']}: {row['reason']}" if row["reason"] else str(row["status"]))


def best_table(own: pd.DataFrame) -> Table:
    """Return the best configurations of one case and dtype, which were timed once more in the same rounds."""
    shown = own[own["best_us"].notna()].sort_values("best_us", kind="stable")
    over = Column("over the best", lambda row: Cell(interval(row, "best_x"), row["best_x"]))
    return cells.table(shown, [words("configuration"), time("best_us", "time"), over, words("verdict"), *RESOURCES])


def tried_table(own: pd.DataFrame, most: int | None = None) -> Table:
    """Return configurations of one case and dtype, those with a time first, the fastest on top."""
    shown = own[own["configuration"] != AS_IT_STANDS].sort_values(["time_us", "occupancy_pct"], kind="stable")
    columns = [words("configuration"), Column("state", _state, right=False), *RESOURCES]
    if own["time_us"].notna().any():
        columns[1:1] = [time("time_us", "time"), figure("time_x", "over as it stands", 3, "x")]
    return cells.table(shown if most is None else shown.head(most), columns)


def counts(own: pd.DataFrame, size: int) -> str:
    """Return how many configurations were tried, and what became of them.

    >>> import pandas as pd
    >>> counts(pd.DataFrame({"configuration": ["A=1", "A=2"], "status": ["timed", "wrong result"]}), 8)
    '2 of 8 configurations: 1 timed, 1 wrong result'
    """
    tried = own[own["configuration"] != AS_IT_STANDS]
    parts = ", ".join(f"{count} {status}" for status, count in tried["status"].value_counts().items())
    return f"{len(tried)} of {size} configurations: {parts}"


def verdict(own: pd.DataFrame) -> str:
    """Return the best configuration of a case and dtype, what is within noise of it, what the current choice loses."""
    last = own[own["best_us"].notna()].sort_values("best_us", kind="stable")
    if last.empty:
        return "No configuration was timed."
    rows = last.to_dict("records")
    rest = [row for row in rows if row["configuration"] != AS_IT_STANDS]
    standing = next(row for row in rows if row["configuration"] == AS_IT_STANDS)
    best = rest[0]
    same = [row["configuration"] for row in rest[1:] if row["verdict"] == NOISE]
    text = f"Best: {best['configuration']}, {duration(best['best_us'])}"
    text += (
        f"; within noise of it: {named(same)}. " if same else "; nothing else that was tried is within noise of it. "
    )
    known = current(own)
    called = f"The version as it stands ({known})" if known else "The version as it stands"
    loses = standing["best_x"] / best["best_x"] - 1
    if standing["verdict"] in (NOISE, "best") and loses < MIN_EFFECT:
        return f"{text}{called} is within noise of the best: nothing is to be gained here."
    return f"{text}{called} takes {duration(standing['best_us'])}: it loses {100 * loses:.1f} %."


def config_text(configuration: Mapping[str, Any]) -> str:
    """Return a configuration as triton.autotune takes it.

    >>> config_text({"BLOCK": 64, "num_warps": 4})
    'triton.Config({"BLOCK": 64}, num_warps=4)'
    """
    own = ", ".join(f'"{name}": {value!r}' for name, value in configuration.items() if name not in LAUNCH_OPTIONS)
    options = [f"{name}={value!r}" for name, value in configuration.items() if name in LAUNCH_OPTIONS]
    return f"triton.Config({', '.join([f'{{{own}}}', *options])})"


def pruned_text(table: pd.DataFrame, parameters: Sequence[str]) -> str:
    """Return the few configurations to keep, as a list to paste into the kernel; "" where nothing was timed."""
    kept = pruned(table)
    rows = table.drop_duplicates("configuration").set_index("configuration")
    lines = [f"    {config_text(_own(rows.loc[name, list(parameters)]))}," for name in kept]
    return "\n".join(["[", *lines, "]"]) if lines else ""


def host_note(parameters: Sequence[str], kernels: Mapping[str, Sequence[str]]) -> str:
    """Return what to know of parameters that no kernel has as an argument, "" where all are."""
    arguments = {name for own in kernels.values() for name in own} | set(LAUNCH_OPTIONS)
    host = [name for name in parameters if name.rpartition(".")[2] not in arguments]
    if not host:
        return ""
    return f"{', '.join(host)}: set in the host's code, no argument of a kernel; change the value there."


def write_tune(data: TuneData, folder: Path) -> list[Path]:
    """Write tune.md and the figure of each case and dtype that has times; return their paths."""
    told, pictures = [f"# {escaped(data.title)}"], list[Path]()
    for case, dtype in data.cases:
        own, (said, moved) = data.of(case, dtype), data.why(case, dtype)
        told += [
            f"## {escaped(f'{case} {dtype}')}",
            escaped(verdict(own)),
            escaped(counts(own, data.sizes[case, dtype])),
        ]
        told += [markdown(best_table(own))] if own["best_us"].notna().any() else []
        told += [escaped(why_text(said)), markdown(moved_table(moved))] if len(moved) else []
        every = markdown(tried_table(own))
        told.append(f"<details><summary>Every configuration that was tried</summary>\n\n{every}\n\n</details>")
        if own["time_us"].notna().any():
            stem = folder / (f"tune-{case}-{dtype}" if len(data.cases) > 1 else "tune")
            pictures += save(data.figure(case, dtype), stem)
            told.append(f"![time over each parameter]({stem.name}.svg)")
    if data.keep:
        within = f"Each case has one of these within {100 * KEPT_WITHIN:g} % of its best:"
        told += ["## To keep", within, "\n".join(["```python", data.keep, "```"])]
    told += [escaped(note) for note in data.notes]
    page = folder / "tune.md"
    page.write_text("\n\n".join([*told, escaped(data.provenance)]) + "\n", encoding="utf-8")
    return [page, *pictures]


def why_text(said: str) -> str:
    """Return why the best configuration takes another time than the version as it stands, by the metrics."""
    return f"From the version as it stands to the best, by the metrics: {said or 'these moved'}."


def moved_table(moved: pd.DataFrame) -> Table:
    """Return the metrics that moved from the version as it stands to the best configuration."""
    label, base, head, change = TABLES["metric changes"]
    renamed = [label, Column("as it stands", base.cell), Column("best", head.cell), change]
    return cells.table(moved, renamed)


def _own(row: Any) -> dict[str, Any]:
    """Return the values of a row without those that a configuration lacks; whole numbers as such."""
    found = {}
    for name, value in row.items():
        if isinstance(value, float) and (math.isnan(value) or value.is_integer()):
            if not math.isnan(value):
                found[str(name)] = int(value)
            continue
        found[str(name)] = value.item() if hasattr(value, "item") else value
    return found

"""Any file with metrics of kernels that rooflift never saw: read into a frame, or shown launch by launch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rooflift.analysis import launches as found_launches
from rooflift.api.shown import Part, Titled, html_table, records
from rooflift.errors import CatalogError
from rooflift.report.launches import detail_parts, kernel_table, rest_line, summary_line, values_table

if TYPE_CHECKING:
    import pandas as pd

    from rooflift.ncu.files import Metrics
    from rooflift.ncu.units import Units


def read_report(file: Path | str, *, units: Units = "auto") -> pd.DataFrame:
    """Read any report into a tidy frame: one row a metric of a kernel launch. A limited child process parses it.

    The file may be a .ncu-rep under any name, also in gzip, what `ncu --csv` printed, or metrics as JSON. `units` says
    what values of a text without a unit are in: "base" or "display", as ncu prints them.

    Columns: version, case, dtype ("" in a report that rooflift did not make), kernel, launch (its number, from 0),
    metric, value, unit, ncu_name, source, missing (why there is no value). `attrs["gpu"]` is the GPU's name.

    >>> import rooflift as rl
    >>> frame = rl.read_report(rl.latest("depthwise_conv2d", gpu="H100", metrics=True).reports[0])
    >>> frame.attrs["gpu"], sorted(frame["kernel"].unique())
    ('NVIDIA H100 80GB HBM3', ['depthwise_conv2d_kernel'])

    Raises:
        ReportFault: the file is missing, no whole report, or holds no kernel launch.
        RunFault: a text is malformed, or the unit of a value cannot be told.
        EnvironmentFault: ncu_report cannot be imported.
    """
    from rooflift.ncu.files import read_file

    found = read_file(Path(file), units)
    found.frame.attrs = {"gpu": found.device.gpu}
    return found.frame


SUFFIXES = (".ncu-rep", ".nsight-cuprof-report", ".csv", ".json", ".gz", ".nsys-rep", ".sqlite")


def is_file(what: str) -> bool:
    """Tell whether a name stands for a file with metrics, there or not, and for no run folder."""
    path = Path(what)
    return not (path / "run.json").exists() and (path.is_file() or path.suffix.lower() in SUFFIXES)


@dataclass(frozen=True, repr=False)
class Launches:
    """The launches of a file, by kernel: the largest share of time first, and the metrics of the first one."""

    file: Path
    metrics: Metrics
    chosen: pd.DataFrame  # one row a launch
    full_names: bool = False

    def table(self) -> pd.DataFrame:
        """Return one row a kernel, grid and block, columns as `analysis.launches.kernels`."""
        return found_launches.kernels(self.chosen)

    def parts(self) -> list[Part]:
        """Return what a terminal shows: the kernels by share of time, then the metrics of the first."""
        kernels, frame = self.table(), self.metrics.frame
        table = Titled(self._title, kernel_table(kernels, full_names=self.full_names))
        first = kernels.iloc[0]
        others = [] if len(kernels) == 1 else ["`--kernel REGEX` or `--launch N` shows another one."]
        details = detail_parts(first, frame, self.chosen, self.file, self.metrics, full_names=self.full_names)
        more = [rest_line(kernels)] if rest_line(kernels) else []
        return [table, *more, *self.metrics.notes, *details, *others]

    def record(self) -> list[dict[str, Any]]:
        """Return the rows of the chosen launches for a program."""
        frame = self.metrics.frame
        keys = self.chosen[found_launches.LAUNCH]
        return records(frame.merge(keys, on=found_launches.LAUNCH, how="inner"))

    @property
    def _title(self) -> str:
        return summary_line(self.file.name, self.metrics, self.chosen)

    def __repr__(self) -> str:
        return f"<Launches {self._title}>"

    def _repr_html_(self) -> str:
        return html_table(kernel_table(self.table(), full_names=self.full_names), self._title)


@dataclass(frozen=True)
class Values:
    """Metrics of a file by name or pattern, as they stand there."""

    file: Path
    frame: pd.DataFrame  # launch, kernel, name, value, unit, missing

    def parts(self) -> list[Part]:
        """Return what a terminal shows."""
        return [Titled(f"{self.file.name}: {len(self.frame)} values", values_table(self.frame))]

    def record(self) -> list[dict[str, Any]]:
        """Return the same for a program."""
        return records(self.frame)


def launches(
    file: Path | str,
    *,
    kernel: str | None = None,
    launch: int | None = None,
    skip: int = 0,
    last: bool = False,
    full_names: bool = False,
    units: Units = "auto",
) -> Launches:
    """Read any file with metrics and return its launches by kernel, or those that are chosen.

    `kernel` is a regular expression of the name, `launch` a number from 0; `skip` leaves out as many of the first that
    are left, such as warm-ups, and `last` takes the last one.

    >>> import rooflift as rl
    >>> found = rl.launches(rl.latest("depthwise_conv2d", gpu="H100", metrics=True).reports[0], last=True)
    >>> found.table()[["version", "bottleneck"]].to_numpy().tolist()
    [['v10_shapes', 'DRAM']]

    Raises:
        CatalogError: no launch is left, or the expression is none.
        ReportFault, RunFault: as `read_report`.
    """
    from rooflift.ncu.files import read_file

    path = Path(file)
    metrics = read_file(path, units)
    chosen = found_launches.pick(found_launches.launches(metrics.frame), kernel, launch, skip, last=last)
    return Launches(path, metrics, chosen, full_names)


def metric_values(
    file: Path | str, pattern: str, kernel: str | None = None, launch: int | None = None, *, units: Units = "auto"
) -> Values:
    """Return the metrics of a file whose ncu name, or short name, a pattern finds, of every launch or of those chosen.

    Raises:
        CatalogError: the pattern is no regular expression, or nothing is called that.
        ReportFault, RunFault: as `read_report`.
    """
    import re

    import pandas as pd

    from rooflift.ncu.files import form_of, read_file
    from rooflift.ncu.metrics import BY_NAME
    from rooflift.ncu.report import read_values

    path = Path(file)
    try:
        wanted = re.compile(pattern, re.IGNORECASE)
    except re.error as error:
        raise CatalogError(
            f"--metrics {pattern!r} is no regular expression: {error}", "Put a \\ before signs."
        ) from None
    names = [name for metric, about in BY_NAME.items() if wanted.search(metric) for name in about.ncu]
    columns = ["launch", "kernel", "name", "value", "unit", "missing"]
    if form_of(path).form == "report":
        either = "|".join([f"(?:{pattern})", *(f"^{re.escape(name)}$" for name in names)])
        rows = [(v.launch, v.kernel, v.name, v.value, v.unit, v.missing) for v in read_values(path, either)]
        frame = pd.DataFrame(rows, columns=columns)
    else:
        read = read_file(path, units).frame
        found = read[[bool(wanted.search(f"{m} {n}")) for m, n in zip(read["metric"], read["ncu_name"], strict=True)]]
        frame = found[found["missing"] == ""].rename(columns={"ncu_name": "name"})[columns]
    if kernel is not None:
        frame = frame[frame["kernel"].str.contains(kernel)]
    if launch is not None:
        frame = frame[frame["launch"] == launch]
    if frame.empty:
        raise CatalogError(f"{path.name}: no metric is called {pattern!r}", "`--metrics .` lists them all.")
    return Values(path, frame.reset_index(drop=True))

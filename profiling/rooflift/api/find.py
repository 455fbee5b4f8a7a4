"""What is recorded: runs, roofs, operators and GPU specs, found by name. Measures nothing, writes nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, overload

from rooflift.api.run import Run
from rooflift.api.shown import html_table, texts
from rooflift.errors import CatalogError, RunFault
from rooflift.project import operator as project
from rooflift.project.gpus import GpuSpec, spec_for_key, spec_for_name
from rooflift.runs.find import holds, list_runs, newest_run, resolve_run

if TYPE_CHECKING:
    import pandas as pd


def project_root(root: Path | str | None = None) -> Path:
    """Return the project's folder: `root`, or the nearest at or above the working directory that holds kernels/.

    Raises:
        CatalogError: there is none.
    """
    return project.find_root(Path(root or Path.cwd()).resolve())


class Runs(Sequence[Run]):
    """Runs, oldest first. `table()` has one row a run, also for those that cannot be read."""

    def __init__(self, found: Sequence[Run], unreadable: Sequence[tuple[Path, RunFault]] = ()) -> None:
        self._found = tuple(found)
        self.unreadable = tuple(unreadable)  # folders, each with the reason

    @overload
    def __getitem__(self, place: int) -> Run: ...
    @overload
    def __getitem__(self, place: slice) -> Runs: ...
    def __getitem__(self, place: int | slice) -> Run | Runs:
        return Runs(self._found[place]) if isinstance(place, slice) else self._found[place]

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[Run]:
        return iter(self._found)

    def table(self) -> pd.DataFrame:
        """Return one row a run: run, operator, gpu, created, versions, metrics, suite, origin, commit, error.

        `versions` is their number; `error` says why a run cannot be read, "" for all others.
        """
        import pandas as pd

        rows = [
            {
                "run": run.name,
                "operator": run.operator,
                "gpu": run.gpu,
                "created": run.manifest.created,
                "versions": len(run.manifest.versions),
                "metrics": run.manifest.metric_set,
                "suite": run.manifest.suite,
                "origin": run.manifest.origin.kind if run.manifest.origin else "measured",
                "commit": (run.manifest.commit or "")[:7] + " changed" * run.manifest.dirty,
                "error": "",
            }
            for run in self
        ]
        bad = [
            {"run": folder.name, "operator": folder.parent.name, "error": fault.message}
            for folder, fault in self.unreadable
        ]
        columns = ["run", "operator", "gpu", "created", "versions", "metrics", "suite", "origin", "commit", "error"]
        return pd.DataFrame([*bad, *rows], columns=columns)

    def __repr__(self) -> str:
        return f"<Runs: {len(self)}, {', '.join(dict.fromkeys(run.operator for run in self)) or 'none'}>"

    def _repr_html_(self) -> str:
        return html_table(texts(frame := self.table(), list(frame)), repr(self)[1:-1])


def runs(
    operator: str | None = None,
    *,
    gpu: str = "",
    suite: bool = False,
    metrics: bool = False,
    versions: Collection[str] = (),
    cases: Collection[str] = (),
    root: Path | str | None = None,
) -> Runs:
    """Return the recorded runs below reports/, oldest first: all, or those that hold what is asked for, as `latest`.

    Without `operator` runs of all operators and ladders count.

    >>> import rooflift as rl
    >>> [run.operator for run in rl.runs("rms_norm")][:1]
    ['rms_norm']

    Raises:
        CatalogError: no project is found.
    """
    top = project_root(root)
    listed = list_runs(top / "reports", operator)
    read = [Run(folder, found, top) for folder, found in listed if not isinstance(found, RunFault)]
    unreadable = [(folder, found) for folder, found in listed if isinstance(found, RunFault)]
    found = [run for run in read if run.manifest.suite or not suite]
    found = [run for run in found if holds(run, gpu, versions, with_metrics=metrics, cases=cases)]
    return Runs(found, unreadable)


def latest(
    operator: str,
    *,
    gpu: str = "",
    suite: bool = False,
    metrics: bool = False,
    versions: Collection[str] = (),
    cases: Collection[str] = (),
    root: Path | str | None = None,
) -> Run:
    """Return the newest run of an operator, or of a ladder ("depthwise_conv2d/large_filter"), that holds what is asked.

    `gpu` is part of the GPU's name; `suite`: every bench case was timed; `metrics`: ncu collected some; `versions`:
    all of these ("v10" or "v10_shapes"); `cases`: all of these, "k7_56" or "k7_56/float16", and with `metrics` ncu's
    figures of them. Imported runs, which have no times, are passed over.

    >>> import rooflift as rl
    >>> rl.latest("depthwise_conv2d", gpu="H100", metrics=True).gpu
    'NVIDIA H100 80GB HBM3'

    Raises:
        CatalogError: no project is found.
        RunFault: there is no such run.
    """
    top = project_root(root)
    found = newest_run(top / "reports", operator, suite, gpu, versions, with_metrics=metrics, cases=cases)
    return Run(found.folder, found.manifest, top)


def open(what: Path | str, *, suite: bool = False, root: Path | str | None = None) -> Run:  # noqa: A001  # rl.open, as Image.open
    """Return a run by its folder, wherever that lies, by its name, or an operator's newest.

    With `suite` an operator stands for its newest run that timed every bench case.

    >>> import rooflift as rl
    >>> rl.open("rtx4090-record").gpu
    'NVIDIA GeForce RTX 4090'

    Raises:
        RunFault: there is no such run, or one of its tables is gone.
        CatalogError: `what` is no folder, and no project is found to look for the name.
    """
    is_folder = (Path(what) / "run.json").exists()
    try:
        top = project_root(root)
    except CatalogError:  # a run folder can be read anywhere
        if not is_folder:
            raise
        top = None
    found = resolve_run((top or Path()) / "reports", str(what), suite)
    return Run(found.folder, found.manifest, top)


def roofs(gpu: str, *, root: Path | str | None = None) -> pd.DataFrame:
    """Return the newest measured roofs of a GPU, its key ("h100") or the driver's name: one row a roof.

    Columns: name, kind, per_s (bytes/s or FLOP/s, as `unit` says), q20_per_s, q80_per_s, datasheet_per_s, method,
    configuration, the clocks, and the times behind them.

    >>> import rooflift as rl
    >>> sorted(rl.roofs("h200")["unit"].unique())
    ['FLOP/s', 'byte/s']

    Raises:
        CatalogError: no project is found, or no GPU is called that.
        RunFault: no roofs of this GPU were measured.
    """
    import pandas as pd

    from rooflift.analysis.roofline import with_datasheet
    from rooflift.runs.roofs import newest_roofs

    spec = spec_for_name(gpu) or spec_for_key(gpu.casefold())
    reports = project_root(root) / "reports"
    found = next(filter(None, (newest_roofs(reports, name) for name in spec.matches)), None)
    if found is None:
        raise RunFault(f"{reports}: no roofs of {spec.name} were measured", "Run `rooflift roofs` on that GPU.")
    frame = pd.DataFrame(with_datasheet(found))
    frame.attrs = {"gpu": found.machine.gpu, "created": found.created}
    return frame


def gpu(name: str) -> GpuSpec:
    """Return the published figures of a GPU by its key ("h200", "rtx4090") or the name that the driver gives it.

    >>> import rooflift as rl
    >>> spec = rl.gpu("h200")
    >>> spec.sm_count, spec.dram_bytes_per_s / 1e12
    (132, 4.8)

    Raises:
        CatalogError: no GPU is called that; near names are suggested.
    """
    return spec_for_name(name) or spec_for_key(name.casefold())


@dataclass(frozen=True)
class Operator(project.Operator):
    """One ladder of an operator: the reference, the ladder's versions in order, the cases that it serves by name."""

    def table(self) -> pd.DataFrame:
        """Return one row a version: version, stage, title, change, why, expect (its predictions)."""
        import pandas as pd

        names = ("stage", "title", "change", "why", "expect")
        rows = [{"version": v.name} | {name: getattr(v.header, name) for name in names} for v in self.versions]
        return pd.DataFrame(rows, columns=["version", *names])

    def __repr__(self) -> str:
        return f"<Operator {self.label}: {len(self.versions)} versions, {len(self.cases)} cases>"

    def _repr_html_(self) -> str:
        return html_table(texts(self.table(), ["version", "stage", "title"]), repr(self)[1:-1])


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

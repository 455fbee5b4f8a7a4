"""Measured roofs: those of a GPU that are recorded, or those of the GPU here, measured now."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rooflift.api.project import Say, project_root, silent
from rooflift.api.project import gpu as spec_of
from rooflift.errors import RunFault
from rooflift.project.settings import reports_folder

if TYPE_CHECKING:
    import pandas as pd

    from rooflift.schema import Roofs


def roofs(
    gpu: str | None = None,
    *,
    out: Path | str | None = None,
    force: bool = False,
    timeout_s: float = 300,
    say: Say = silent,
    root: Path | str | None = None,
) -> pd.DataFrame:
    """Return the newest measured roofs of a GPU, its key ("h100") or the driver's name: one row a roof.

    Without a name measure those of the GPU here, and record them in `out`, by default below reports/roofs/, which
    `force` replaces. Columns: name, kind, per_s (bytes/s or FLOP/s, as `unit` says), q20_per_s, q80_per_s,
    datasheet_per_s, method, configuration, the clocks, and the times behind them. `attrs` holds gpu, created, and of a
    measurement `file`.

    >>> import rooflift as rl
    >>> sorted(rl.roofs("h200")["unit"].unique())
    ['FLOP/s', 'byte/s']

    Raises:
        CatalogError: no project is found, or no GPU is called that.
        RunFault: no roofs of this GPU were measured, or `out` exists.
        NoGpu, EnvironmentFault: nothing can be measured here.
    """
    from rooflift.runs.roofs import newest_roofs

    top = project_root(root)
    if gpu is None:
        return _measured(top, Path(out) if out else None, timeout_s, say, force=force)
    spec = spec_of(gpu)
    found = next(filter(None, (newest_roofs(reports_folder(top), name) for name in spec.matches)), None)
    if found is None:
        remedy = "Run `rooflift roofs` on that GPU."
        raise RunFault(f"{top / 'reports'}: no roofs of {spec.name} were measured", remedy)
    return _frame(found)


def _measured(top: Path, out: Path | None, timeout_s: float, say: Say, *, force: bool) -> pd.DataFrame:
    from rooflift.measure.roofs import measure
    from rooflift.runs.roofs import roofs_path, write_roofs

    if out is not None and out.exists() and not force:  # before minutes are spent
        raise RunFault(f"{out} exists", "Name another file with --out, or replace it with --force.")
    found = measure(top, timeout_s, say)
    path = out or roofs_path(reports_folder(top), found)
    write_roofs(path, found, force=force)
    frame = _frame(found)
    frame.attrs["file"] = path
    return frame


def _frame(found: Roofs) -> pd.DataFrame:
    import msgspec
    import pandas as pd

    from rooflift.analysis.roofline import with_datasheet

    frame = pd.DataFrame(with_datasheet(found))
    machine = msgspec.to_builtins(found.machine)
    frame.attrs = {"gpu": found.machine.gpu, "created": found.created, "machine": machine}
    return frame

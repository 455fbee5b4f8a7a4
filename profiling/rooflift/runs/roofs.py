"""Files of measured roofs: read, written, the newest of a GPU."""

from __future__ import annotations

import contextlib
import datetime
from pathlib import Path

from rooflift.errors import RunFault
from rooflift.project.settings import reports_folder
from rooflift.runs import atomic
from rooflift.runs.find import dated_name
from rooflift.runs.run import Run, read_record, to_json
from rooflift.schema import Roofs


def roofs_path(reports: Path, roofs: Roofs) -> Path:
    """Return the file below reports/roofs that is named after the measurement."""
    created = datetime.datetime.fromisoformat(roofs.created)
    return reports / "roofs" / f"{dated_name(roofs.machine.gpu, created, roofs.commit, roofs.dirty)}.json"


def write_roofs(path: Path, roofs: Roofs, *, force: bool = False) -> None:
    """Write measured roofs, whole or not at all.

    Raises:
        RunFault: `path` exists and `force` is not given, or it cannot be written.
    """
    if path.exists() and not force:
        raise RunFault(f"{path} exists", "Name another file with --out, or replace it with --force.")
    atomic.write_file(path, to_json(roofs), replace=force)


def read_roofs(path: Path) -> Roofs:
    """Read measured roofs.

    Raises:
        RunFault: the file is missing, of another schema version, or a field is missing or wrong.
    """
    return read_record(path, Roofs)


def newest_roofs(reports: Path, gpu: str) -> Roofs | None:
    """Return the newest roofs below `reports` that were measured on a GPU of this name, None when there are none.

    A file that cannot be read hinders no measurement: it is as if it were not there.
    """
    found: list[Roofs] = []
    for path in (reports / "roofs").glob("[!.]*.json"):
        with contextlib.suppress(RunFault):
            found.append(read_roofs(path))
    return max((roofs for roofs in found if roofs.machine.gpu == gpu), key=lambda roofs: roofs.created, default=None)


def roofs_of(run: Run) -> Roofs | None:
    """Return the newest measured roofs of a run's GPU, None when there are none.

    They are those of the reports folder that the run lies in, or that stands beside a folder above it; else those of
    the project `run.root`.
    """
    beside = (place for above in run.folder.resolve().parents for place in (above, above / "reports"))
    own = next((place for place in beside if (place / "roofs").is_dir()), None)
    gpu = run.manifest.machine.gpu
    project = reports_folder(run.root) if run.root else None
    found = (newest_roofs(place, gpu) for place in (own, project) if place is not None)
    return next((roofs for roofs in found if roofs is not None), None)

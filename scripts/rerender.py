"""Render committed runs again in place, with today's labels and figures: `python scripts/rerender.py [RUN...]`.

Without names every run below reports/ is rendered. report.md and the figures are replaced and run.json is sealed again;
the script stops before it writes anything of a run that is not whole, and when a table, a sample or a report would
change. `--drop-reports RUN...` removes .ncu-rep files instead: a note in run.json keeps their sha256, and metrics.csv
keeps what was read from them. With `--read-metrics` metrics.csv is written again from the reports first, with what the
registry has gained since; its other rows must be the same.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import msgspec

from rooflift import rerender as again
from rooflift.ncu.report import read_reports
from rooflift.report.pictures import PICTURES
from rooflift.runs.find import find_runs
from rooflift.runs.run import Run, read_run
from rooflift.runs.verify import sha256, verify, write_manifest
from rooflift.schema import Manifest

ROOT = Path(__file__).resolve().parent.parent
FIGURES = (*PICTURES, "metrics")  # the last of older runs alone
UNSEALED = {"sha256", "sha256_self", "notes"}  # what the seal, and a removed report, change of run.json


def committed_runs(root: Path = ROOT) -> list[Path]:
    """Return the committed runs that have times: those of the operators and those that a loop left."""
    folders = [*find_runs(root / "reports")]
    folders += [path.parent for path in sorted((root / "reports").glob("optimize/*/reports/*/*/run.json"))]
    return [folder for folder in folders if read_run(folder).manifest.origin is None]


def drop_reports(folder: Path) -> None:
    """Remove a run's .ncu-rep files; a note keeps the sha256 of each.

    Raises:
        SystemExit: the run is not whole, or its tables do not hold what its reports do.
    """
    run = require_whole(folder)
    with tempfile.TemporaryDirectory() as out:
        again.rerender(run, Path(out))  # refuses a report that its table contradicts
    notes = [*run.manifest.notes]
    for path in run.reports:
        notes.append(f"Its Nsight Compute report {path.name} is not kept here (SHA-256 {sha256(path)}).")
        path.unlink()
    if (folder / "ncu").is_dir():
        (folder / "ncu").rmdir()
    write_manifest(folder, msgspec.structs.replace(run.manifest, notes=notes))
    require_whole(folder)


def read_metrics(folder: Path) -> None:
    """Write a run's metrics.csv again from its reports, with the metrics that the registry has gained since.

    Raises:
        SystemExit: the run is not whole, or what its table held is not what its reports say.
    """
    run = require_whole(folder)
    if not run.reports:
        return
    metrics = read_reports(run.reports, folder)
    difference = again.disagreement(metrics, run.metrics)
    if difference:
        raise SystemExit(f"{folder}: {difference}")
    metrics.to_csv(folder / "metrics.csv", index=False)
    write_manifest(folder, run.manifest)
    require_whole(folder)


def rerender(folder: Path) -> None:
    """Replace report.md and the figures of a run by what is rendered today, and seal the folder again.

    Raises:
        SystemExit: the run is not whole, or anything else of it would change.
    """
    run = require_whole(folder)
    before = measured(folder)
    with tempfile.TemporaryDirectory() as out:
        told = again.rerender(run, Path(out))
        written = {path.name: path.read_bytes() for path in told.written}
    for name in FIGURES:
        for kind in ("svg", "png"):
            (folder / f"{name}.{kind}").unlink(missing_ok=True)
    for name, data in written.items():
        (folder / name).write_bytes(data)
    write_manifest(folder, run.manifest)
    after = require_whole(folder).manifest
    if measured(folder) != before or unsealed(after) != unsealed(run.manifest) or after.notes != run.manifest.notes:
        raise SystemExit(f"{folder}: a measured value changed; restore it from version control")


def require_whole(folder: Path) -> Run:
    """Return a run whose every byte is what its run.json says, else stop."""
    faults = verify(folder).faults
    if faults:
        raise SystemExit(f"{folder}: {'; '.join(f'{name} {what}' for name, what in faults)}")
    return read_run(folder)


def measured(folder: Path) -> dict[str, str]:
    """Return the sha256 of each file of a run that holds what was measured."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    rendered = {"run.json", "report.md", *(f"{name}.{kind}" for name in FIGURES for kind in ("svg", "png"))}
    return {path.relative_to(folder).as_posix(): sha256(path) for path in files if path.name not in rendered}


def unsealed(manifest: Manifest) -> dict[str, object]:
    """Return a manifest without its seal and its notes."""
    return {name: value for name, value in msgspec.structs.asdict(manifest).items() if name not in UNSEALED}


def main(words: list[str]) -> None:
    """Render the named runs, or all."""
    names = [word for word in words if not word.startswith("--")]
    if "--drop-reports" in words and not names:
        raise SystemExit("--drop-reports wants the runs named")
    for folder in map(Path, names) if names else committed_runs():
        if "--drop-reports" in words:
            drop_reports(folder)
            print(f"{folder}: its reports are dropped")
        else:
            if "--read-metrics" in words:
                read_metrics(folder)
            rerender(folder)
            print(f"{folder}: rendered and sealed")


if __name__ == "__main__":
    main(sys.argv[1:])

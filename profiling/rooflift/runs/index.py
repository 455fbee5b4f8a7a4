"""An index of the times in run folders, in SQLite: which version was how fast on which case and GPU, and when.

It lies in the folder of what can be made again, holds nothing that the runs do not, and is brought up to date whenever
it is opened: only run folders that are new or changed are read. Whoever deletes it loses nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from rooflift.errors import RunFault
from rooflift.project.settings import build_folder
from rooflift.runs.find import ladder_label
from rooflift.runs.run import read_run
from rooflift.schema import Manifest

FILE = "runs.sqlite"
FORM = 1  # of the tables; another one is made anew
TABLES = """
CREATE TABLE runs (folder TEXT PRIMARY KEY, stamp TEXT, operator TEXT, run TEXT, created TEXT, gpu TEXT);
CREATE TABLE times (
    folder TEXT REFERENCES runs ON DELETE CASCADE, version TEXT, number INTEGER, "case" TEXT, dtype TEXT,
    time_us REAL, q20_us REAL, q80_us REAL, sha256 TEXT
);
CREATE INDEX by_folder ON times (folder);
"""
TIMES = """
SELECT operator, "case", dtype, gpu, created, run, folder, version, number, time_us, q20_us, q80_us, sha256
FROM times JOIN runs USING (folder)
ORDER BY operator, "case", dtype, gpu, created, run, number
"""


def times(folders: Sequence[Path], root: Path | None) -> list[dict[str, Any]]:
    """Return the median times of versions in run folders, a dict each, ordered by operator, case, dtype, GPU and date.

    Keys: operator (a ladder: conv/large), case, dtype, gpu, created, run, folder, version, number, time_us, q20_us,
    q80_us, sha256 (of the version's file). Runs that were imported have no times; what cannot be read is left out.
    """
    wanted = {str(folder.resolve()): folder for folder in folders}
    with _opened(root) as index:
        _refresh(index, wanted, root)
        rows = [dict(row) for row in index.execute(TIMES)]
    return [row for row in rows if row["folder"] in wanted]


@contextmanager
def _opened(root: Path | None) -> Iterator[sqlite3.Connection]:
    """Yield the project's index, made anew where it is of another form or damaged; in memory where none can be kept."""
    path = build_folder(root) / FILE if root else None
    index = None
    if path is not None:
        with suppress(OSError, sqlite3.Error):
            path.parent.mkdir(parents=True, exist_ok=True)
            index = _connected(path)
        if index is None:
            with suppress(OSError, sqlite3.Error):
                path.unlink(missing_ok=True)
                index = _connected(path)
    with closing(index or _connected(None)) as found, found:
        yield found


def _connected(path: Path | None) -> sqlite3.Connection:
    found = sqlite3.connect(path or ":memory:", timeout=30)
    try:
        found.row_factory = sqlite3.Row
        found.execute("PRAGMA foreign_keys = ON")
        (form,) = found.execute("PRAGMA user_version").fetchone()
        if form != FORM:
            with found:
                found.executescript(f"DROP TABLE IF EXISTS times; DROP TABLE IF EXISTS runs; {TABLES}")
                found.execute(f"PRAGMA user_version = {FORM}")
    except sqlite3.Error:
        found.close()
        raise
    return found


def _refresh(index: sqlite3.Connection, wanted: dict[str, Path], root: Path | None) -> None:
    """Read what is new or changed, and forget what is gone."""
    known = dict(index.execute("SELECT folder, stamp FROM runs").fetchall())
    gone = [(name,) for name in known if name not in wanted and not Path(name, "run.json").exists()]
    index.executemany("DELETE FROM runs WHERE folder = ?", gone)
    for name, folder in wanted.items():
        stamp = _stamp(folder)
        if known.get(name) == stamp:
            continue
        index.execute("DELETE FROM runs WHERE folder = ?", (name,))
        with suppress(RunFault):
            run = read_run(folder, root)
            if run.manifest.origin is None:
                _insert(index, name, stamp, run.manifest, run.timings)


def _stamp(folder: Path) -> str:
    """Return what changes when a run folder's manifest or times do."""
    states = []
    for file in ("run.json", "timings.csv"):
        with suppress(OSError):
            state = (folder / file).stat()
            states.append(f"{state.st_mtime_ns} {state.st_size}")
    return ", ".join(states)


def _insert(index: sqlite3.Connection, name: str, stamp: str, manifest: Manifest, timings: Any) -> None:
    about = (name, stamp, ladder_label(manifest), manifest.name, manifest.created, manifest.machine.gpu)
    index.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?)", about)
    files = {Path(file).stem: digest for file, digest in manifest.sha256.items() if file.startswith("kernels/")}
    versions = {record.version for record in manifest.versions}
    rows = [
        (name, row.provider, _number(row.provider), row.case, row.dtype, row.median_us, row.q20_us, row.q80_us,
         files.get(row.provider, ""))
        for row in timings.itertuples()
        if row.provider in versions
    ]  # fmt: skip
    index.executemany("INSERT INTO times VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)


def _number(version: str) -> int:
    """Return 10 for v10_shapes; a candidate has none, -1."""
    digits = version.partition("_")[0].removeprefix("v")
    return int(digits) if digits.isdecimal() else -1

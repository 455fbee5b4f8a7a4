"""How long a site of many runs takes: built whole, built again unchanged, and built again with one run more.

`python benchmarks/site.py [RUNS]` copies the recorded runs, without their reports, into a project below the temporary
folder, under other names, dates and times, as often as it takes to have so many (1,000), and prints seconds.
"""

from __future__ import annotations

import datetime
import shutil
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd

from rooflift.project.settings import reports_folder
from rooflift.runs.find import list_runs
from rooflift.runs.verify import write_manifest
from rooflift.schema import Manifest
from rooflift.site.build import site

ROOT = Path(__file__).resolve().parent.parent
TIMES = ["median_us", "q20_us", "q80_us", "min_us"]


def add(source: Path, manifest: Manifest, reports: Path, number: int) -> None:
    """Copy a run as the run of another day, its times by up to 2 % others."""
    created = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(hours=6 * number)
    name = f"{created:%Y-%m-%d}-{number}"
    folder = reports / source.parent.name / name
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("ncu", "source.parquet"))
    scale = 1 + 0.02 * np.random.default_rng(number).random()
    for file in ("timings.csv", "samples.parquet"):
        frame = pd.read_csv(folder / file) if file.endswith("csv") else pd.read_parquet(folder / file)
        columns = [column for column in (*TIMES, "time_us") if column in frame]
        frame[columns] *= scale
        frame.to_csv(folder / file, index=False) if file.endswith("csv") else frame.to_parquet(folder / file)
    write_manifest(folder, msgspec.structs.replace(manifest, name=name, created=f"{created:%Y-%m-%dT%H:%M:%SZ}"))


def main() -> None:
    """Print the seconds of three builds."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    found = [
        (folder, run) for folder, run in list_runs(reports_folder(ROOT)) if isinstance(run, Manifest) and run.cases
    ]
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        shutil.copytree(ROOT / "kernels", root / "kernels")
        shutil.copytree(reports_folder(ROOT) / "roofs", root / "reports" / "roofs")
        for number in range(count):
            add(*found[number % len(found)], root / "reports", number)
        for what in (f"{count} runs", "unchanged", "one run more"):
            if what == "one run more":
                add(*found[0], root / "reports", count)
            start = time.perf_counter()
            built = site(root / "site", root=root)
            seconds = time.perf_counter() - start
            print(f"{what}: {seconds:.1f} s, {len(built.written)} of {built.files} files written")


if __name__ == "__main__":
    main()

"""Drive rooflift with what it should never meet, and write what came of it between the marks of docs/reliability.md.

`python scripts/reliability.py` runs the long modes, some minutes on two cores, and rewrites the table. The tests run
the same functions for seconds.
"""

from __future__ import annotations

import datetime
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd

from rooflift.compile.module import load_module
from rooflift.errors import ReportFault
from rooflift.ncu.metrics import METRICS
from rooflift.ncu.report import read_reports
from rooflift.runs import find, verify
from rooflift.runs import run as runs

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "tests" / "fixtures"
REPORTS = [FIXTURES / "h100_flat_depthwise.ncu-rep", FIXTURES / "h100_run" / "ncu" / "depthwise_conv2d.ncu-rep"]
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- reliability: begin -->", "<!-- reliability: end -->"
MUTANTS, RUNS, CASES, KILLS = 2000, 1000, 500, 150
COMMANDS = ("profile", "compare", "optimize")
PLAIN = [metric for metric in METRICS if not metric.pattern and not metric.formulas]  # under one name of a report
NAMES = [name for metric in PLAIN for name in metric.ncu]


strange = load_module(ROOT / "tests" / "ncu" / "strange.py")


@dataclass
class Fuzzed:
    """What became of mutants of real reports."""

    mutants: int
    refused: Counter[str] = field(default_factory=Counter)  # by the reason, without its numbers
    crashed: int = 0  # of the refused: the reading process was ended by a signal
    read: int = 0
    changed: int = 0  # of the read: some value is another than the original's
    fewer: int = 0  # of the read: whole launches were cut out or doubled
    wrong: list[str] = field(default_factory=list)  # a value that the bare reader or the file does not have
    slowest_s: float = 0.0


def fuzz(seeds: Sequence[int], processes: int = 2) -> Fuzzed:
    """Read one mutant a seed, and compare what still reads with the bare reader, with its file and with the original.

    Anything that rooflift raises other than ReportFault ends it.
    """
    sources = [path.read_bytes() for path in REPORTS]
    originals = [read_reports([path], path.parent) for path in REPORTS]
    values = [frame["value"].dropna().tolist() for frame in originals]
    fuzzed = Fuzzed(len(seeds))
    with tempfile.TemporaryDirectory(prefix="rooflift-") as name:
        folder = Path(name)

        def read(seed: int) -> tuple[Path, int, pd.DataFrame | ReportFault, float]:
            taken, kind, data = strange.mutant(sources, values, seed)
            path = folder / f"{seed}-{kind}.ncu-rep"
            path.write_bytes(data)
            begin = time.perf_counter()
            try:
                return path, taken, read_reports([path], folder), time.perf_counter() - begin
            except ReportFault as fault:
                path.unlink()
                return path, taken, fault, time.perf_counter() - begin

        for batch in (seeds[at : at + 40] for at in range(0, len(seeds), 40)):
            with ThreadPoolExecutor(processes) as pool:
                outcomes = list(pool.map(read, batch))
            fuzzed.slowest_s = max(fuzzed.slowest_s, *(taken_s for *_, taken_s in outcomes))
            whole: list[tuple[Path, int, pd.DataFrame]] = []
            for path, taken, outcome, _ in outcomes:
                if isinstance(outcome, ReportFault):
                    count_refusal(fuzzed, path, outcome)
                else:
                    whole.append((path, taken, outcome))
            held = strange.bare([path for path, _, _ in whole], NAMES)
            for (path, taken, frame), bare in zip(whole, held, strict=True):
                judge(fuzzed, path, frame, bare, originals[taken])
                path.unlink()
    return fuzzed


def count_refusal(fuzzed: Fuzzed, path: Path, fault: ReportFault) -> None:
    """Count a refusal by its reason; one that does not name the file is wrong."""
    if not fault.message.startswith(f"{path}: ") or not fault.remedy:
        fuzzed.wrong.append(f"{path.stem}: {fault.message}")
    reason = fault.message.removeprefix(f"{path}: ")
    fuzzed.crashed += "was ended by" in reason
    fuzzed.refused["".join(letter for letter in reason if not letter.isdigit())] += 1


def judge(fuzzed: Fuzzed, path: Path, frame: pd.DataFrame, bare: list[dict[str, Any]], original: pd.DataFrame) -> None:
    """Hold a frame against a bare loop over its file and, where it differs from the original, against the bytes."""
    fuzzed.read += 1
    held = [first_number(said["values"], metric.ncu) for said in bare for metric in PLAIN]
    frame, original = (
        one[one["metric"].isin({m.name for m in PLAIN})].reset_index(drop=True) for one in (frame, original)
    )
    if not frame["value"].equals(pd.Series(held, dtype=float)):
        fuzzed.wrong.append(f"{path.stem}: not what the bare reader gives")
    if len(frame) != len(original):
        fuzzed.fewer += 1
        return
    differs = ~((frame["value"] == original["value"]) | (frame["value"].isna() & original["value"].isna()))
    fuzzed.changed += bool(differs.any())
    data = path.read_bytes()
    for row in frame[differs & frame["value"].notna()].itertuples():
        if not strange.holds(data, row.value):
            fuzzed.wrong.append(f"{path.stem}: {row.metric} is {row.value}, which the file does not hold")


def first_number(values: dict[str, Any], names: Sequence[str]) -> float:
    """Return the value of the first of a metric's names that has a finite one, else NaN."""
    found = (values.get(name) for name in names)
    return next((float(v) for v in found if isinstance(v, int | float) and math.isfinite(v)), math.nan)


def command_s(words: Sequence[str | Path]) -> float:
    """Return the seconds that a whole command takes, from the start of python; it must end well."""
    begin = time.perf_counter()
    command = [sys.executable, "-m", "rooflift", *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "profiling")}
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True)
    return time.perf_counter() - begin


def list_runs(count: int) -> float:
    """Return the seconds of `rooflift runs` on so many runs."""
    manifest = (FIXTURES / "h100_run" / "run.json").read_bytes()
    with tempfile.TemporaryDirectory(prefix="rooflift-") as name:
        Path(name, "kernels").mkdir()
        for number in range(count):
            folder = Path(name, "reports", "depthwise_conv2d", f"run-{number}")
            folder.mkdir(parents=True)
            (folder / "run.json").write_bytes(manifest)
        assert len(find.find_runs(Path(name, "reports"))) == count
        return command_s(["runs", "--root", name])


def compare_cases(count: int) -> float:
    """Return the seconds of `rooflift compare` of two versions over so many cases, each with its own samples."""
    run = runs.read_run(FIXTURES / "h100_run")
    names = ["main", *(f"case_{number}" for number in range(1, count))]
    with tempfile.TemporaryDirectory(prefix="rooflift-") as name:
        folder = Path(name)
        for file, frame in (("metrics", run.metrics), ("timings", run.timings)):
            pd.concat([frame.assign(case=case) for case in names]).to_csv(folder / f"{file}.csv", index=False)
        samples = [run.samples.assign(case=case) for case in names]
        pd.concat(samples, ignore_index=True).to_parquet(folder / "samples.parquet", index=False)
        cases = [msgspec.structs.replace(run.manifest.cases[0], case=case) for case in names]
        verify.write_manifest(folder, msgspec.structs.replace(run.manifest, cases=cases))
        return command_s(["compare", f"{folder}:v0", ":v1"])


def kill(count: int) -> list[dict[str, Any]]:
    """Kill each of the commands so often, side by side, and return what came of it."""

    def one(command: str) -> dict[str, Any]:
        words = [sys.executable, str(ROOT / "tests" / "killing.py"), command, str(count), "1"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "profiling")}
        ended = subprocess.run(words, env=environment, stdout=subprocess.PIPE, check=True)
        found: dict[str, Any] = json.loads(ended.stdout)
        return found

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(one, COMMANDS))


def table(
    fuzzed: Fuzzed, seconds: dict[str, float], listed_s: float, compared_s: float, killed: Sequence[dict[str, Any]]
) -> str:
    """Return the Markdown between the marks."""
    bare_s, ours_s = seconds["bare"], seconds["rooflift"]
    refused = sum(fuzzed.refused.values())
    rows = [
        ("mutants of two real reports", f"{fuzzed.mutants:,}, seeds 0 to {fuzzed.mutants - 1}"),
        ("refused, with file and reason", f"{refused:,}, for {len(fuzzed.refused)} reasons"),
        ("of these: the native reader crashed", f"{fuzzed.crashed}"),
        ("still read", f"{fuzzed.read:,}: {fuzzed.changed} with other values, {fuzzed.fewer} with other launches"),
        ("wrong values, hangs, crashes of rooflift", f"{len(fuzzed.wrong)}"),
        ("slowest mutant", f"{fuzzed.slowest_s:.1f} s"),
        (f"a report of {seconds['launches']:,.0f} launches into a frame", f"{ours_s:.1f} s, bare loop {bare_s:.1f} s"),
        ("its speed relative to the bare loop", f"{bare_s / ours_s:.2f}x"),
        ("largest process", f"{seconds['ours_mib']:,.0f} MiB, bare loop {seconds['bare_mib']:,.0f} MiB"),
        (f"`rooflift runs` of {RUNS:,} runs", f"{listed_s:.1f} s"),
        (f"`rooflift compare` over {CASES} cases", f"{compared_s:.1f} s"),
        *((f"`rooflift {one['command']}` killed", f"{one['kills']} times") for one in killed),
        ("calls that went on after them to their end", f"{sum(one['finished'] for one in killed)}"),
        (
            "runs that were shown and not whole, ends unlike an unkilled call's",
            f"{sum(len(o['wrong']) for o in killed)}",
        ),
    ]
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("ncu-report", "pandas"))
    lines = ["| what | reached |", "| --- | --- |", *(f"| {what} | {reached} |" for what, reached in rows)]
    today = datetime.datetime.now(datetime.UTC).date()
    return "\n".join([*lines, "", f"{today}, {os.cpu_count()} cores, Python {sys.version.split()[0]}, {versions}."])


def main() -> int:
    """Write the table; exit code 1 when something was wrong."""
    fuzzed = fuzz(range(MUTANTS), processes=os.cpu_count() or 1)
    seconds = load_module(ROOT / "benchmarks" / "read_report.py").measure()
    killed = kill(KILLS)
    said = table(fuzzed, seconds, list_runs(RUNS), compare_cases(CASES), killed)
    wrong = [*fuzzed.wrong, *(text for one in killed for text in one["wrong"])]
    print(said, *wrong, sep="\n")
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(
        BEGIN
    )  # now: somebody may have written in the meantime
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{said}\n{END}{after}", encoding="utf-8")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

"""How much scheduling costs a job of `rooflift batch`: many jobs that only sleep, on many workers that stand for GPUs.

    python benchmarks/batch_overhead.py [JOBS] [WORKERS] [SECONDS]

Overhead of a job = (wall time - JOBS * SECONDS / WORKERS) / JOBS. Workers are threads of this process, so that 64 of
them fit a small machine; jobs go through the scheduler, the journal and the retries of a real batch.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from rooflift.batch.batch import JOURNAL, _recorder, read_journal
from rooflift.batch.cluster import connected
from rooflift.batch.jobs import GPU, Job, Outcome
from rooflift.batch.schedule import schedule

SLEEP_S = 0.05  # a measurement takes longer; shorter ones only keep the workers waiting for the scheduler


def sleep(job: Job) -> Outcome:
    """Stand for a measurement."""
    time.sleep(float(job.options["seconds"]))
    return Outcome(job.key, job.operator, job.versions, "done", float(job.options["seconds"]))


def main(count: int, workers: int, seconds: float) -> None:
    """Time the jobs and print the overhead of one."""
    options = {"seconds": seconds}
    jobs = [Job(f"job {n}", "profile", "", f"operator_{n}", ("v0",), GPU, options) for n in range(count)]
    known: dict[str, Outcome] = {}
    with tempfile.TemporaryDirectory() as folder, connected(None, workers, 0, processes=False) as client:
        path = Path(folder, JOURNAL)
        with path.open("ab", buffering=0) as journal:
            begun, worked = time.monotonic(), time.process_time()
            schedule(client, jobs, sleep, _recorder(journal, known, count, lambda _: None))
            wall, busy = time.monotonic() - begun, time.process_time() - worked
        assert read_journal(path).keys() == {job.key for job in jobs}
    ideal = count * seconds / workers
    overhead_ms = 1000 * (wall - ideal) / count
    print(f"{count} jobs of {1000 * seconds:g} ms on {workers} workers: {wall:.1f} s, ideal {ideal:.1f} s, ", end="")
    print(f"{overhead_ms:.2f} ms overhead a job, {1000 * busy / count:.2f} ms of processor time")


if __name__ == "__main__":
    given = [*sys.argv[1:], "", "", ""]
    main(int(given[0] or 10_000), int(given[1] or 64), float(given[2] or SLEEP_S))

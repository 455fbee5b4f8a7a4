"""Jobs given to workers until each has an outcome; a job whose worker dies, or loses its GPU, goes to another."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

import msgspec
from distributed import Client, KilledWorker, as_completed, get_worker

from rooflift.batch.jobs import GPU, Job, Outcome

LOOK_S = 5  # between looks at which workers there are
RETRIES = 2  # times that a job is given to another worker
LOST = ("NoGpu:", "EnvironmentFault:")  # how the error of a worker that has lost its GPU begins


def schedule(
    client: Client,
    jobs: Sequence[Job],
    do: Callable[[Job], Outcome],
    done: Callable[[Outcome], None],
    retries: int = RETRIES,
) -> None:
    """Have all jobs done, and tell `done` of each outcome as it comes, in any order.

    A job has a worker with its resource to itself. When its worker dies it is given to another, `retries` times, and so
    it is when a GPU is lost; that worker gets no further job. The outcome's notes say both.
    """
    waiting = {
        resource: [job for job in jobs if job.resource == resource] for resource in {job.resource for job in jobs}
    }
    notes: dict[str, tuple[str, ...]] = {}
    bad: set[str] = set()  # addresses of workers that lost their GPU
    pending: dict[str, Job] = {}
    futures = as_completed([], with_results=False)
    healthy: dict[str, list[str]] = {}  # addresses of workers by resource
    looked = -math.inf

    def fill() -> None:
        """Hand out as many jobs as there are workers: one that waits behind another would die with its worker."""
        nonlocal looked, healthy
        if time.monotonic() - looked > LOOK_S:
            looked, healthy = time.monotonic(), _workers(client, bad)
        for resource, left in waiting.items():
            there = healthy.get(resource, [])
            room = max(len(there), 1) - sum(job.resource == resource for job in pending.values())
            some, left[:] = left[: max(room, 0)], left[max(room, 0) :]
            if some:
                keys = [f"{job.key} #{len(notes.get(job.key, ()))}" for job in some]
                only = there or None if bad else None
                made = client.map(
                    partial(_at_worker, do), some, key=keys, resources={resource: 1}, pure=False, workers=only
                )
                pending.update(zip(keys, some, strict=True))
                futures.update(made)

    fill()
    for batch in futures.batches():
        finished = [one for one in batch if one.status == "finished"]
        results = dict(zip(finished, client.gather(finished), strict=True))
        for future in batch:
            job = pending.pop(str(future.key))
            outcome, again = _outcome(future, results.get(future), job)
            if again:
                notes[job.key] = (*notes.get(job.key, ()), again)
                if outcome is not None:
                    bad.add(outcome.worker)
                looked, healthy = time.monotonic(), _workers(client, bad)
                if len(notes[job.key]) <= retries and (healthy.get(job.resource) or not bad):
                    waiting[job.resource].insert(0, job)
                    continue
                outcome = outcome or Outcome(job.key, job.operator, job.versions, "lost", 0.0, result=again)
            assert outcome is not None
            done(msgspec.structs.replace(outcome, notes=notes.pop(job.key, ())))
        fill()


def _at_worker(do: Callable[[Job], Outcome], job: Job) -> Outcome:
    """Do a job on a worker, whose address the outcome gets."""
    return msgspec.structs.replace(do(job), worker=get_worker().address)


def _workers(client: Client, bad: Collection[str]) -> dict[str, list[str]]:
    """Return the addresses of the workers that are not bad, by the resources that they offer."""
    workers: dict[str, Any] = client.scheduler_info(n_workers=-1)["workers"]
    found: dict[str, list[str]] = {}
    for address, about in workers.items():
        for resource in about.get("resources", {}) if address not in bad else ():
            found.setdefault(resource, []).append(address)
    return found


def _outcome(future: Any, outcome: Outcome | None, job: Job) -> tuple[Outcome | None, str]:
    """Return what came of a job, and why it should be done elsewhere, "" where it should not."""
    if outcome is None:
        error = future.exception()
        if isinstance(error, KilledWorker):
            return None, f"a worker died with it: {error.last_worker.address if error.last_worker else 'unknown'}"
        result = f"{type(error).__name__}: {error}"
        return Outcome(job.key, job.operator, job.versions, "failed", 0.0, result=result), ""
    if outcome.state == "failed" and job.resource == GPU and outcome.result.startswith(LOST):
        return outcome, f"{outcome.worker or 'a worker'} could not use its GPU: {outcome.result}"
    return outcome, ""

"""The workers: a cluster on this machine, one worker a GPU and some without, or somebody's scheduler by its address."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dask
from distributed import Client, Nanny, Scheduler, SpecCluster, Worker

from rooflift.batch.jobs import CPU, GPU
from rooflift.errors import EnvironmentFault

LOOPBACK = "127.0.0.1"
CONFIG = {
    "distributed.scheduler.allowed-failures": 0,  # the first death is told, and the job given to another by `schedule`
    "distributed.worker.daemon": False,  # jobs start processes of their own
    "distributed.admin.large-graph-warning-threshold": "1GB",
    "distributed.worker.profile.enabled": False,  # it samples every thread each 10 ms, beside a measurement
    "distributed.scheduler.work-stealing": False,  # a job waits for its resource, whose worker the scheduler chooses
    "distributed.scheduler.active-memory-manager.start": False,
    "distributed.admin.system-monitor.interval": "5s",
}


@contextmanager
def connected(scheduler: str | None, gpus: int, cpus: int, *, processes: bool = True) -> Iterator[Client]:
    """Yield a client of the scheduler at an address, or of a new cluster of this machine on loopback.

    A worker of the new cluster sees one GPU and offers the resource GPU, or sees none and offers CPU; each does one job
    at a time. Workers of another scheduler say so themselves: `dask worker ADDRESS --nthreads 1 --resources "GPU=1"`.
    Without `processes` workers share this process, as a simulation of many wants it.

    Raises:
        EnvironmentFault: nobody answers at the address.
    """
    with dask.config.set(CONFIG):
        if scheduler:
            try:
                client = Client(scheduler, timeout=10)
            except (OSError, TimeoutError, ValueError) as error:
                remedy = "Start one with `dask scheduler`, or leave out --scheduler for a cluster of this machine."
                raise EnvironmentFault(f"{scheduler}: no scheduler answers: {error}", remedy) from None
            with client:
                yield client
            return
        workers = {f"gpu-{place}": _worker(GPU, str(place), processes) for place in range(gpus)}
        workers |= {f"cpu-{place}": _worker(CPU, "", processes) for place in range(cpus)}
        own: dict[str, Any] = {"cls": Scheduler, "options": {"port": 0, "dashboard": False}}
        own["options"] |= {"host": LOOPBACK} if processes else {"protocol": "inproc"}
        with SpecCluster(workers=workers, scheduler=own, silence_logs="critical") as cluster, Client(cluster) as client:
            yield client


def _worker(resource: str, devices: str, processes: bool) -> dict[str, Any]:
    options: dict[str, Any] = {"nthreads": 1, "resources": {resource: 1}, "dashboard": False}
    options["memory_limit"] = 0  # a measurement is not ended, nor looked at, for its memory
    if processes:
        options |= {"host": LOOPBACK, "silence_logs": logging.CRITICAL}  # their output is ours
        options["env"] = {"CUDA_VISIBLE_DEVICES": devices, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    else:
        options["protocol"] = "inproc"
    return {"cls": Nanny if processes else Worker, "options": options}

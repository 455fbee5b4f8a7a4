"""Records the durations of a program's kernels, with CUPTI where cupti-python is installed, else with torch's profiler.

It runs inside of somebody's program, in any Python, so it takes the standard library alone. At the end of the process
it leaves <process id>.json in the folder $ROOFLIFT_TRACE: by, ranks, kernels (region, grid, block, durations_ns).
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import json
import os
import sys
import tempfile
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from multiprocessing import util
from pathlib import Path
from typing import Any, Protocol

FOLDER = "ROOFLIFT_TRACE"
RANKS = ("RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID")  # torchrun, Open MPI, MPICH, srun
Launch = tuple[str, tuple[int, ...], tuple[int, ...], float]  # kernel, grid, block, ns
BUFFER_BYTES = 8 * 2**20


class Tracer(Protocol):
    """Records kernels from `start` on."""

    by: str

    def start(self) -> None:
        """Begin to record."""

    def take(self, *, last: bool = False) -> list[Launch]:
        """Return what ran since the last call, and go on recording unless it is the last one."""


class Cupti:
    """Kernels by CUPTI's activity records."""

    by = "CUPTI"

    def __init__(self) -> None:
        from cupti import cupti

        self.cupti = cupti
        self.seen: list[Launch] = []

    def start(self) -> None:
        """Register for activity records of kernels."""
        self.cupti.activity_register_callbacks(lambda: (BUFFER_BYTES, 0), self._completed)
        self.cupti.activity_enable(self.cupti.ActivityKind.CONCURRENT_KERNEL)

    def _completed(self, activities: list[Any]) -> None:
        for one in activities:
            if one.kind == self.cupti.ActivityKind.CONCURRENT_KERNEL:
                grid, block = (one.grid_x, one.grid_y, one.grid_z), (one.block_x, one.block_y, one.block_z)
                self.seen.append((demangled(one.name), grid, block, float(one.end - one.start)))

    def take(self, *, last: bool = False) -> list[Launch]:  # noqa: ARG002  # CUPTI ends with the process
        """Flush what CUPTI holds of kernels that have ended."""
        _synchronize()
        self.cupti.activity_flush_all(1)
        seen, self.seen = self.seen, []
        return seen


class Torch:
    """Kernels by torch's profiler, from the moment at which torch makes its CUDA context."""

    by = "torch.profiler"

    def __init__(self) -> None:
        self.profile: Any = None

    def start(self) -> None:
        """Start one profile."""
        from torch import profiler

        self.profile = profiler.profile(activities=[profiler.ProfilerActivity.CUDA])
        self.profile.start()

    def take(self, *, last: bool = False) -> list[Launch]:
        """End the profile, read its trace, start another."""
        if self.profile is None:
            return []
        _synchronize()
        self.profile.stop()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trace.json"
            self.profile.export_chrome_trace(str(path))
            events = json.loads(path.read_text(encoding="utf-8", errors="replace"))["traceEvents"]
        if not last:
            self.start()
        kernels = [event for event in events if event.get("cat") == "kernel"]
        return [
            (one["name"], tuple(one["args"].get("grid", ())), tuple(one["args"].get("block", ())), 1e3 * one["dur"])
            for one in kernels
        ]


class AfterTorch(MetaPathFinder):
    """Has the tracer started when torch, once it is imported, makes its CUDA context; not before, for who forks."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:  # noqa: ARG002  # its protocol
        """Find torch as it would be found, and have its loader tell when it is done."""
        if fullname != "torch":
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(fullname)
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            load(module)
            with contextlib.suppress(Exception):
                module.cuda._lazy_call(begin_torch)  # noqa: SLF001  # no public call waits for the context

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


tracer: Tracer | None = None
groups: dict[tuple[str, str, tuple[int, ...], tuple[int, ...]], list[float]] = {}  # region, kernel, grid, block


def begin() -> None:
    """Start to record, now or when torch wakes the GPU."""
    global tracer
    if FOLDER not in os.environ:
        return
    try:
        found = Cupti()
        found.start()
    except Exception:  # noqa: BLE001  # not installed, or of another CUDA than the driver
        sys.meta_path.insert(0, AfterTorch())
        return
    tracer = found
    _at_end()


def begin_torch() -> None:
    """Start torch's profiler; torch passes on what this raises, so it raises nothing."""
    global tracer
    with contextlib.suppress(Exception):
        found = Torch()
        found.start()
        tracer = found
        _at_end()


def boundary(region: str = "", *, last: bool = False) -> None:
    """Count what ran since the last boundary to a region, "" for none; a profiler that fails counts nothing."""
    found: list[Launch] = []
    with contextlib.suppress(Exception):
        found = tracer.take(last=last) if tracer else []
    for kernel, grid, block, time_ns in found:
        groups.setdefault((region, kernel, grid, block), []).append(time_ns)


def _at_end() -> None:
    atexit.register(end)
    util.Finalize(None, end, exitpriority=0)  # a child of multiprocessing runs these alone


def end() -> None:
    """Leave the file of this process; of one that ran no kernel none."""
    global tracer
    if tracer is None:
        return
    boundary(last=True)
    by, tracer = tracer.by, None
    if not groups:
        return
    names = ("region", "kernel", "grid", "block", "durations_ns")
    kernels = [dict(zip(names, (*key, times), strict=True)) for key, times in groups.items()]
    ranks = {name: os.environ[name] for name in RANKS if name in os.environ}
    path = Path(os.environ[FOLDER]) / f"{os.getpid()}.json"
    with contextlib.suppress(OSError):
        path.write_text(json.dumps({"by": by, "ranks": ranks, "kernels": kernels}), encoding="utf-8")


def demangled(name: str) -> str:
    """Return a C++ name as people write it, where the C++ library can tell; any other name as it is."""
    if not name.startswith("_Z"):
        return name
    try:
        demangle = ctypes.CDLL("libstdc++.so.6")["__cxa_demangle"]
        demangle.restype, status = ctypes.c_void_p, ctypes.c_int()
        held = demangle(name.encode(), None, None, ctypes.byref(status))
        return ctypes.string_at(held).decode() if held else name
    except (OSError, AttributeError):
        return name


def _synchronize() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.synchronize()

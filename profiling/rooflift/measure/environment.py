"""The GPU and the software around it, without torch: NVML, ncu's version, git."""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from rooflift.errors import NoGpu
from rooflift.ncu.command import find_ncu, parse_version, query_command, unknown_metrics
from rooflift.process import capture


class Driver(NamedTuple):
    """What NVML says."""

    version: str
    gpus: list[str]


def driver() -> Driver:
    """Return the driver's version and the names of the GPUs that this process may use.

    Raises:
        NoGpu: no driver, no NVML, no GPU, or CUDA_VISIBLE_DEVICES hides them all.
    """
    import pynvml

    remedy = "Run on a machine with an NVIDIA GPU; `rooflift compile` and `rooflift verify` need none."
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1"):
        raise NoGpu("no NVIDIA GPU: CUDA_VISIBLE_DEVICES hides them all", "Unset CUDA_VISIBLE_DEVICES.")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise NoGpu(f"no NVIDIA GPU: {error}", remedy) from None
    try:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        chosen = [int(i) for i in visible if i.strip().isdigit()] or range(pynvml.nvmlDeviceGetCount())
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in chosen]
        gpus = [pynvml.nvmlDeviceGetName(handle) for handle in handles]
        version = pynvml.nvmlSystemGetDriverVersion()
    finally:
        pynvml.nvmlShutdown()
    if not gpus:
        raise NoGpu("no NVIDIA GPU: the driver knows none", remedy)
    return Driver(version, gpus)


def ncu_version() -> str:
    """Return the release of the ncu that will be used.

    Raises:
        NcuFault: there is no ncu.
    """
    return parse_version(capture([str(find_ncu()), "--version"]).output)


def metrics_unknown_to_ncu(names: Iterable[str]) -> list[str]:
    """Return those of the metrics that ncu does not list for this machine's GPU; it takes ncu some seconds to say.

    Raises:
        NcuFault: there is no ncu.
    """
    return unknown_metrics(names, capture(query_command(str(find_ncu())), timeout_s=120).output)


def package_version(name: str) -> str | None:
    """Return the version of an installed package without importing it, None when it is missing."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def counters_restricted() -> bool | None:
    """Tell whether the driver keeps the performance counters for administrators; None when it does not say."""
    try:
        text = Path("/proc/driver/nvidia/params").read_text(encoding="utf-8")
    except OSError:
        return None
    return "RmProfilingAdminOnly: 1" in text


def may_profile_anyway() -> bool:
    """Tell whether this process holds CAP_SYS_ADMIN (bit 21) or CAP_PERFMON (bit 38)."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return False
    effective = next((line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")), "0")
    return bool(int(effective, 16) & (1 << 21 | 1 << 38))

"""The GPU and the software around it, without torch: NVML, ncu's version, git."""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Literal, NamedTuple

from rooflift.collect.ncu import find_ncu, parse_version, query_command, unknown_metrics
from rooflift.collect.processes import capture
from rooflift.errors import NoGpu
from rooflift.records import GpuState


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

    remedy = "Run on a machine with an NVIDIA GPU; `rooflift inspect` and `rooflift verify` need none."
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


THROTTLE = {  # NVML's reasons, without idleness, which is none, and the display's clocks
    "nvmlClocksThrottleReasonApplicationsClocksSetting": "clocks set by an application",
    "nvmlClocksThrottleReasonSwPowerCap": "power cap",
    "nvmlClocksThrottleReasonHwSlowdown": "hardware slowdown",
    "nvmlClocksThrottleReasonSyncBoost": "sync boost",
    "nvmlClocksThrottleReasonSwThermalSlowdown": "thermal limit",
    "nvmlClocksThrottleReasonHwThermalSlowdown": "hardware thermal limit",
    "nvmlClocksThrottleReasonHwPowerBrakeSlowdown": "power brake",
}


def gpu_state(uuid: str, case: str, dtype: str, at: Literal["before", "during", "after"]) -> GpuState:
    """Return clocks, temperature, power and throttle reasons of the GPU with this UUID, as torch has it.

    What NVML does not tell, as of a MIG slice, is None. Nothing is set.
    """
    import pynvml

    def ask(function: str, *arguments: int) -> int | None:
        try:
            pynvml.nvmlInit()  # counts its calls, and costs nothing after the first
            gpu = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
            return int(getattr(pynvml, function)(gpu, *arguments))
        except pynvml.NVMLError:
            return None

    reasons = ask("nvmlDeviceGetCurrentClocksThrottleReasons") or 0
    power_mw = ask("nvmlDeviceGetPowerUsage")
    return GpuState(
        case,
        dtype,
        at,
        sm_mhz=ask("nvmlDeviceGetClockInfo", pynvml.NVML_CLOCK_SM),
        memory_mhz=ask("nvmlDeviceGetClockInfo", pynvml.NVML_CLOCK_MEM),
        temperature_c=ask("nvmlDeviceGetTemperature", pynvml.NVML_TEMPERATURE_GPU),
        power_w=None if power_mw is None else power_mw / 1e3,
        throttle=[text for name, text in THROTTLE.items() if reasons & getattr(pynvml, name)],
    )


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


def git_state(root: Path) -> tuple[str | None, bool]:
    """Return the commit of the checkout and whether its code has changes; (None, False) outside git.

    New files below reports/ are what earlier runs left, not changes.
    """
    commit = capture(["git", "-C", str(root), "rev-parse", "HEAD"])
    if commit.returncode != 0:
        return None, False
    changes = capture(["git", "-C", str(root), "status", "--porcelain", "--", ".", ":(exclude)reports"])
    return commit.output.strip(), bool(changes.output.strip())


def counters_restricted() -> bool | None:
    """Tell whether the driver keeps the counters for administrators; None when it does not say."""
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

"""The GPU of this process: what torch says of it, and its clocks, temperature and power by NVML. Sets nothing."""

from __future__ import annotations

import hashlib
from typing import Literal

from rooflift.schema import GpuState
from rooflift.worker.protocol import Device

THROTTLE = {  # NVML's reasons, without idleness, which is none, and the display's clocks
    "nvmlClocksThrottleReasonApplicationsClocksSetting": "clocks set by an application",
    "nvmlClocksThrottleReasonSwPowerCap": "power cap",
    "nvmlClocksThrottleReasonHwSlowdown": "hardware slowdown",
    "nvmlClocksThrottleReasonSyncBoost": "sync boost",
    "nvmlClocksThrottleReasonSwThermalSlowdown": "thermal limit",
    "nvmlClocksThrottleReasonHwThermalSlowdown": "hardware thermal limit",
    "nvmlClocksThrottleReasonHwPowerBrakeSlowdown": "power brake",
}


def gpu_state(case: str, dtype: str, at: Literal["before", "during", "after"]) -> GpuState:
    """Return clocks, temperature, power and throttle reasons of the GPU that torch uses.

    What NVML does not tell, as of a MIG slice, is None. Nothing is set.
    """
    import pynvml
    import torch

    uuid = torch.cuda.get_device_properties(0).uuid  # without the prefix that NVML gives it

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


def card_of(uuid: str) -> str:
    """Return a name of a card that says whether two runs used the same one, and not which.

    >>> card_of("71d0ee36-1cf8-0e4b-d9c8-5d1d5d6c8f3e")
    '9c1cac8cc117'
    """
    return hashlib.sha256(f"rooflift card {uuid}".encode()).hexdigest()[:12]


def describe_device() -> Device:
    """Return the GPU and the software versions."""
    import platform

    import torch
    import triton

    gpu = torch.cuda.get_device_properties(0)
    return Device(
        gpu=gpu.name,
        compute_capability=f"{gpu.major}.{gpu.minor}",
        sm_count=gpu.multi_processor_count,
        l2_bytes=gpu.L2_cache_size,
        memory_bytes=gpu.total_memory,
        cuda=torch.version.cuda or "",
        torch=str(torch.__version__),
        triton=triton.__version__,
        python=platform.python_version(),
        card=card_of(str(gpu.uuid)),
    )

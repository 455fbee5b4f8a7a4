"""What ncu's own words mean when it fails, each with a remedy. Starts nothing."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass

from rooflift.errors import CounterPermission, NcuFault

COUNTERS_REMEDY = (
    "Ask the administrator to open the performance counters: put"
    " `options nvidia NVreg_RestrictProfilingToAdminUsers=0` into a file under /etc/modprobe.d/, rebuild the initramfs"
    " and reboot; in a container start it with --cap-add=SYS_ADMIN"
    " (NVIDIA: https://developer.nvidia.com/ERR_NVGPUCTRPERM). Or go on without metrics: --metrics none."
)


DOCTOR = "`rooflift doctor` checks ncu, the driver and the performance counters."


LEAST_BYTES = 64 * 2**20  # on the disk; a report of a few kernels takes some MB


SIGNALS = {4, 6, 7, 8, 11}  # that end a program which did not choose its code: ILL, ABRT, BUS, FPE, SEGV


@dataclass(frozen=True, slots=True)
class Failure:
    """A way in which ncu fails, by the words it prints; its releases word some of them differently."""

    words: str  # a regular expression
    what: str
    remedy: str
    fault: type[NcuFault] = NcuFault


DISK_FULL = Failure(
    r"No space left on device|Disk quota exceeded",
    "the disk is full",
    "Free some space in the temporary folder, or set TMPDIR to another one; a full report takes some MB a kernel.",
)


CANNOT_WRITE = Failure(
    r"Unable to (write to|open|create) file|[Ff]ailed to (write|create|save) (the )?report|Permission denied",
    "ncu may not write its report",
    "Check that the temporary folder may be written to, or set TMPDIR to another one, and that nothing holds the file.",
)


FAILURES = (
    Failure(
        r"ERR_NVGPUCTRPERM",
        "ncu was refused the GPU performance counters (ERR_NVGPUCTRPERM)",
        COUNTERS_REMEDY,
        CounterPermission,
    ),
    Failure(
        r"driver resource was unavailable",
        "another profiler holds the GPU's performance counters",
        "Stop it while ncu runs: another ncu or nsys, CUPTI in a program, or DCGM (`dcgmi profile --pause` and later"
        " `--resume`). Or go on without metrics: --metrics none.",
    ),
    Failure(
        r"InterprocessLockFailed|lock file \S*nsight-compute-lock",
        "ncu may not open its lock file, which belongs to another user",
        "Set TMPDIR to a folder of your own, or let the owner remove nsight-compute-lock from the temporary folder.",
    ),
    Failure(
        r"driver is not compatible with Nsight Compute|LibraryNotLoaded|compatible driver library",
        "this ncu and the NVIDIA driver do not fit",
        "`nvidia-smi` names the driver's CUDA release: install the ncu of that toolkit or the driver of this one, and"
        " name the ncu in ROOFLIFT_NCU. In a container the driver's own libraries must be mounted.",
    ),
    Failure(
        r"Profiling is not supported on (this )?device",
        "this ncu does not profile this GPU",
        "`ncu --list-chips` names the GPUs it knows: install a newer Nsight Compute for a newer GPU. Virtual GPUs and"
        " WSL may be excluded. Or go on without metrics: --metrics none.",
    ),
    Failure(
        r"unrecognised option|did not match any section|Failed to find section",
        "this ncu does not know an option or a section that rooflift uses",
        "Install a newer Nsight Compute, 2024.1 or later, and name it in ROOFLIFT_NCU; `ncu --version` names this one.",
    ),
    Failure(
        r"Failed to (find|access)\b.*\bmetrics?\b",
        "a metric is unknown to this ncu",
        "`ncu --query-metrics` lists those it knows on this GPU: install a newer Nsight Compute, or collect less with"
        " --metrics basic.",
    ),
    Failure(
        r"Failed to (save|restore) memory|ContextSaveFailed|bad allocation|OutOfMemory\b(?!Error)",
        "ncu ran out of memory while it saved what a kernel may change, for its replay",
        "Free the GPU and some of the machine's memory, take a smaller case with --case, or less with --metrics basic.",
    ),
    DISK_FULL,
    CANNOT_WRITE,
    Failure(
        r"LaunchFailed|Unknown ?Error",
        "a kernel failed while it was replayed",
        "`rooflift verify --sanitize` looks for accesses outside of its arrays; a kernel that waits for another one"
        " cannot be replayed.",
    ),
)


NO_KERNEL = (
    "ncu saw no kernel inside the versions' range",
    "Check that forward() of every version launches a kernel on the current device, in this process.",
)


def explain(
    output: str,
    returncode: int,
    report_exists: bool,
    free_bytes: int | None = None,
    no_kernel: tuple[str, str] = NO_KERNEL,
) -> NcuFault | None:
    """Return what went wrong by ncu's output and exit code, None when a report was made.

    `free_bytes` is what the disk of the report has left: ncu says of a full one only that it cannot write. `no_kernel`
    is what is said, and the remedy, where ncu recorded none.
    """
    errors = [line.removeprefix("==ERROR== ") for line in output.splitlines() if line.startswith("==ERROR==")]
    if "No kernels were profiled" in output and not errors and returncode == 0:
        seen = re.findall(r"^\s*\d+\. (\S.*)$", output.partition("Available Kernels:")[2], re.MULTILINE)
        elsewhere = f"; outside it ran {', '.join(dict.fromkeys(seen))}" if seen else ""
        return NcuFault(f"{no_kernel[0]}{elsewhere}", no_kernel[1])
    if not errors and returncode == 0 and report_exists:
        return None
    said = " ".join(errors)
    known = next((failure for failure in FAILURES if re.search(failure.words, said or output)), None)
    if known is CANNOT_WRITE and free_bytes is not None and free_bytes < LEAST_BYTES:
        known = DISK_FULL
    if known is not None:
        return known.fault(f"{known.what}: {said}" if said else known.what, known.remedy)
    if returncode < 0:
        remedy = f"SIGKILL may come from a machine without memory: `dmesg` tells. {DOCTOR}"
        return NcuFault(f"ncu was killed by {signal.Signals(-returncode).name} ({returncode})", remedy)
    ended = re.search(r"application returned an error code \((\d+)\)", said)
    words = _last_words(output)
    if ended and (words or int(ended[1]) in SIGNALS):
        number = int(ended[1])
        by = f" {number} is the number of {signal.Signals(number).name}." if number in SIGNALS else ""
        return NcuFault(f"the program under ncu failed: {said}{by}\n{words}".rstrip(), "Fix what it says. " + DOCTOR)
    return NcuFault(f"ncu failed: {said or f'it left with code {returncode} and no report'}", DOCTOR)


def _last_words(output: str) -> str:
    """Return the last lines that the program under ncu printed, its traceback among them."""
    lines = [line for line in output.splitlines() if line.strip() and not line.startswith(("==", '{"type":'))]
    return "\n".join(lines[-15:])

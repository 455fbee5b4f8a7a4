"""The ncu command, built by a pure function, and what ncu's own words mean. Starts nothing."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rooflift.collect.plan import RANGE
from rooflift.errors import CounterPermission, NcuFault

COUNTERS_REMEDY = (
    "Ask the administrator to open the counters: put `options nvidia NVreg_RestrictProfilingToAdminUsers=0` into a file"
    " under /etc/modprobe.d/, rebuild the initramfs and reboot; in a container start it with --cap-add=SYS_ADMIN"
    " (NVIDIA: https://developer.nvidia.com/ERR_NVGPUCTRPERM). Or go on without counters: --no-counters."
)
INSTALL_REMEDY = (
    "Install NVIDIA Nsight Compute (it comes with the CUDA toolkit) and put `ncu` on PATH, or name it in ROOFLIFT_NCU."
    " Or go on without counters: --no-counters."
)
DOCTOR = "`rooflift doctor` checks ncu, the driver and the counters."
LEAST_BYTES = 64 * 2**20  # on the disk; a report of a few kernels takes some MB

SIGNALS = {4, 6, 7, 8, 11}  # that end a program which did not choose its code: ILL, ABRT, BUS, FPE, SEGV


def find_ncu() -> Path:
    """Return ncu: $ROOFLIFT_NCU, the one on PATH, or the one of an installed CUDA toolkit or Nsight Compute.

    Raises:
        NcuFault: there is none.
    """
    named = os.environ.get("ROOFLIFT_NCU")
    places = [named] if named else ["ncu", "/usr/local/cuda/bin/ncu", *_installed()]
    for place in places:
        found = shutil.which(place)
        if found:
            return Path(found)
    raise NcuFault(f"ncu is not here (looked at {', '.join(places)})", INSTALL_REMEDY)


def _installed() -> list[str]:
    """Return the ncu programs of stand-alone installations, the newest release first."""
    folders = Path("/opt/nvidia/nsight-compute").glob("*/ncu")
    return [str(path) for path in sorted(folders, key=lambda path: _numbers(path.parent.name), reverse=True)]


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text)))


def parse_version(output: str) -> str:
    """Return the release in the output of `ncu --version`, such as 2025.3.1.0; "" when it names none."""
    match = re.search(r"Version (\S+)", output)
    return match[1] if match else ""


def ncu_command(
    ncu: str,
    program: Sequence[str],
    report: str,
    metrics: Sequence[str],
    sections: Sequence[str] = (),
    full_set: bool = False,
) -> list[str]:
    """Return the command that profiles what `program` runs inside the NVTX range of rooflift.

    Clocks stay as they are (--clock-control none). Caches are flushed before each replay pass (ncu's default), so a
    version starts on a cold L2 as in the timings.
    """
    return [
        ncu,
        "--clock-control",
        "none",
        "--nvtx",
        "--nvtx-include",
        f"{RANGE}/",
        "--metrics",
        ",".join(metrics),
        *(part for section in sections for part in ("--section", section)),
        *(("--set", "full") if full_set else ()),
        "--force-overwrite",
        "--export",
        report,
        *program,
    ]


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
        "another profiler holds the GPU's counters",
        "Stop it while ncu runs: another ncu or nsys, CUPTI in a program, or DCGM (`dcgmi profile --pause` and later"
        " `--resume`). Or go on without counters: --no-counters.",
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
        " WSL may be excluded. Or go on without counters: --no-counters.",
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
        " --counters seed.",
    ),
    Failure(
        r"Failed to (save|restore) memory|ContextSaveFailed|bad allocation|OutOfMemory\b(?!Error)",
        "ncu ran out of memory while it saved what a kernel may change, for its replay",
        "Free the GPU and some of the machine's memory, take a smaller case with --case, or less with --counters seed.",
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


def explain(output: str, returncode: int, report_exists: bool, free_bytes: int | None = None) -> NcuFault | None:
    """Return what went wrong by ncu's output and exit code, None when a report was made.

    `free_bytes` is what the disk of the report has left: ncu says of a full one only that it cannot write.
    """
    errors = [line.removeprefix("==ERROR== ") for line in output.splitlines() if line.startswith("==ERROR==")]
    if "No kernels were profiled" in output and not errors and returncode == 0:
        seen = re.findall(r"^\s*\d+\. (\S.*)$", output.partition("Available Kernels:")[2], re.MULTILINE)
        elsewhere = f"; outside it ran {', '.join(dict.fromkeys(seen))}" if seen else ""
        return NcuFault(
            f"ncu saw no kernel inside the versions' range{elsewhere}",
            "Check that forward() of every version launches a kernel on the current device, in this process.",
        )
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
        return NcuFault(f"the program under ncu failed: {said}{by}\n{words}".rstrip(), "Mend what it says. " + DOCTOR)
    return NcuFault(f"ncu failed: {said or f'it left with code {returncode} and no report'}", DOCTOR)


def _last_words(output: str) -> str:
    """Return the last lines that the program under ncu printed, its traceback among them."""
    lines = [line for line in output.splitlines() if line.strip() and not line.startswith(("==", '{"type":'))]
    return "\n".join(lines[-15:])


def query_command(ncu: str) -> list[str]:
    """Return the command that lists the metrics that ncu can collect on this machine's GPUs, by their base names."""
    return [ncu, "--query-metrics"]


def unknown_metrics(asked: Iterable[str], listed: str) -> list[str]:
    """Return the metrics that the output of `query_command` does not list; none when it is no such list.

    ncu accepts an unknown name without a word. Attributes of a launch or a device are not counted by hardware and
    stand in no list.
    """
    known = set(re.findall(r"^\s*([a-z0-9]+__\w+)", listed, re.MULTILINE))
    units = {name.partition("__")[0] for name in known}
    return [
        name for name in asked if known and name.partition(".")[0] not in known and name.partition("__")[0] in units
    ]


_PASSES = re.compile(r'==PROF== Profiling "(?P<kernel>[^"]+)".*?(?P<passes>\d+) passes')


def progress_line(line: str) -> str | None:
    """Return what a line of ncu tells a waiting user, None for other lines."""
    match = _PASSES.search(line)
    return f"ncu recorded {match['kernel']} in {match['passes']} passes" if match else None

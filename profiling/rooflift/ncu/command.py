"""The ncu command, built by a pure function, and what ncu's own words mean. Starts nothing."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from rooflift.errors import NcuFault
from rooflift.ncu.metrics import SOURCE_SECTION
from rooflift.region import RANGE

INSTALL_REMEDY = (
    "Install NVIDIA Nsight Compute (it comes with the CUDA toolkit) and put `ncu` on PATH, or name it in ROOFLIFT_NCU."
    " Or go on without metrics: --metrics none."
)


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
    version starts on a cold L2 as in the timings. With metrics of each instruction the report holds the source, too.
    """
    return [
        ncu,
        "--clock-control",
        "none",
        "--nvtx",
        "--nvtx-include",
        f"{RANGE}/",
        *collected(metrics, sections, full_set),
        "--force-overwrite",
        "--export",
        report,
        *program,
    ]


def collected(metrics: Sequence[str], sections: Sequence[str] = (), full_set: bool = False) -> list[str]:
    """Return the options that say what ncu collects."""
    return [
        "--metrics",
        ",".join(metrics),
        *(part for section in sections for part in ("--section", section)),
        *(("--import-source", "yes") if SOURCE_SECTION in sections else ()),
        *(("--set", "full") if full_set else ()),
    ]


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

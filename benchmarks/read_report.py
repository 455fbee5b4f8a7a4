"""What reading a report into a frame costs beside a bare ncu_report loop over the same values.

`python benchmarks/read_report.py [LAUNCHES]` prints both times, their ratio and the largest process of each. The report
of 10 000 launches is a real one whose single result stands in it so many times: 14 of the registry's metrics a launch.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rooflift.compile.module import load_module
from rooflift.ncu.metrics import METRICS

ROOT = Path(__file__).resolve().parent.parent
STRANGE = ROOT / "tests" / "ncu" / "strange.py"
REPORT = ROOT / "tests" / "fixtures" / "h100_flat_depthwise.ncu-rep"
OURS = """
import sys
from pathlib import Path
from rooflift.ncu.report import read_reports
frame = read_reports([Path(sys.argv[1])], Path(sys.argv[1]).parent)
assert len(frame) == int(sys.argv[2]) * int(sys.argv[3])
"""


LAUNCH = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def timed(command: list[str]) -> tuple[float, float]:
    """Return the seconds that a command takes and the MiB of its largest process.

    Linux counts what a process held before exec as its own, which is its parent's memory: a small parent starts it.

    Raises:
        CalledProcessError: it ended with another code than 0.
    """
    begin = time.perf_counter()
    said = subprocess.run([sys.executable, "-c", LAUNCH, *command], stdout=subprocess.PIPE, check=True)
    return time.perf_counter() - begin, int(said.stdout) / 2**10


def measure(launches: int = 10_000) -> dict[str, float]:
    """Read the report as rooflift does and then in a bare loop, each as a process from its start to its end."""
    strange = load_module(STRANGE)
    with tempfile.TemporaryDirectory(prefix="rooflift-") as folder:
        path = Path(folder, "many.ncu-rep")
        path.write_bytes(strange.repeat(REPORT.read_bytes(), launches))
        names = json.dumps([name for metric in METRICS for name in metric.ncu])
        ours_s, ours_mib = timed([sys.executable, "-c", OURS, str(path), str(launches), str(len(METRICS))])
        bare_s, bare_mib = timed([sys.executable, str(STRANGE), names, str(path)])
    return {"launches": launches, "rooflift": ours_s, "bare": bare_s, "ours_mib": ours_mib, "bare_mib": bare_mib}


if __name__ == "__main__":
    found = measure(*map(int, sys.argv[1:2]))
    print(f"rooflift {found['rooflift']:.2f} s ({found['ours_mib']:.0f} MiB)")
    print(f"bare loop {found['bare']:.2f} s ({found['bare_mib']:.0f} MiB): {found['bare'] / found['rooflift']:.2f}x")

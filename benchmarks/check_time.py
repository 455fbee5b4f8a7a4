"""How long `rooflift lint` takes as typed, median of seven runs a file."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = [
    *((path, path.parent.name) for path in sorted((ROOT / "kernels").glob("*/v*.py"))),
    (ROOT / "tests" / "fixtures" / "candidates" / "good" / "records_constants_and_libdevice.txt", "rms_norm"),
]


def main() -> None:
    """Print one line a file."""
    for path, operator in FILES:
        taken = []
        for _ in range(7):
            begin = time.perf_counter()
            command = [sys.executable, "-m", "rooflift", "lint", str(path), "--operator", operator]
            subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
            taken.append(time.perf_counter() - begin)
        print(f"{path.relative_to(ROOT)}: {statistics.median(taken):.2f} s")


if __name__ == "__main__":
    main()

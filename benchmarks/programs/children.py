"""A program whose children run the kernels: one started by its command, one by multiprocessing."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from pathlib import Path

from three_kernels import main

if __name__ == "__main__":
    subprocess.run([sys.executable, Path(__file__).with_name("three_kernels.py")], check=True)
    child = multiprocessing.get_context("spawn").Process(target=main)
    child.start()
    child.join()
    raise SystemExit(child.exitcode)

"""Reports that only an ncu on a GPU makes: a range and a graph as one workload each, and launches of two processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rooflift.ncu.command import find_ncu
from rooflift.ncu.metrics import BY_NAME, METRICS
from rooflift.ncu.report import read_reports, report_gpu

RANGE = """
import torch
x = torch.ones(1 << 20, device="cuda"); y = torch.empty_like(x)
torch.mul(x, 2, out=y); torch.cuda.synchronize()
torch.cuda.cudart().cudaProfilerStart()
torch.mul(x, 2, out=y); torch.add(y, 1, out=y)
torch.cuda.synchronize()
torch.cuda.cudart().cudaProfilerStop()
"""
GRAPH = """
import torch
x = torch.ones(1 << 20, device="cuda"); y = torch.empty_like(x)
torch.mul(x, 2, out=y); torch.cuda.synchronize()
graph = torch.cuda.CUDAGraph()
with torch.cuda.graph(graph):
    torch.mul(x, 2, out=y); torch.add(y, 1, out=y)
torch.cuda.cudart().cudaProfilerStart()
graph.replay(); torch.cuda.synchronize()
torch.cuda.cudart().cudaProfilerStop()
"""
PROCESSES = """
import subprocess, sys
one = "import torch; x = torch.ones(1 << 20, device='cuda'); torch.cuda.synchronize()"
for _ in range(2):
    subprocess.run([sys.executable, "-c", one], check=True)
"""


@pytest.mark.gpu
@pytest.mark.ncu
@pytest.mark.parametrize(
    ("program", "options", "kernels"),
    [
        pytest.param(RANGE, ["--replay-mode", "range"], {"range"}, id="range"),
        pytest.param(GRAPH, ["--graph-profiling", "graph", "--profile-from-start", "off"], {"graph"}, id="graph"),
        pytest.param(PROCESSES, ["--target-processes", "all"], None, id="processes"),
    ],
)
def test_workload_that_is_no_kernel_is_read(
    program: str, options: list[str], kernels: set[str] | None, tmp_path: Path
) -> None:
    time_ns = BY_NAME["ncu_time_ns"].ncu[0]
    command = [str(find_ncu()), *options, "--clock-control", "none", "--metrics", time_ns]
    command += ["--export", str(tmp_path / "report"), sys.executable, "-c", program]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    frame = read_reports([tmp_path / "report.ncu-rep"], tmp_path)
    times = frame[frame["metric"] == "ncu_time_ns"]
    assert len(times) == len(frame) / len(METRICS)
    assert (times["value"] > 0).all(), times["missing"].unique()
    assert report_gpu(tmp_path / "report.ncu-rep")
    if kernels is None:
        assert len(times) >= 2
    else:
        assert set(frame["kernel"]) == kernels

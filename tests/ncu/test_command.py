"""The ncu command is exact, and every way in which ncu fails has its own fault with a remedy."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pandas as pd
import pytest

from rooflift import pipeline
from rooflift.errors import CounterPermission, NcuFault
from rooflift.ncu.command import find_ncu, ncu_command, parse_version, progress_line, query_command, unknown_metrics
from rooflift.ncu.failures import explain
from rooflift.ncu.metrics import METRICS, ncu_names, ncu_sections
from rooflift.ncu.report import NOT_COLLECTED
from rooflift.process import stream

REFUSED = (
    "==ERROR== ERR_NVGPUCTRPERM - The user does not have permission to access NVIDIA GPU Performance Counters on the "
    "target device 0. For instructions on enabling permissions and to get more information see "
    "https://developer.nvidia.com/ERR_NVGPUCTRPERM"
)
NOTHING_PROFILED = "==WARNING== No kernels were profiled."
APPLICATION_FAILED = "==ERROR== The application returned an error code (3)."
NOT_THERE = (
    "==ERROR== 'nonexist' does not exist or is not an executable. Please make sure to specify the absolute path."
)
NOT_WRITABLE = "==ERROR== Unable to write to file y.ncu-rep. Please verify this file is not locked, and writable."
TITLE = "NVIDIA (R) Nsight Compute Command Line Profiler\nCopyright (c) 2018-2025 NVIDIA Corporation"
PROFILED = '==PROF== Profiling "depthwise_conv2d_kernel" - 0: 0%....50%....100% - 9 passes'


def test_command_leaves_the_clocks_alone_and_profiles_the_range_of_rooflift() -> None:
    command = ncu_command("/opt/ncu", ["python", "-m", "target", "profile"], "report.ncu-rep", ["a.sum", "b.avg"])
    assert command == [
        *("/opt/ncu", "--clock-control", "none", "--nvtx", "--nvtx-include", "rooflift/"),
        *("--metrics", "a.sum,b.avg", "--force-overwrite", "--export", "report.ncu-rep"),
        *("python", "-m", "target", "profile"),
    ]


def test_sections_and_the_full_set_stand_before_the_program() -> None:
    program = ["python", "-c", "print('a b'); 1 > 2"]
    command = ncu_command("ncu", program, "r", ["m"], ["SpeedOfLight", "Occupancy"], full_set=True)
    assert command[command.index("--metrics") + 2 :] == [
        *("--section", "SpeedOfLight", "--section", "Occupancy", "--set", "full"),
        *("--force-overwrite", "--export", "r"),
        *program,  # words, not a shell's line: nothing is quoted and nothing is split
    ]


def test_metrics_of_each_instruction_come_with_the_source() -> None:
    command = ncu_command("ncu", ["p"], "r", ncu_names("source"), ncu_sections("source"))
    assert command[command.index("SourceCounters") + 1 :][:2] == ["--import-source", "yes"]
    assert "--import-source" not in ncu_command("ncu", ["p"], "r", ncu_names("standard"), ncu_sections("standard"))


def test_command_depends_on_its_arguments_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = ncu_command("ncu", ["p"], "r", ["m"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROOFLIFT_NCU", "/elsewhere/ncu")
    assert ncu_command("ncu", ["p"], "r", ["m"]) == before
    assert list(tmp_path.iterdir()) == []


def test_refused_counters_have_a_fault_of_their_own_with_both_ways_out() -> None:
    fault = explain(f"==PROF== Connected to process 7\n{REFUSED}\n{NOTHING_PROFILED}", 1, report_exists=False)
    assert isinstance(fault, CounterPermission)
    assert fault.exit_code == 2
    assert "ERR_NVGPUCTRPERM" in fault.message
    for way_out in ("NVreg_RestrictProfilingToAdminUsers=0", "--cap-add=SYS_ADMIN", "--metrics none"):
        assert way_out in fault.remedy


def test_no_kernel_in_the_range_points_at_forward() -> None:
    fault = explain(NOTHING_PROFILED, 0, report_exists=False)
    assert fault is not None
    assert not isinstance(fault, CounterPermission)
    assert "no kernel" in fault.message
    assert "forward()" in fault.remedy


def test_program_that_failed_is_not_mistaken_for_one_without_kernels() -> None:
    fault = explain(f"{NOTHING_PROFILED}\n{APPLICATION_FAILED}", 3, report_exists=False)
    assert fault is not None
    assert "The application returned an error code (3)" in fault.message


@pytest.mark.parametrize(("output", "code"), [(APPLICATION_FAILED, 3), (NOT_THERE, 1)], ids=["failed", "absent"])
def test_words_of_ncu_are_repeated_without_their_decoration(output: str, code: int) -> None:
    fault = explain(f"==PROF== Connected to process 7\n{output}", code, report_exists=False)
    assert fault is not None
    assert type(fault) is NcuFault
    assert fault.message == f"ncu failed: {output.removeprefix('==ERROR== ')}"
    assert "rooflift doctor" in fault.remedy


def test_error_counts_also_when_a_report_lies_there() -> None:
    assert explain(APPLICATION_FAILED, 0, report_exists=True) is not None


@pytest.mark.parametrize(("code", "there"), [(-11, False), (1, True), (0, False)], ids=["crash", "code", "no report"])
def test_silent_end_is_a_fault_too(code: int, there: bool) -> None:
    fault = explain("", code, there)
    assert fault is not None
    assert str(code) in fault.message


def test_report_and_code_zero_are_no_fault() -> None:
    assert explain(f"{PROFILED}\n==PROF== Report: y.ncu-rep", 0, report_exists=True) is None


def test_recorded_kernel_is_told_with_its_passes() -> None:
    assert progress_line(PROFILED) == "ncu recorded depthwise_conv2d_kernel in 9 passes"
    assert progress_line("==PROF== Connected to process 7 (/usr/bin/python3.12)") is None


# --- ways to fail, in ncu's words


DRIVER = "==ERROR== An error was reported by the driver:\n"
SHUTDOWN = """
==ERROR== Failed to profile "depthwise_conv2d_kernel" in process 7508
==PROF== Trying to shutdown target application
==ERROR== The application returned an error code (9).
==ERROR== An error occurred while trying to profile.
==WARNING== No kernels were profiled."""
SAVING = "==WARNING== Backing up device memory in system memory. Kernel replay might be slow.\n"
WAYS = {
    "refused": (REFUSED + SHUTDOWN, "refused the GPU performance counters", "NVreg_RestrictProfilingToAdminUsers"),
    "held": (
        (
            f"{DRIVER}==ERROR== Profiling failed because a driver resource was unavailable. Ensure that no other tool"
            f" (like DCGM) is concurrently collecting profiling data.{SHUTDOWN}"
        ),
        "another profiler holds the GPU's performance counters",
        "dcgmi profile --pause",
    ),
    "locked": (
        f"{DRIVER}==ERROR== InterprocessLockFailed{SHUTDOWN}",
        "lock file, which belongs to another user",
        "TMPDIR",
    ),
    "locked, by the file": (
        (
            "Failed to open/create lock file /tmp/nsight-compute-lock. Please check that this process has write"
            " permissions on this file."
        ),
        "lock file, which belongs to another user",
        "TMPDIR",
    ),
    "driver": (
        (
            f"{DRIVER}==ERROR== Cuda driver is not compatible with Nsight Compute.\n==ERROR== The application returned"
            " an error code (11)."
        ),
        "this ncu and the NVIDIA driver do not fit",
        "ROOFLIFT_NCU",
    ),
    "driver's library": (
        (
            "==ERROR== An error was reported by the counter measurement library:\n==ERROR== Failed to initialize the"
            " profiler: LibraryNotLoaded. Check that a compatible driver library is loaded."
        ),
        "this ncu and the NVIDIA driver do not fit",
        "container",
    ),
    "too old for the GPU": (
        "==ERROR== Profiling is not supported on device 0. To find out supported GPUs refer --list-chips option.",
        "does not profile this GPU",
        "newer Nsight Compute",
    ),
    "too old for the command": (
        "==ERROR== unrecognised option '--nvtx-include'. Use --help for further details.",
        "does not know an option or a section",
        "newer Nsight Compute",
    ),
    "section": (
        "==ERROR== Option '--section SpeedOfLight' did not match any section.",
        "does not know an option or a section",
        "newer Nsight Compute",
    ),
    "metric": (
        "==ERROR== Failed to find metric regex:^flop_count_sp\\.(sum|min|max)$",
        "a metric is unknown to this ncu",
        "--query-metrics",
    ),
    "metrics": (
        "==ERROR== Failed to access the following 8 metrics: nvlrx__bytes.sum, nvltx__bytes.sum",
        "a metric is unknown to this ncu",
        "--query-metrics",
    ),
    "memory": (
        f"{SAVING}==ERROR== Unhandled C++ exception: bad allocation{SHUTDOWN}",
        "out of memory while it saved",
        "smaller case",
    ),
    "memory of the GPU": (
        f"{SAVING}==ERROR== Failed to save memory for replay.{SHUTDOWN}",
        "out of memory while it saved",
        "smaller case",
    ),
    "report": (NOT_WRITABLE, "may not write its report", "TMPDIR"),
    "disk": ("==ERROR== report.ncu-rep: No space left on device", "the disk is full", "Free some space"),
    "launch": (f"==ERROR== LaunchFailed{SHUTDOWN}", "a kernel failed while it was replayed", "--sanitize"),
    "launch, older": ("==ERROR== Unknown Error on device 0.", "a kernel failed while it was replayed", "--sanitize"),
}


@pytest.mark.parametrize("way", WAYS)
def test_way_to_fail_is_told_with_its_remedy(way: str) -> None:
    output, what, remedy = WAYS[way]
    fault = explain(f"==PROF== Connected to process 7508 (/usr/bin/python3.12)\n{output}", 1, report_exists=False)
    assert fault is not None
    assert what in fault.message
    assert remedy in fault.remedy
    assert isinstance(fault, CounterPermission) == (way == "refused")
    for line in output.splitlines():
        if line.startswith("==ERROR== "):
            assert line.removeprefix("==ERROR== ") in fault.message


@pytest.mark.parametrize("way", WAYS)
def test_ncu_that_fails_so_ends_the_profiling_with_it(way: str, tmp_path: Path) -> None:
    """The stand-in prints the message as a process does; what comes through the pipe is explained."""
    (tmp_path / "said").write_text(WAYS[way][0])
    stand_in = make_program(tmp_path / "ncu")
    stand_in.write_text(f"#!/bin/sh\ncat {tmp_path / 'said'} >&2\nexit 9\n")
    command = ncu_command(str(stand_in), ["python"], "report.ncu-rep", ["m"])
    ended = asyncio.run(stream(command, tmp_path, {}, lambda line: None))
    fault = explain(ended.output, ended.returncode, (tmp_path / "report.ncu-rep").exists())
    assert fault is not None
    assert WAYS[way][1] in fault.message


def test_report_that_cannot_be_written_to_a_full_disk() -> None:
    full = explain(NOT_WRITABLE, 1, report_exists=False, free_bytes=4096)
    locked = explain(NOT_WRITABLE, 1, report_exists=False, free_bytes=2**40)
    assert full is not None
    assert locked is not None
    assert full.message.startswith("the disk is full")
    assert locked.message.startswith("ncu may not write its report")


def test_own_traceback_of_the_program_is_shown_and_not_mistaken_for_ncus_words() -> None:
    output = f"""==PROF== Connected to process 7508 (/usr/bin/python3.12)
{{"type":"Doing","text":"compiling"}}
Traceback (most recent call last):
  File "v9_wide.py", line 7, in forward
PermissionError: [Errno 13] Permission denied: 'weights.pt'
{APPLICATION_FAILED}
{NOTHING_PROFILED}"""
    fault = explain(output, 1, report_exists=False)
    assert fault is not None
    assert "The application returned an error code (3)" in fault.message
    assert fault.message.endswith("PermissionError: [Errno 13] Permission denied: 'weights.pt'")
    assert 'File "v9_wide.py", line 7' in fault.message
    assert "Doing" not in fault.message


def test_signal_that_ended_the_program_or_ncu_has_a_name() -> None:
    program = explain(APPLICATION_FAILED.replace("3", "11"), 11, report_exists=False)
    itself = explain("", -9, report_exists=True)
    assert program is not None
    assert itself is not None
    assert "11 is the number of SIGSEGV" in program.message
    assert "killed by SIGKILL" in itself.message


def test_kernels_outside_the_range_are_named() -> None:
    fault = explain(f"{NOTHING_PROFILED}\nAvailable Kernels:\n1. fill_kernel\n2. copy<float>", 0, report_exists=False)
    assert fault is not None
    assert "outside it ran fill_kernel, copy<float>" in fault.message


def test_metrics_that_ncu_does_not_list_are_found() -> None:
    listed = """Device NVIDIA H100 80GB HBM3 (GH100)
----------- ------- ---- ---------
Metric Name Metric Type Metric Unit Metric Description
----------- ------- ---- ---------
dram__bytes_read     Counter    byte  # of bytes read from DRAM
lts__t_bytes  Counter byte  # of bytes
"""
    asked = ["dram__bytes_read.sum", "dram__bytes_sent.sum", "lts__t_bytes.sum", "launch__grid_size"]
    assert unknown_metrics(asked, listed) == ["dram__bytes_sent.sum"]
    assert unknown_metrics(asked, "==ERROR== No CUDA device") == []
    assert query_command("/opt/ncu") == ["/opt/ncu", "--query-metrics"]


def test_run_says_which_missing_metric_ncu_does_not_know(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    stand_in = make_program(tmp_path / "ncu")
    stand_in.write_text(f"#!/bin/sh\necho $* >> {asked}\n")
    monkeypatch.setenv("ROOFLIFT_NCU", str(stand_in))
    asked_for = [metric for metric in METRICS if metric.basic][:2]
    lacking = pd.DataFrame([[metric.ncu[0], NOT_COLLECTED] for metric in METRICS], columns=["ncu_name", "missing"])
    whole = lacking.assign(missing=lacking["missing"].mask(lacking["ncu_name"].isin(ncu_names("seed")), ""))
    assert pipeline._unknown_metrics(whole, "seed") == []
    assert not asked.exists()  # it takes seconds: ncu is asked only when a value is missing that was asked for
    unit = asked_for[0].ncu[0].partition("__")[0]
    stand_in.write_text(f"#!/bin/sh\necho $* >> {asked}\necho '{unit}__cycles Counter cycle # of cycles'\n")
    (note,) = pipeline._unknown_metrics(lacking, "seed")
    assert asked.read_text() == "--query-metrics\n"
    assert asked_for[0].ncu[0] in note
    assert "ncu --query-metrics" in note


def make_program(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_named_ncu_goes_before_the_one_on_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    on_path, named = make_program(tmp_path / "bin" / "ncu"), make_program(tmp_path / "other" / "my-ncu")
    monkeypatch.setenv("PATH", str(on_path.parent))
    monkeypatch.delenv("ROOFLIFT_NCU", raising=False)
    assert find_ncu() == on_path
    monkeypatch.setenv("ROOFLIFT_NCU", str(named))
    assert find_ncu() == named


def test_named_ncu_that_is_missing_is_not_replaced_in_silence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(make_program(tmp_path / "bin" / "ncu").parent))
    monkeypatch.setenv("ROOFLIFT_NCU", "/nowhere/ncu")
    with pytest.raises(NcuFault, match=r"/nowhere/ncu"):
        find_ncu()


def test_missing_ncu_says_how_to_get_it_or_go_without(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ROOFLIFT_NCU", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("rooflift.ncu.command.shutil.which", lambda place: None)
    with pytest.raises(NcuFault, match="ncu is not here") as fault:
        find_ncu()
    for way_out in ("Nsight Compute", "PATH", "ROOFLIFT_NCU", "--metrics none"):
        assert way_out in fault.value.remedy


@pytest.mark.parametrize(
    ("output", "version"),
    [
        (f"{TITLE}\nVersion 2025.3.1.0 (build 36398880) (public-release)", "2025.3.1.0"),
        ("sh: ncu: not found", ""),
    ],
)
def test_version_is_the_release_alone(output: str, version: str) -> None:
    assert parse_version(output) == version

"""The ncu command is exact, and every way in which ncu fails has its own fault with a remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from rooflift.collect.ncu import explain, find_ncu, ncu_command, parse_version, progress_line
from rooflift.errors import CounterPermission, NcuFault

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
    for way_out in ("NVreg_RestrictProfilingToAdminUsers=0", "--cap-add=SYS_ADMIN", "--no-counters"):
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


@pytest.mark.parametrize(
    ("output", "code"), [(APPLICATION_FAILED, 3), (NOT_THERE, 1), (NOT_WRITABLE, 1)], ids=["failed", "absent", "locked"]
)
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
    monkeypatch.setattr("rooflift.collect.ncu.shutil.which", lambda place: None)
    with pytest.raises(NcuFault, match="ncu is not here") as fault:
        find_ncu()
    for way_out in ("Nsight Compute", "PATH", "ROOFLIFT_NCU", "--no-counters"):
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

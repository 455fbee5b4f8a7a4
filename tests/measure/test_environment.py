"""GPU, git and capabilities as a run records them, on stand-ins for NVML and /proc."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from rooflift.errors import NoGpu
from rooflift.measure import environment
from rooflift.project.git import git_state


class NVMLError(Exception):
    pass


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A driver that knows an H100 and an L4."""
    fake = SimpleNamespace(
        NVMLError=NVMLError,
        gpus=["NVIDIA H100 80GB HBM3", "NVIDIA L4"],
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: len(fake.gpus),
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetName=lambda handle: fake.gpus[handle],
        nvmlDeviceGetUUID=lambda handle: f"GPU-{handle}",
        nvmlSystemGetDriverVersion=lambda: "580.1",
    )
    monkeypatch.setitem(sys.modules, "pynvml", fake)  # type: ignore[arg-type]  # a stand-in for the module
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return fake


def test_driver_and_gpus_are_those_of_nvml(nvml: ModuleType) -> None:
    assert environment.driver() == environment.Driver("580.1", ["NVIDIA H100 80GB HBM3", "NVIDIA L4"])


@pytest.mark.parametrize(("visible", "gpus"), [("1", ["NVIDIA L4"]), ("1,0", ["NVIDIA L4", "NVIDIA H100 80GB HBM3"])])
def test_gpus_are_those_that_this_process_may_use(
    nvml: ModuleType, monkeypatch: pytest.MonkeyPatch, visible: str, gpus: list[str]
) -> None:
    """The first is the one that torch calls cuda:0, after which the run folder is named."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert environment.driver().gpus == gpus


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_hidden_gpus_are_told_from_missing_ones(nvml: ModuleType, monkeypatch: pytest.MonkeyPatch, hidden: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    with pytest.raises(NoGpu, match="CUDA_VISIBLE_DEVICES hides them all") as fault:
        environment.driver()
    assert "Unset CUDA_VISIBLE_DEVICES" in fault.value.remedy


def test_machine_without_a_driver_says_what_can_be_done_there(nvml: SimpleNamespace) -> None:
    def fail() -> None:
        raise NVMLError("Driver Not Loaded")

    nvml.nvmlInit = fail
    with pytest.raises(NoGpu, match="Driver Not Loaded") as fault:
        environment.driver()
    assert "rooflift verify" in fault.value.remedy


def test_driver_that_knows_no_gpu_is_no_gpu(nvml: SimpleNamespace) -> None:
    nvml.gpus = []
    with pytest.raises(NoGpu, match="the driver knows none"):
        environment.driver()


def test_commit_and_changes_are_those_of_the_checkout(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
        command = ["git", "-C", str(tmp_path), *identity, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet")
    (tmp_path / "kernel.py").write_text("one")
    git("add", ".")
    git("commit", "--quiet", "--message", "one")
    commit = git("rev-parse", "HEAD")
    assert git_state(tmp_path) == (commit, False)
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "run.json").write_text("of the run before")
    assert git_state(tmp_path) == (commit, False)
    (tmp_path / "kernel.py").write_text("two")
    assert git_state(tmp_path) == (commit, True)


def test_folder_outside_git_has_no_commit_and_no_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state(tmp_path) == (None, False)


def test_missing_package_has_no_version() -> None:
    assert environment.package_version("no-such-package-anywhere") is None
    assert environment.package_version("pytest") == pytest.__version__


@pytest.mark.parametrize(
    ("capabilities", "may"),
    [("0000000000000000", False), ("000001ffffffffff", True), ("0000004000000000", True), ("0000000000200000", True)],
    ids=["none", "all", "CAP_PERFMON", "CAP_SYS_ADMIN"],
)
def test_capability_to_profile_is_read_from_the_process(
    monkeypatch: pytest.MonkeyPatch, capabilities: str, may: bool
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda path, **_: f"Name:\tpython\nCapEff:\t{capabilities}\n")
    assert environment.may_profile_anyway() is may


@pytest.mark.parametrize(
    ("line", "restricted"), [("RmProfilingAdminOnly: 1", True), ("RmProfilingAdminOnly: 0", False)]
)
def test_restriction_is_read_from_the_driver(monkeypatch: pytest.MonkeyPatch, line: str, restricted: bool) -> None:
    monkeypatch.setattr(Path, "read_text", lambda path, **_: f"ResmanDebugLevel: 4294967295\n{line}\n")
    assert environment.counters_restricted() is restricted

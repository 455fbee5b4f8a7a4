"""The doctor on stand-in machines: what is there is told, what is missing comes with its remedy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from rooflift.errors import NcuFault, NoGpu
from rooflift.measure import doctor, environment
from rooflift.measure.doctor import Finding, examine
from rooflift.sandbox.sandbox import Sandbox

Set = Callable[..., None]


class Usage(NamedTuple):
    free: int


@pytest.fixture
def sound(monkeypatch: pytest.MonkeyPatch) -> Set:
    """A machine on which everything is as it should be; the function it returns replaces a part of it."""

    def replace(**parts: Any) -> None:
        for name, part in parts.items():
            owner = {"disk_usage": doctor.shutil, "find_sandbox": doctor}.get(name, environment)
            monkeypatch.setattr(owner, name, part)

    replace(
        driver=lambda: environment.Driver("580.1", ["NVIDIA H100 80GB HBM3", "NVIDIA L4"]),
        ncu_version=lambda: "2025.3.1.0",
        counters_restricted=lambda: False,
        may_profile_anyway=lambda: False,
        package_version=lambda name: "1.2",
        disk_usage=lambda root: Usage(100 * 2**30),
        find_sandbox=lambda: Sandbox((), ()),
    )
    return replace


def found(root: Path) -> dict[str, Finding]:
    findings = {finding.name: finding for finding in examine(root)}
    for finding in findings.values():
        told = finding.status == "problem" or finding.name == "project"  # how to begin one
        assert bool(finding.remedy) == told, finding
    return findings


def raising(error: Exception) -> Callable[[], Any]:
    def fail() -> Any:
        raise error

    return fail


def test_sound_machine_has_no_problem_and_tells_what_it_has(sound: Set, tmp_path: Path) -> None:
    findings = found(tmp_path)
    assert [name for name in findings if not name.startswith("sandboxed ")] == [
        *("project", "python", "gpu", "ncu", "performance counters", "ncu-report", "torch", "triton", "disk")
    ]
    assert {finding.status for finding in findings.values() if finding.name != "project"} == {"ok"}
    assert findings["gpu"].detail == "NVIDIA H100 80GB HBM3, NVIDIA L4 (driver 580.1)"
    assert findings["ncu"].detail == "2025.3.1.0"
    assert findings["disk"].detail == "100 GiB free"


def test_machine_without_a_gpu_is_told_once_and_the_rest_is_examined(sound: Set, tmp_path: Path) -> None:
    sound(driver=raising(NoGpu("no NVIDIA GPU: hidden", "Unset it.")), counters_restricted=lambda: None)
    findings = found(tmp_path)
    assert findings["gpu"] == Finding("gpu", "problem", "no NVIDIA GPU: hidden", "Unset it.")
    assert findings["performance counters"].status == "note"
    assert findings["disk"].status == "ok"


def test_missing_ncu_has_the_remedy_of_its_fault(sound: Set, tmp_path: Path) -> None:
    sound(ncu_version=raising(NcuFault("ncu is not here", "Install it.")))
    assert found(tmp_path)["ncu"] == Finding("ncu", "problem", "ncu is not here", "Install it.")


def test_ncu_that_does_not_tell_its_version_is_a_problem(sound: Set, tmp_path: Path) -> None:
    sound(ncu_version=lambda: "")
    assert found(tmp_path)["ncu"].status == "problem"


@pytest.mark.parametrize(("capable", "status"), [(True, "ok"), (False, "problem")])
def test_restricted_counters_hinder_whoever_lacks_the_capability(
    sound: Set, tmp_path: Path, capable: bool, status: str
) -> None:
    sound(counters_restricted=lambda: True, may_profile_anyway=lambda: capable)
    counters = found(tmp_path)["performance counters"]
    assert counters.status == status
    assert ("--cap-add=SYS_ADMIN" in counters.remedy) == (not capable)


def test_missing_package_is_named_with_its_use_and_the_command_that_installs_it(sound: Set, tmp_path: Path) -> None:
    sound(package_version=lambda name: None if name == "triton" else "1.2")
    findings = found(tmp_path)
    assert findings["triton"].status == "problem"
    assert "compiles kernels" in findings["triton"].detail
    assert findings["triton"].remedy == "Run `pip install triton`."
    assert findings["torch"].status == "ok"


@pytest.mark.parametrize(("free", "status"), [(2**31 - 1, "problem"), (2**31, "ok")])
def test_little_disk_is_a_problem(sound: Set, tmp_path: Path, free: int, status: str) -> None:
    sound(disk_usage=lambda root: Usage(free))
    assert found(tmp_path)["disk"].status == status


def test_each_confinement_that_is_missing_is_a_problem(sound: Set, tmp_path: Path) -> None:
    sound(find_sandbox=lambda: Sandbox((), ("processes", "files read")))
    rows = {name: finding for name, finding in found(tmp_path).items() if name.startswith("sandboxed ")}
    assert {name: finding.status for name, finding in rows.items()} == {
        "sandboxed network": "ok",
        "sandboxed processes": "problem",
        "sandboxed files written": "ok",
        "sandboxed files read": "problem",
    }
    assert "--trust" in rows["sandboxed processes"].remedy


def test_folder_that_does_not_exist_is_a_finding_and_no_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "driver", raising(NoGpu("none", "Get one.")))
    assert found(tmp_path / "nowhere")["disk"].status == "problem"

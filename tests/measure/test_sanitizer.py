"""compute-sanitizer's words are read right, and no silence, crash or refusal of it is taken for a clean version."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rooflift.errors import CatalogError, KernelFault, RoofliftError, SanitizerFault
from rooflift.measure import environment, sanitizer
from rooflift.measure.children import staged
from rooflift.measure.request import Request, in_dtypes
from rooflift.measure.sanitizer import Findings, own_kernels, parse_log, sanitize, sanitizer_command
from rooflift.process import child_environment
from rooflift.project.operator import Operator, load_operator
from rooflift.report.text import sanitizer_text
from rooflift.schema import SanitizerRecord
from rooflift.worker import protocol
from rooflift.worker.protocol import Ran

CLEAN = """========= COMPUTE-SANITIZER
========= ERROR SUMMARY: 0 errors
"""
NO_RACE = """========= COMPUTE-SANITIZER
========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)
"""
OUT_OF_BOUNDS = """========= COMPUTE-SANITIZER
========= Invalid __global__ write of size 4 bytes
=========     at twice+0x160 in v0_probe.py:20
=========     by thread (33,0,0) in block (0,0,0)
=========     Address 0x7f5d03000084 is out of bounds
=========     and is 5 bytes after the nearest allocation at 0x7f5d03000000 of size 128 bytes
=========     Saved host backtrace up to driver entry point at kernel launch time
=========         Host Frame: launch [0x16a3] in __triton_launcher.cpython-312-x86_64-linux-gnu.so
=========
========= Invalid __global__ write of size 4 bytes
=========     at twice+0x160 in v0_probe.py:20
=========     by thread (34,0,0) in block (0,0,0)
=========     Address 0x7f5d03000088 is out of bounds
=========
========= ERROR SUMMARY: 2 errors
"""
LIBRARY = """========= COMPUTE-SANITIZER
========= Uninitialized __global__ memory read of size 8 bytes
=========     at void at::native::reduce_kernel<512, 1>(T3)+0x8a70
=========     by thread (16,0,0) in block (80,0,0)
=========     Address 0x7f615d40daf0
=========
========= ERROR SUMMARY: 1 error
"""
RACE = """========= COMPUTE-SANITIZER
========= Error: Race reported between Write access at twice+0x1a0 in v0_probe.py:20
=========     and Read access at twice+0x2b0 in v0_probe.py:21 [294127 hazards]
=========
========= Warning: Race reported between Read access at 0x230 in void at::native::sort_kernel(int)
=========     and Write access at 0x250 in void at::native::sort_kernel(int) [4 hazards]
=========
========= RACECHECK SUMMARY: 2 hazards displayed (1 error, 1 warning)
"""
MANY = CLEAN.replace("0 errors", "5000 errors")
UNSUPPORTED = """========= COMPUTE-SANITIZER
========= Error: Device not supported. Please refer to the "Supported Devices" section of the sanitizer documentation
=========
========= ERROR SUMMARY: 0 errors
"""


def test_command_asks_for_one_tool_and_lets_failing_calls_of_the_driver_pass() -> None:
    command = sanitizer_command("/opt/compute-sanitizer", "racecheck", ["python", "-m", "target"])
    assert command[:3] == ["/opt/compute-sanitizer", "--tool", "racecheck"]
    assert command[-3:] == ["python", "-m", "target"]
    assert command[command.index("--report-api-errors") + 1] == "no"
    assert command[command.index("--log-file") + 1] == sanitizer.LOG


@pytest.mark.parametrize(
    ("text", "errors", "elsewhere", "first"),
    [
        (CLEAN, 0, 0, ""),
        (NO_RACE, 0, 0, ""),
        (OUT_OF_BOUNDS, 2, 0, "Invalid __global__ write of size 4 bytes; at twice+0x160 in v0_probe.py:20"),
        (LIBRARY, 0, 1, ""),
        (RACE, 1, 1, "Error: Race reported between Write access at twice+0x1a0 in v0_probe.py:20; and Read access at"),
        (MANY, 5000, 0, "5000 of them, none written out"),
        (LIBRARY.replace("1 error", "7 errors"), 6, 1, "6 of them"),
    ],
    ids=["clean", "no race", "out of bounds", "library", "race", "not written out", "partly written out"],
)
def test_findings_are_counted_by_whose_kernel_they_are_in(text: str, errors: int, elsewhere: int, first: str) -> None:
    found = parse_log(text, ["twice"])
    assert found is not None
    assert found[:2] == (errors, elsewhere)
    assert found.first.startswith(first)
    assert bool(found.first) == bool(errors)
    assert "Frame" not in found.first


def test_kernel_whose_name_begins_like_an_own_one_is_a_librarys() -> None:
    assert parse_log(OUT_OF_BOUNDS.replace("twice", "twice_as_fast").replace("v0_probe", "lib"), ["twice"]) == Findings(
        0, 2, ""
    )


def test_text_without_a_summary_is_no_answer() -> None:
    assert parse_log("========= COMPUTE-SANITIZER\n", ["twice"]) is None


def test_own_kernels_are_the_decorated_functions(checkout: Path, make_operator: Callable[..., Operator]) -> None:
    assert own_kernels(make_operator().versions[0].path) == ["twice"]
    for version in load_operator(checkout, "depthwise_conv2d").versions:
        assert own_kernels(version.path), version.name


BROKEN = protocol.Broken("v0_probe", "small", "float32", compiling=False, message="v0_probe.py:3: ValueError: no")


class Stand:
    """A machine with a GPU and a compute-sanitizer whose log and program are the test's."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / "compute-sanitizer"
        self.write()

    def write(self, *, log: str | None = None, said: tuple[msgspec.Struct, ...] | None = None, end: str = "") -> None:
        """Say `said` and log `log`; by default the version comes through its case, and every tool is content."""
        events = (Ran("small", "float32"),) if said is None else said
        spoken = self.folder / "said.jsonl"
        spoken.write_bytes(b"".join(msgspec.json.encode(event) + b"\n" for event in events))
        logs = {tool: self.folder / f"{tool}.txt" for tool in sanitizer.TOOLS}
        for tool, path in logs.items():
            path.write_text((NO_RACE if tool == "racecheck" else CLEAN) if log is None else log)
        self.path.write_text(
            f'#!/bin/sh\necho "$PYTORCH_NO_CUDA_MEMORY_CACHING $*" >> {shlex.quote(str(self.folder / "calls"))}\n'
            f"cat {shlex.quote(str(spoken))}\n"
            f'log={shlex.quote(str(self.folder))}/$2.txt; [ -s "$log" ] && cp "$log" {sanitizer.LOG}\n'
            f"{end or 'exit 0'}\n"
        )
        self.path.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stand:
    folder = tmp_path / "stand in"
    folder.mkdir()
    stand = Stand(folder)
    monkeypatch.setenv("ROOFLIFT_SANITIZER", str(stand.path))
    monkeypatch.setattr(environment, "driver", lambda: environment.Driver("580.1", ["NVIDIA H100 80GB HBM3"]))
    return stand


@pytest.fixture
def request_(make_operator: Callable[..., Operator], ask: Callable[..., Request]) -> Request:
    return ask(make_operator(), timeout_s=20)


def outcome(request: Request) -> list[SanitizerRecord]:
    said: list[str] = []
    return sanitize(request, request.cases, said.append)


def test_every_tool_runs_every_version_with_torchs_pool_switched_off(
    stand: Stand, make_operator: Callable[..., Operator], version_text: Callable[..., str], ask: Callable[..., Request]
) -> None:
    records = outcome(ask(make_operator(version_text(), version_text())))
    assert [(r.tool, r.version) for r in records] == [
        (tool, f"v{n}_probe") for tool in ("memcheck", "racecheck", "initcheck") for n in range(2)
    ]
    assert {(r.errors, r.elsewhere, r.first, *r.cases, *r.dtypes, *r.kernels) for r in records} == {
        (0, 0, "", "small", "float32", "twice")
    }
    assert len(stand.calls) == 6
    assert all(call.startswith("1 --tool ") for call in stand.calls)


def test_finding_is_an_answer_also_when_the_version_broke_on_it(stand: Stand, request_: Request) -> None:
    stand.write(log=OUT_OF_BOUNDS, said=(BROKEN,), end="exit 3")
    records = outcome(request_)
    assert [record.errors for record in records] == [2, 2, 2]
    assert "twice+0x160" in records[0].first


@pytest.mark.parametrize(
    ("world", "fault", "words"),
    [
        ({"log": UNSUPPORTED}, SanitizerFault, "Device not supported"),
        ({"log": ""}, SanitizerFault, "memcheck did not come through v0_probe"),
        ({"said": ()}, SanitizerFault, "did not come through"),
        ({"end": "echo 'Killed' >&2; exit 137"}, SanitizerFault, "Killed"),
        ({"said": (BROKEN,), "end": "exit 3"}, KernelFault, "does not run on small float32 under memcheck"),
    ],
    ids=["GPU", "no log", "nothing ran", "crash", "broken version"],
)
def test_what_is_no_answer_is_never_called_clean(
    stand: Stand, request_: Request, world: dict[str, Any], fault: type[RoofliftError], words: str
) -> None:
    stand.write(**world)
    with pytest.raises(fault) as caught:
        outcome(request_)
    assert words in caught.value.message.replace("racecheck", "memcheck").replace("initcheck", "memcheck")
    assert caught.value.remedy


def test_time_limit_ends_all_processes_and_names_the_option(stand: Stand, request_: Request) -> None:
    stand.write(end="sleep 600")
    with pytest.raises(SanitizerFault, match=r"ran past 1.5 s") as fault:
        outcome(replace(request_, timeout_s=1.5))
    assert "--timeout" in fault.value.remedy


def test_missing_sanitizer_says_where_it_was_looked_for(monkeypatch: pytest.MonkeyPatch, request_: Request) -> None:
    monkeypatch.setenv("ROOFLIFT_SANITIZER", "/nowhere/compute-sanitizer")
    with pytest.raises(SanitizerFault, match="/nowhere/compute-sanitizer") as fault:
        outcome(request_)
    assert "ROOFLIFT_SANITIZER" in fault.value.remedy


def test_family_without_test_cases_is_not_called_clean(stand: Stand, request_: Request) -> None:
    with pytest.raises(CatalogError, match="no case"):
        sanitize(request_, [], [].append)


def record(tool: str, version: str, errors: int = 0, first: str = "") -> SanitizerRecord:
    return SanitizerRecord(tool, version, ["a", "b"], ["float32", "float16"], ["twice"], errors, 0, first)


def test_report_says_in_a_line_what_is_clean() -> None:
    records = [record(tool, version) for tool in sanitizer.TOOLS for version in ("v0_a", "v1_b", "v2_c")]
    assert sanitizer_text(records) == (
        "compute-sanitizer: memcheck, racecheck, initcheck clean for v0_a to v2_c (3 versions) "
        "on 2 test cases in 2 dtypes."
    )
    assert sanitizer_text([]) == ""


def test_report_names_what_is_not_clean() -> None:
    said = sanitizer_text([record("memcheck", "v0_a"), record("racecheck", "v1_b", 3, "Race reported")])
    assert "racecheck found 3 in v1_b (Race reported)" in said
    assert "clean" not in said


def test_command_checks_then_sanitizes_and_ends_with_1_on_a_finding(
    stand: Stand, rooflift: Callable[..., Any], make_operator: Callable[..., Operator]
) -> None:
    operator = make_operator()
    said = rooflift("verify", "twice", "--sanitize", "--interpret", folder=operator.folder)
    assert said.code == 0, said.err
    assert "memcheck, racecheck, initcheck clean for v0_probe on 1 test case in 1 dtype" in said.out
    stand.write(log=OUT_OF_BOUNDS)
    said = rooflift("verify", "twice", "--sanitize", "--interpret", "--json", folder=operator.folder)
    assert said.code == 1
    assert [found["errors"] for found in json.loads(said.out)["sanitizer"]] == [2, 2, 2]


@pytest.mark.usefixtures("no_gpu")
def test_command_without_a_gpu_does_not_sanitize_in_silence(
    rooflift: Callable[..., Any], make_operator: Callable[..., Operator]
) -> None:
    said = rooflift("verify", "twice", "--sanitize", folder=make_operator().folder)
    assert said.code == 2
    assert "no NVIDIA GPU" in said.err


PROGRAM = """
import msgspec
from pathlib import Path
from rooflift.worker.protocol import Plan
from rooflift.worker.sanitize import run
from rooflift.worker.program import Stop
try:
    run(msgspec.json.decode(Path("plan.json").read_bytes(), type=Plan), "cpu")
except Stop:
    raise SystemExit(3)
"""


@pytest.mark.parametrize(("store", "code", "event"), [(None, 0, Ran), ("no_such_name", 3, protocol.Broken)])
def test_program_runs_each_version_on_each_case_and_says_so(
    make_operator: Callable[..., Operator],
    version_text: Callable[..., str],
    ask: Callable[..., Request],
    store: str | None,
    code: int,
    event: type[msgspec.Struct],
) -> None:
    """In the interpreter, where compute-sanitizer itself has nothing to see."""
    request = ask(make_operator(version_text(store=store) if store else version_text()))
    with staged(request.operator, request.versions, protocol.Plan(work=in_dtypes(request.cases, []))) as stage:
        environment = {**os.environ, **child_environment(), "TRITON_INTERPRET": "1"}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], cwd=stage, env=environment, capture_output=True, text=True, check=False
        )
    assert done.returncode == code, done.stderr
    events = [type(found) for found in map(protocol.read_event, done.stdout.splitlines()) if found is not None]
    assert events == [protocol.Trying, protocol.Trying, event]  # which version the program is at, and none any more

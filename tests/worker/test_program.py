"""The program that runs kernels, as a child in Triton's interpreter: right versions pass, no other one does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rooflift.errors import InterpreterGap, KernelFault, RoofliftError, WrongResult
from rooflift.measure import checking, children
from rooflift.measure.checking import verify
from rooflift.measure.request import Request
from rooflift.project.cases import Case
from rooflift.project.operator import Operator
from rooflift.schema import CheckRecord, MeasureOptions
from rooflift.worker.protocol import Plan
from rooflift.worker.wide import PROBES

REFERENCE = """
import torch


class Model(torch.nn.Module):
    def forward(self, x):
        return 2 * x


def get_inputs(): ...
def get_init_inputs(): ...
"""
MakeFamily = Callable[..., Operator]
VersionText = Callable[..., str]
Check = Callable[..., list[CheckRecord]]


@pytest.fixture
def check(ask: Callable[..., Request]) -> Check:
    def run(operator: Operator, seeds: int = 1, timeout_s: float = 60) -> list[CheckRecord]:
        request = ask(operator, timeout_s=timeout_s)
        request = replace(request, options=MeasureOptions(seeds=seeds))
        return verify(request, request.cases, True, lambda text: None)

    return run


def line_of(path: Path, text: str) -> int:
    return next(n for n, line in enumerate(path.read_text().splitlines(), 1) if text in line)


def test_every_version_case_dtype_and_seed_is_checked_once(
    check: Check, make_operator: MakeFamily, version_text: VersionText
) -> None:
    cases = """
main = { init = {}, inputs = [[4, 8]], use = ["bench"] }
small = { init = {}, inputs = [[3, 5]], use = ["test"] }
empty = { init = {}, inputs = [[0, 5]], dtypes = ["float16"], use = ["test"] }
"""
    checks = check(make_operator(version_text(), version_text(), cases=cases), seeds=2)
    work = [*(("small", dtype) for dtype in ("float32", "float16", "bfloat16")), ("empty", "float16")]
    wanted = [(f"v{number}_probe", *case, seed) for case in work for number in range(2) for seed in range(2)]
    assert sorted((c.version, c.case, c.dtype, c.seed) for c in checks) == sorted(wanted)


def test_cases_are_dealt_out_to_processes_and_answered_for_in_their_order(
    check: Check, make_operator: MakeFamily, version_text: VersionText, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    computes = (
        f"        import os\n        print(os.getpid(), len(x), file=open({str(log)!r}, 'a'))\n        return 2 * x"
    )
    cases = "\n".join(
        f'of_{rows} = {{ init = {{}}, inputs = [[{rows}, 5]], dtypes = ["float32"], use = ["test"] }}'
        for rows in (2, 9, 4, 7)
    )
    cases += '\nmain = { init = {}, inputs = [[4, 8]], use = ["bench"] }'
    reference = REFERENCE.replace("        return 2 * x", computes)
    monkeypatch.setattr(checking.os, "cpu_count", lambda: 16)
    monkeypatch.setattr(checking, "FEW", 4)
    checks = check(make_operator(version_text(), version_text(), cases=cases, reference=reference))
    assert [(c.case, c.version) for c in checks] == [
        (f"of_{rows}", version) for rows in (2, 9, 4, 7) for version in ("v0_probe", "v1_probe")
    ]
    computed = [tuple(map(int, line.split())) for line in log.read_text().splitlines()]
    each = [rows for _, rows in computed]
    assert {rows: each.count(rows) for rows in (2, 4, 7, 9)} == dict.fromkeys((2, 4, 7, 9), 2 + PROBES)  # a case once
    own = {frozenset(rows for process, rows in computed if process == one) for one, _ in computed}
    assert own == {frozenset({9, 4}), frozenset({7, 2})}  # 4 comparisons for each process; the large cases apart


def test_part_of_the_work_is_checked_alone_and_the_reference_is_computed_once_for_all_versions(
    make_operator: MakeFamily, version_text: VersionText, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    computes = f"        print(*x.shape, x.dtype, file=open({str(log)!r}, 'a'))\n        return 2 * x"
    operator = make_operator(
        version_text(), version_text(), reference=REFERENCE.replace("        return 2 * x", computes)
    )
    work = [Case(f"of_{size}", {}, [[size, 5]], ("float32",)) for size in (2, 9, 4)]
    seen = children.Measurement()
    with children.staged(operator, operator.versions, Plan(work=work, options=MeasureOptions(seeds=1))) as stage:
        environment = {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
        asyncio.run(children.run_worker(stage, "check", environment, seen, lambda text: None, "0/2"))
    assert [(check.case, check.version) for check in seen.checks] == [
        (case, version) for case in ("of_9", "of_2") for version in ("v0_probe", "v1_probe")
    ]
    once = ["torch.float32", *["torch.float64"] * (1 + PROBES)]  # in its own dtype, the truth, and its probes
    assert log.read_text().splitlines() == [f"{size} 5 {dtype}" for size in (9, 2) for dtype in once]


def test_faulty_versions_are_left_out_and_the_others_compared_on_every_case(
    make_operator: MakeFamily, version_text: VersionText
) -> None:
    versions = (
        version_text(store="tl.store(y_ptr + at, tl.where(at == 7, 1e3, y), mask=at < n)"),
        version_text(),
        version_text(launch="raise ValueError('not today')"),
        version_text(top="import no_such_package"),
    )
    operator = make_operator(*versions)
    work = [Case(f"of_{size}", {}, [[size, 5]], ("float32",)) for size in (2, 9)]
    plan = Plan(work=work, options=MeasureOptions(seeds=1), leave_out=True)
    seen = children.Measurement(optional=[version.name for version in operator.versions])
    with children.staged(operator, operator.versions, plan) as stage:
        environment = {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
        asyncio.run(children.run_worker(stage, "check", environment, seen, lambda text: None))
    assert [(check.version, check.case) for check in seen.checks] == [("v1_probe", "of_2"), ("v1_probe", "of_9")]
    assert {one.version: one.error for one in seen.faulty} == {
        "v3_probe": "KernelFault",
        "v0_probe": "WrongResult",
        "v2_probe": "KernelFault",
    }


@pytest.mark.parametrize("leave", ["os.abort()", "sys.exit()"])
def test_version_that_ends_the_program_is_known(
    make_operator: MakeFamily, version_text: VersionText, leave: str
) -> None:
    operator = make_operator(version_text(), version_text(top="import os, sys", launch=leave))
    work = [Case("of_2", {}, [[2, 5]], ("float32",))]
    plan = Plan(work=work, options=MeasureOptions(seeds=1), leave_out=True)
    seen = children.Measurement(optional=[version.name for version in operator.versions])
    environment = {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    with children.staged(operator, operator.versions, plan) as stage, pytest.raises(children.CannotGoOn):
        asyncio.run(children.run_worker(stage, "check", environment, seen, lambda text: None))
    assert [one.version for one in seen.faulty] == ["v1_probe"]


def test_wrong_kernel_names_case_element_and_how_far_off(
    check: Check, make_operator: MakeFamily, version_text: VersionText
) -> None:
    wrong = version_text(store="tl.store(y_ptr + at, tl.where(at == 7, 1e3, y), mask=at < n)")
    with pytest.raises(WrongResult) as fault:
        check(make_operator(version_text(), wrong))
    said = fault.value.message
    assert said.startswith("v1_probe on small float32 (seed 0): element (1, 2) is 1000, the reference gives ")
    assert "e+08 times the tolerance; 1 of 15" in said
    assert "masks" in fault.value.remedy


def test_element_that_is_never_written_is_found_and_explained(
    check: Check, make_operator: MakeFamily, version_text: VersionText
) -> None:
    with pytest.raises(WrongResult, match=r"element \(2, 4\) is nan.*1 of 15") as fault:
        check(make_operator(version_text(store="tl.store(y_ptr + at, y, mask=at < n - 1)")))
    assert "never written" in fault.value.remedy


@pytest.mark.parametrize(
    ("store", "said"),
    [
        pytest.param("tl.store(y_ptr + at, missing, mask=at < n)", "name 'missing' is not defined", id="unknown name"),
        pytest.param("tl.static_assert(BLOCK == 32)", "AssertionError", id="assertion", marks=pytest.mark.slow),
    ],
)
def test_kernel_that_cannot_run_names_the_line_inside_it(
    check: Check, make_operator: MakeFamily, version_text: VersionText, store: str, said: str
) -> None:
    operator = make_operator(version_text(store=store))
    with pytest.raises(KernelFault) as fault:
        check(operator)
    assert fault.value.message.startswith("v0_probe does not")
    assert "on small float32" in fault.value.message
    assert said in fault.value.message
    assert "Traceback" not in fault.value.message
    assert f"v0_probe.py:{line_of(operator.versions[0].path, store)}: " in fault.value.message


def test_version_that_cannot_be_imported_names_its_file_and_line(
    check: Check, make_operator: MakeFamily, version_text: VersionText
) -> None:
    operator = make_operator(version_text(top="assert triton.no_such_thing"))
    with pytest.raises(KernelFault, match="no_such_thing") as fault:
        check(operator)
    line = line_of(operator.versions[0].path, "no_such_thing")
    assert fault.value.message.startswith(f"v0_probe does not run:\nv0_probe.py:{line}: AttributeError")


def test_reference_that_cannot_be_imported_is_told_as_the_reference(check: Check, make_operator: MakeFamily) -> None:
    reference = "import no_such_package\nclass Model: ...\ndef get_inputs(): ...\ndef get_init_inputs(): ...\n"
    with pytest.raises(KernelFault, match=r"reference does not run:\nreference\.py:1: ModuleNotFoundError"):
        check(make_operator(reference=reference))


def test_version_that_tunes_itself_is_checked_in_one_configuration(
    check: Check, make_operator: MakeFamily, version_text: VersionText
) -> None:
    configs = "[triton.Config({'BLOCK': b}, num_warps=w) for b, w in ((4, 2), (64, 1))]"
    launch = 'twice[lambda meta: (triton.cdiv(x.numel(), meta["BLOCK"]),)](x, y, x.numel())'
    tuned = version_text(top=f"@triton.autotune({configs}, key=['n'])", launch=launch)
    assert len(check(make_operator(tuned))) == 1


@pytest.mark.parametrize("leave", [pytest.param("sys.exit()", marks=pytest.mark.slow), "os._exit(0)"])
def test_version_that_leaves_does_not_pass(
    check: Check, make_operator: MakeFamily, version_text: VersionText, leave: str
) -> None:
    """A program that ended with code 0 has not agreed with anything yet."""
    with pytest.raises(RoofliftError):
        check(make_operator(version_text(top="import os, sys", launch=leave)))


def test_version_that_is_killed_names_the_signal(
    check: Check, make_operator: MakeFamily, version_text: VersionText
) -> None:
    with pytest.raises(KernelFault, match="code -6") as fault:
        check(make_operator(version_text(top="import os", launch="os.abort()")))
    assert "signal" in fault.value.remedy


@pytest.mark.parametrize(
    "said",
    [
        pytest.param("""'{"type":1}'""", id="like an event"),
        pytest.param("'tuning ...', end=''", id="no end of line", marks=pytest.mark.slow),
    ],
)
def test_version_that_prints_does_not_disturb_the_check(
    check: Check, make_operator: MakeFamily, version_text: VersionText, said: str
) -> None:
    chatty = version_text(launch=f"twice[(1,)](x, y, x.numel(), BLOCK=64); print({said})")
    assert len(check(make_operator(chatty), seeds=2)) == 2


ASSEMBLY = """y = tl.inline_asm_elementwise("mov.b32 $0, $1;", "=f,f", [y], dtype=tl.float32, is_pure=True, pack=1)
    tl.store(y_ptr + at, y, mask=at < n)"""


def test_what_the_interpreter_lacks_is_no_fault_of_a_kernel_and_the_others_are_compared(
    check: Check, make_operator: MakeFamily, version_text: VersionText
) -> None:
    unloaded = version_text(top="STREAM = torch.cuda.Stream()")
    with pytest.raises(InterpreterGap) as fault:
        check(make_operator(version_text(store=ASSEMBLY), version_text(), unloaded), seeds=2)
    first, second, others = fault.value.message.splitlines()
    assert first.startswith("v2_probe was not compared: Triton's interpreter lacks a GPU, which the file asks for (")
    assert second == "v0_probe was not compared on small float32: Triton's interpreter lacks inline_asm"
    assert others == "The other 2 comparisons agree."
    assert "may be right" in fault.value.remedy

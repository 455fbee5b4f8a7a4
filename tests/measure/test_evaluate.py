"""The gates: what the linter may not see is found by running a candidate, away from its judge."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rooflift.errors import CatalogError
from rooflift.measure.evaluate import Evaluation, evaluate, trials
from rooflift.measure.odd_sizes import odd_sizes
from rooflift.process import converse
from rooflift.project.cases import Case, read_cases
from rooflift.project.inputs import Input
from rooflift.project.operator import Operator, load_operator
from rooflift.sandbox.sandbox import find_sandbox

LAUNCH = "twice[(1,)](x, y, x.numel(), BLOCK=64)"
DISHONEST = {
    "kept result": (
        "plan",
        """if not hasattr(self, "kept"):
            twice[(1,)](x, y, x.numel(), BLOCK=64)
            self.kept = y.clone()
        y = self.kept.clone()""",
    ),
    "kept memory": (
        "plan",
        """if not hasattr(self, "kept"):
            self.kept = y
        y = self.kept
        twice[(1,)](x, y, x.numel(), BLOCK=64)""",
    ),
    "operation of torch": ("plan", "y = getattr(torch, 'mu' + 'l')(x, 2)"),
    "value on the host": ("plan", "twice[(int(x[0, 0] > 0) or 1,)](x, y, x.numel(), BLOCK=64)"),
    "no kernel": ("plan", "y = x.clone()"),
    "subclass of a tensor": (
        "plan",
        """class Lazy(torch.Tensor):
            pass
        twice[(1,)](x, y, x.numel(), BLOCK=64)
        y = y.as_subclass(Lazy)""",
    ),
    "input zeroed": ("inputs_changed", "twice[(1,)](x, y, x.numel(), BLOCK=64); x.zero_()"),
    "launch after the call": (
        "plan",
        """import threading, time
        def later():
            time.sleep(0.2)
            twice[(1,)](x, y, x.numel(), BLOCK=64)
        threading.Thread(target=later).start()""",
    ),
}

EVERY_DAY = {"kept result"}  # test_judge has many more in one process


@pytest.fixture
def through(
    make_operator: Callable[..., Operator], version_text: Callable[..., str], tmp_path: Path
) -> Callable[..., Evaluation]:
    """Return a function: how a candidate for the operator `twice` comes through the gates, in the interpreter."""

    def run(**parts: str) -> Evaluation:
        operator = make_operator()
        candidate = tmp_path / "candidate.py"
        candidate.write_text(version_text(**parts))
        return evaluate(operator, candidate, find_sandbox(), [3, 4], lambda _: None, interpret=True)

    return run


def gates_of(found: Evaluation) -> set[str]:
    return {fault.criterion for fault in found.faults}


def test_a_right_reply_passes_on_every_seed_and_on_odd_shapes(through: Callable[..., Evaluation]) -> None:
    found = through(launch="twice[(triton.cdiv(x.numel(), 64),)](x, y, x.numel(), BLOCK=64)")
    assert found.reasons() == []
    assert found.compared == 3  # one test case with two seeds, and one odd shape


@pytest.mark.parametrize(
    "trick", [pytest.param(trick, marks=[] if trick in EVERY_DAY else [pytest.mark.slow]) for trick in DISHONEST]
)
def test_a_dishonest_reply_is_found(trick: str, through: Callable[..., Evaluation]) -> None:
    criterion, launch = DISHONEST[trick]
    found = through(launch=launch)
    assert gates_of(found) == {criterion}
    assert found.reasons()[0].startswith(f"{criterion}: small float32")


@pytest.mark.slow
def test_a_kernel_that_looks_whether_anybody_compares_is_found(through: Callable[..., Evaluation]) -> None:
    """Where its output already holds a number it writes nothing, and where that is right it need not."""
    store = "tl.store(y_ptr + at, y.to(y_ptr.dtype.element_ty), mask=(at < n) & (left != left))"
    found = through(store=f"left = tl.load(y_ptr + at, mask=at < n)\n    {store}")
    assert gates_of(found) == {"second_call"}


def test_what_triton_cannot_compile_is_told_with_its_words_and_line(through: Callable[..., Evaluation]) -> None:
    """The interpreter runs it: Python has `continue`."""
    store = """for i in range(2):
        if i == 1:
            continue
        tl.store(y_ptr + at, y.to(y_ptr.dtype.element_ty), mask=at < n)"""
    found = through(store=store)
    assert gates_of(found) == {"compiles"}
    assert "candidate.py:20: " in found.reasons()[0]
    assert "unsupported AST node type: Continue" in found.reasons()[0]


@pytest.mark.slow
def test_an_element_that_is_never_written_is_found(through: Callable[..., Evaluation]) -> None:
    found = through(store="tl.store(y_ptr + at, y.to(y_ptr.dtype.element_ty), mask=at < n - 1)")
    assert gates_of(found) == {"correctness"}
    assert "is nan, the reference gives" in found.reasons()[0]


@pytest.mark.slow
def test_a_reply_that_knows_the_case_fails_on_an_odd_shape(
    make_operator: Callable[..., Operator], version_text: Callable[..., str], tmp_path: Path
) -> None:
    operator = make_operator()
    candidate = tmp_path / "candidate.py"
    candidate.write_text(version_text(launch="twice[(1,)](x, y, x.numel() if x.numel() == 15 else 0, BLOCK=64)"))
    found = evaluate(operator, candidate, find_sandbox(), [3], lambda _: None, interpret=True)
    assert gates_of(found) == {"correctness"}
    assert "small with inputs" in found.reasons()[0]


def test_a_reply_that_leaves_large_shapes_to_torch_is_found_though_they_are_not_interpreted(
    through: Callable[..., Evaluation],
) -> None:
    """Of the case that is measured the calls are recorded, and the kernels compiled."""
    launch = "y = x * 2 if x.numel() == 32 else y; twice[(triton.cdiv(x.numel(), 64),)](x, y, x.numel(), BLOCK=64)"
    (reason,) = through(launch=launch).reasons()
    assert reason.startswith("plan: main float32: ")
    assert "forward calls aten::mul" in reason


def test_what_a_reply_raises_is_told_with_its_line(through: Callable[..., Evaluation]) -> None:
    (reason,) = through(launch="raise ValueError('no such thing')").reasons()
    assert reason.startswith("runs: small float32: candidate.py:")
    assert "ValueError: no such thing" in reason


def test_a_reply_that_the_interpreter_cannot_run_is_neither_accepted_nor_rejected(
    through: Callable[..., Evaluation],
) -> None:
    asm = 'tl.inline_asm_elementwise("mov.b32 $0, $1;", "=f,f", [y], dtype=tl.float32, is_pure=True, pack=1)'
    found = through(store=f"tl.store(y_ptr + at, {asm}, mask=at < n)")
    assert found.undecided
    assert found.reasons()[0].startswith("interpreter: small float32: Triton's interpreter lacks inline_asm. ")
    assert "may be right" in found.reasons()[0]


@pytest.mark.slow
def test_a_reply_that_leaves_the_process_is_found(through: Callable[..., Evaluation]) -> None:
    (reason,) = through(launch="import os; print('farewell', flush=True); os._exit(0)").reasons()
    assert "ended before it had a result" in reason


@pytest.mark.parametrize(
    "forged",
    [
        pytest.param("b''", marks=pytest.mark.slow),
        pytest.param("bytes(2**20)", marks=pytest.mark.slow),
        """__import__("msgspec").msgpack.encode({"buffers": [{"origin": "input", "bytes": 4}], "steps": [], "results":
            [{"place": "", "value": {"type": "Region", "buffer": 0, "offset": 9, "size": [1], "stride": [1],
            "dtype": "float32"}}]})""",
    ],
)
def test_a_reply_that_writes_its_own_plan_is_found(forged: str, through: Callable[..., Evaluation]) -> None:
    """The last of these names memory that is not the input's."""
    write = f"open('plans/0.plan', 'wb').write({forged})"
    found = through(launch=f"import os; {write}; torch.save({{}}, 'plans/0.pt'); os._exit(0)")
    assert gates_of(found) >= {"plan"}


def test_a_reply_that_crashes_is_told_with_its_last_words(through: Callable[..., Evaluation]) -> None:
    (reason,) = through(launch="import os; print('farewell', flush=True); os._exit(7)").reasons()
    assert "ended with code 7" in reason
    assert "farewell" in reason


def test_a_size_that_varies_among_the_cases_is_varied_together_in_all_inputs_and_others_are_named() -> None:
    case = Case("add", {}, [[4, 6], [4, 6]], ("float32", "float16"), frozenset({"test"}))
    large = Case("main", {}, [[4, 1023], [4, 1023]], ("float32",))
    for seed in range(20):
        odd = odd_sizes([case], [case, large], seed)
        (changed,) = odd.cases
        one, other = changed.shapes
        assert one == other != [4, 6]
        assert one[0] == 4
        assert odd.untried == ["dimension 0 of input 0", "dimension 0 of input 1"]


def test_a_size_keeps_the_factor_that_all_cases_have() -> None:
    """Heads of 64 and 128 are no promise of heads of 57."""
    cases = [Case(f"of_{d}", {}, [[2, 10 + d, d]], ("float32",)) for d in (64, 128)]
    found = [odd_sizes(cases, cases, seed).cases for seed in range(20)]
    heads = {shape[-1] for odd in found for case in odd for shape in case.shapes}
    assert {size % 64 for size in heads} == {0}
    assert len(heads) > 2


def test_named_sizes_are_varied_by_name_and_formulas_follow(tmp_path: Path) -> None:
    path = tmp_path / "cases.toml"
    path.write_text(
        """
[main]
sizes = { N = 64, V = 1000 }
inputs = [["N", "V"], { shape = ["N"], dtype = "int64", values = "integers", high = "V" }]
use = ["bench"]

[small]
sizes = { N = 4, V = 30 }
inputs = [["N", "V"], { shape = ["N"], dtype = "int64", values = "integers", high = "V" }]
use = ["test"]
"""
    )
    cases = read_cases(path)
    for seed in range(20):
        (odd,) = odd_sizes([cases["small"]], list(cases.values()), seed).cases
        logits, labels = odd.inputs or ()
        assert isinstance(labels, Input)
        assert (labels.shape, labels.high) == ((logits[0],), logits[1])  # type: ignore[index]


def test_trials_share_the_dtypes_out() -> None:
    case = Case("add", {}, [[4, 6], [4, 6]], ("float32", "float16"), frozenset({"test"}))
    assert [(t.case.dtype, t.seed, t.generated) for t in trials([case], [case], [1, 2])] == [
        ("float32", 1, False),
        ("float16", 2, False),
        ("float32", 1, True),
    ]


def test_a_family_without_test_cases_says_so(make_operator: Callable[..., Operator], tmp_path: Path) -> None:
    operator = make_operator(cases=None)
    with pytest.raises(CatalogError, match="no case to check"):
        evaluate(operator, operator.versions[0].path, find_sandbox(), [1], lambda _: None, interpret=True)


def test_a_writer_that_is_missing_or_hangs_is_ended() -> None:
    assert converse(["no-such-writer"], "prompt", {}, 5).returncode == 127
    assert converse(["cat"], "prompt", {}, 5) == (0, "prompt")
    with pytest.raises(subprocess.TimeoutExpired):
        converse([sys.executable, "-c", "import time; time.sleep(60)"], "prompt", {}, 0.5)


@pytest.mark.slow
def test_the_project_s_newest_version_passes(checkout: Path) -> None:
    operator = load_operator(checkout, "rms_norm")
    found = evaluate(operator, operator.versions[-1].path, find_sandbox(), [1], lambda _: None, interpret=True)
    assert found.reasons() == []
    assert found.compared > 0

"""The gates: what the linter may not see is found by running a candidate, away from its judge."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rooflift.errors import CatalogError
from rooflift.measure.evaluate import Evaluation, evaluate, odd_cases, trials
from rooflift.process import converse
from rooflift.project.cases import Case
from rooflift.project.operator import Operator, load_operator
from rooflift.sandbox.sandbox import find_sandbox

LAUNCH = "twice[(1,)](x, y, x.numel(), BLOCK=64)"
DISHONEST = {
    "second_call": """if not hasattr(self, "kept"):
            twice[(1,)](x, y, x.numel(), BLOCK=64)
            self.kept = y.clone()
        y = self.kept.clone()""",
    "result_overwritten": """if not hasattr(self, "kept"):
            self.kept = y
        y = self.kept
        twice[(1,)](x, y, x.numel(), BLOCK=64)""",
    "inputs_changed": "twice[(1,)](x, y, x.numel(), BLOCK=64); x.zero_()",
    "default_stream": """import threading, time
        def later():
            time.sleep(0.2)
            twice[(1,)](x, y, x.numel(), BLOCK=64)
        threading.Thread(target=later).start()""",
    "threads": """import threading, time
        twice[(1,)](x, y, x.numel(), BLOCK=64)
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()""",
    "result_type": """class Lazy(torch.Tensor):
            pass
        twice[(1,)](x, y, x.numel(), BLOCK=64)
        y = y.as_subclass(Lazy)""",
}


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


@pytest.mark.parametrize("gate", DISHONEST)
def test_a_dishonest_reply_is_found(gate: str, through: Callable[..., Evaluation]) -> None:
    found = through(launch=DISHONEST[gate])
    assert gate in gates_of(found)
    assert f"{gate}: " in found.reasons()[0]


def test_an_element_that_is_never_written_is_found(through: Callable[..., Evaluation]) -> None:
    found = through(store="tl.store(y_ptr + at, y.to(y_ptr.dtype.element_ty), mask=at < n - 1)")
    assert gates_of(found) == {"correctness"}
    assert "is nan, the reference gives" in found.reasons()[0]


def test_a_reply_that_knows_the_case_fails_on_an_odd_shape(
    make_operator: Callable[..., Operator], version_text: Callable[..., str], tmp_path: Path
) -> None:
    operator = make_operator()
    candidate = tmp_path / "candidate.py"
    candidate.write_text(version_text(launch="twice[(1,)](x, y, x.numel() if x.numel() == 15 else 0, BLOCK=64)"))
    found = evaluate(operator, candidate, find_sandbox(), [3], lambda _: None, interpret=True)
    assert gates_of(found) == {"correctness"}
    assert "small with inputs" in found.reasons()[0]


def test_what_a_reply_raises_is_told_with_its_line(through: Callable[..., Evaluation]) -> None:
    (reason,) = through(launch="raise ValueError('no such thing')").reasons()
    assert reason.startswith("runs: small float32 (seed 3): candidate.py:")
    assert "ValueError: no such thing" in reason


def test_a_reply_that_leaves_the_process_is_found(through: Callable[..., Evaluation]) -> None:
    (reason,) = through(launch="import os; print('farewell', flush=True); os._exit(0)").reasons()
    assert "ended before it had a result" in reason


@pytest.mark.parametrize("forged", ['{"early": 1}', "[]", '{"types": ["Tensor"], "threads": 0, "inputs": [0]}'])
def test_a_reply_that_writes_its_own_results_is_found(forged: str, through: Callable[..., Evaluation]) -> None:
    found = through(launch=f"import os; torch.save({forged}, 'results/0.pt'); os._exit(0)")
    assert gates_of(found) == {"runs"}


def test_a_reply_that_crashes_is_told_with_its_last_words(through: Callable[..., Evaluation]) -> None:
    (reason,) = through(launch="import os; print('farewell', flush=True); os._exit(7)").reasons()
    assert "ended with code 7" in reason
    assert "farewell" in reason


def test_odd_shapes_change_one_dimension_together_in_all_inputs() -> None:
    case = Case("add", {}, [[4, 6], [4, 6]], ("float32", "float16"), frozenset({"test"}))
    for seed in range(20):
        (odd,) = odd_cases([case], seed)
        assert odd.inputs is not None
        one, other = odd.inputs
        assert one == other != [4, 6]
        assert one[0] == 4
        assert one[1] % 2 == 1
    assert [(t.case.dtype, t.seed, t.generated) for t in trials([case], [1, 2])] == [
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


def test_the_project_s_newest_version_passes(checkout: Path) -> None:
    operator = load_operator(checkout, "rms_norm")
    found = evaluate(operator, operator.versions[-1].path, find_sandbox(), [1], lambda _: None, interpret=True)
    assert found.reasons() == []
    assert found.compared > 0

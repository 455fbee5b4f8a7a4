"""Versions as launch plans: what loads a version has no say in its check, and timed calls cannot be told apart."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import msgspec
import pytest
import torch

from rooflift.errors import KernelFault, WrongResult
from rooflift.measure import children, session
from rooflift.measure.children import Measurement
from rooflift.measure.request import Request
from rooflift.project.operator import Operator
from rooflift.sandbox.sandbox import find_sandbox
from rooflift.schema import MeasureOptions
from rooflift.worker.launch_plan import Buffer, Copy, Fill, LaunchPlan, Region, Returned
from rooflift.worker.protocol import Plan
from rooflift.worker.replay import as_bytes, damage, memory
from rooflift.worker.replayed import Replayed, Rotating

INTERPRET = {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
FORGES = """
import rooflift.worker.correctness
rooflift.worker.correctness.compare = lambda *_, **__: (0.0, 0.0, 0.0)
"""
IN, OUT = (Region(buffer, 0, (4,), (1,), "float32") for buffer in (0, 1))
COPIES = LaunchPlan(
    buffers=(Buffer("input", 16), Buffer("fresh", 16)), steps=(Copy(OUT, IN),), results=(Returned("", OUT),)
)


@pytest.fixture
def checked(
    make_operator: Callable[..., Operator], version_text: Callable[..., str], ask: Callable[..., Request]
) -> Callable[..., Measurement]:
    """Return a function: what the check of a version says that was recorded in a process of its own."""

    def run(replayed: bool = True, trusted: Sequence[str] = (), **parts: str) -> Measurement:
        asked = ask(make_operator(version_text(**parts)))
        request = replace(asked, sandbox=find_sandbox(), trusted=trusted)
        plan = Plan(
            work=[case.with_dtype("float32") for case in request.cases],
            options=MeasureOptions(seeds=1),
            replayed=replayed,
            trusted=list(trusted),
        )
        seen = Measurement()
        with children.staged(request.operator, request.versions, plan) as stage:
            if replayed:
                asyncio.run(session.record(request, plan, stage, lambda _: None, INTERPRET))
            asyncio.run(children.run_worker(stage, "check", INTERPRET, seen, lambda _: None))
        return seen

    return run


def test_a_version_is_checked_by_its_plan(checked: Callable[..., Measurement]) -> None:
    (record,) = checked().checks
    assert (record.version, record.case) == ("v0_probe", "small")


def test_a_version_that_replaces_the_comparison_replaces_it_in_its_own_process(
    checked: Callable[..., Measurement],
) -> None:
    wrong = {"top": FORGES, "store": "tl.store(y_ptr + at, (y + 1).to(y_ptr.dtype.element_ty), mask=at < n)"}
    with pytest.raises(WrongResult):
        checked(**wrong)


def test_a_trusted_version_needs_no_plan(checked: Callable[..., Measurement]) -> None:
    (record,) = checked(trusted=["v0_probe"], launch="y = x * 2").checks  # aten::mul has no plan
    assert record.version == "v0_probe"


@pytest.mark.slow
def test_a_version_without_a_plan_says_why(checked: Callable[..., Measurement]) -> None:
    with pytest.raises(KernelFault, match="forward calls aten::mul"):
        checked(launch="y = x * 2")


def test_timed_calls_take_the_inputs_in_turn_and_find_other_values_in_the_output() -> None:
    pool = [[torch.full((4,), float(n))] for n in (1, 2, 3)]
    timed = Rotating(Replayed(COPIES, {}, lambda *_: lambda: None, "cpu"), pool)
    for expected in (2.0, 3.0, 1.0):
        timed.before()
        (left,), _ = timed.last()
        assert not torch.equal(left.value, pool[timed.turn][0])
        timed()
        (got,), (given,) = timed.last()
        assert got.value.tolist() == given.tolist() == [expected] * 4


def test_a_version_that_leaves_its_output_alone_is_wrong_after_timing() -> None:
    """It writes one element, and finds in the others what no call has left there."""
    one = Fill(Region(1, 0, (1,), (1,), "float32"), 1.0)
    lazy = msgspec.structs.replace(COPIES, steps=(one,))
    timed = Rotating(Replayed(lazy, {}, lambda *_: lambda: None, "cpu"), [[torch.ones(4)]])
    timed.before()
    timed()
    (left,), _ = timed.last()
    assert left.value.tolist() != [1.0] * 4


def test_results_of_random_timed_calls_are_compared_besides_the_last() -> None:
    """This one computes in the last call alone."""
    timed = Rotating(Replayed(COPIES, {}, lambda *_: lambda: None, "cpu"), [[torch.ones(4)]])
    timed.draw = random.Random(3)  # type: ignore[assignment]  # which rounds, so that the test is the same each time
    for number in range(100):
        timed.before()
        if number == 99:
            timed()
        timed.after()
    *kept, last = [got[0].value.tolist() for got, _ in timed.left()]
    assert last == [1.0] * 4
    assert len(kept) == 2
    assert all(values != last for values in kept)


def test_timed_calls_find_nothing_of_an_earlier_one_in_other_memory() -> None:
    """The call copies its input to the output and to a second block, which is no result."""
    other = Region(2, 0, (4,), (1,), "float32")
    keeps = msgspec.structs.replace(
        COPIES, buffers=(*COPIES.buffers, Buffer("fresh", 16)), steps=(Copy(OUT, IN), Copy(other, IN))
    )
    timed = Rotating(Replayed(keeps, {}, lambda *_: lambda: None, "cpu"), [[torch.ones(4)]])
    (block,) = timed.scratch
    for _ in range(3):
        block.copy_(torch.arange(16))
        timed.before()
        assert len(set(block.tolist())) == 1


def test_memory_that_a_judged_call_keeps_for_the_next_one_is_damaged() -> None:
    """In parts: what is kept of the inputs may be whole where what is kept of the results is not."""
    given = msgspec.structs.replace(COPIES, buffers=(*COPIES.buffers, Buffer("fresh", 64)))
    held = memory(given, [torch.ones(4)], {}, "cpu")
    block = as_bytes(held.storages[2])
    block.zero_()
    shares = set()
    for seed in range(1, 20):
        block.zero_()
        damage(given, held, seed, first=False)
        shares.add(float((block == seed).float().mean()))
    assert {0.5} < shares

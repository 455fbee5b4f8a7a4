"""The state of a loop: which iteration comes next, what the agent is told, and what a journal may look like."""

from __future__ import annotations

import ast
from pathlib import Path

import msgspec
import pytest

from rooflift.optimize.header import with_header
from rooflift.optimize.journal import (
    REPEATED,
    Iteration,
    Skipped,
    Started,
    State,
    Step,
    Stopped,
    iterations_text,
    outcome,
    read_journal,
    spent_text,
    state_of,
    untried_text,
)
from rooflift.project.header import parse_header

STARTED = Started(
    operator="twice", base="v0_probe", base_sha256="00", stages=["grid", "memory"], iterations=2, gpu="H100", seed=1
)


def failed(number: int, stage: str = "grid", why: str = "too slow") -> Iteration:
    return Iteration(number=number, stage=stage, base="v0_probe", at="verdict", why=[why])


def kept(number: int, version: str, stage: str = "grid") -> Iteration:
    return Iteration(number=number, stage=stage, base="v0_probe", at=None, why=[], version=version, time_x=0.5)


def test_every_stage_has_its_iterations_in_turn() -> None:
    entries = [STARTED, failed(1), kept(2, "v1_grid"), failed(3, "memory")]
    steps = [state_of(entries[: n + 1]).next_steps()[0] for n in range(4)]
    assert steps == [
        Step(1, "grid", "v0_probe"),
        Step(2, "grid", "v0_probe"),
        Step(3, "memory", "v1_grid"),
        Step(4, "memory", "v1_grid"),
    ]
    assert state_of([*entries, failed(4, "memory")]).next_steps() == []
    assert state_of([*entries, Stopped("at the roof", "")]).next_steps() == []


def test_candidates_start_from_the_fastest_versions_in_turn() -> None:
    started = msgspec.structs.replace(STARTED, candidates=3, beam=2)

    def timed(number: int, version: str, time_us: float) -> Iteration:
        return msgspec.structs.replace(kept(number, version), time_us=time_us)

    state = state_of([started])
    assert [step.base for step in state.next_steps()] == ["v0_probe"] * 3
    first = [timed(1, "v1_grid", 90.0), timed(2, "v2_grid", 80.0), failed(3)]
    # what an iteration has kept is for the next one; one that was cut off goes on from the same versions
    assert state_of([started, *first[:2]]).next_steps() == [Step(3, "grid", "v0_probe")]
    assert [step.base for step in state_of([started, *first]).next_steps()] == ["v2_grid", "v1_grid", "v2_grid"]
    assert [step.number for step in state_of([started, *first]).next_steps()] == [4, 5, 6]
    assert state_of([started, *first]).base == "v2_grid"
    second = [*first, timed(4, "v3_grid", 85.0), failed(5), failed(6)]
    assert [(s.stage, s.base) for s in state_of([started, *second]).next_steps()][:2] == [
        ("memory", "v2_grid"),
        ("memory", "v3_grid"),
    ]


def test_a_stage_that_is_passed_over_comes_once_more_in_the_end() -> None:
    entries = [STARTED, Skipped("grid", "DRAM"), failed(1, "memory"), failed(2, "memory")]
    stages = [[step.stage for step in state_of(entries[: n + 1]).next_steps()] for n in range(4)]
    assert stages == [["grid"], ["memory"], ["memory"], ["grid"]]
    assert state_of([*entries, Skipped("grid", "DRAM")]).next_steps() == []
    with pytest.raises(ValueError, match="out of place"):
        state_of([STARTED, failed(1), Skipped("grid", "in its midst")])


def test_without_a_base_iterations_are_for_the_first_version_until_one_is_kept() -> None:
    alone = msgspec.structs.replace(STARTED, base="", candidates=2, iterations=1)
    nothing = msgspec.structs.replace(failed(1, "algorithm"), base="")
    first = msgspec.structs.replace(kept(1, "v0_algorithm", "algorithm"), base="")
    assert state_of([alone]).next_steps() == [Step(1, "algorithm", ""), Step(2, "algorithm", "")]
    assert state_of([alone, nothing]).next_steps() == [Step(2, "algorithm", "")]
    assert state_of([alone, nothing, msgspec.structs.replace(nothing, number=2)]).next_steps() == []
    assert state_of([alone, first]).next_version == 1
    behind = state_of([alone, first, failed(2, "algorithm")])
    assert behind.next_steps() == [Step(3, "grid", "v0_algorithm"), Step(4, "grid", "v0_algorithm")]


def test_what_an_agent_took_is_told_as_far_as_it_says() -> None:
    one = msgspec.structs.replace(failed(1), agent_s=2.0, tokens_in=1200)
    assert spent_text([one, msgspec.structs.replace(one, number=2, tokens_out=5)]) == (
        "The agent took 4 s, 2,400 tokens in, 5 tokens out for 2 candidates."
    )
    assert spent_text([failed(1)]) == spent_text([]) == ""


def test_without_times_every_iteration_starts_from_the_base() -> None:
    state = state_of([msgspec.structs.replace(STARTED, gpu=None), kept(1, "v1_grid")])
    assert state.next_steps() == [Step(2, "grid", "v0_probe")]
    assert state.next_version == 2


def test_a_journal_comes_back_and_a_torn_line_is_left_out() -> None:
    entries = [STARTED, failed(1), Stopped("enough", "reports/run")]
    whole = b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries)
    assert read_journal(whole + b'{"type":"Iter') == (entries, len(whole))
    state = state_of(entries)
    assert (state.stopped, state.run) == ("enough", "reports/run")


@pytest.mark.parametrize("entries", [[], [failed(1)], [STARTED, failed(2)], [STARTED, STARTED]])
def test_a_journal_out_of_order_is_refused(entries: list[Started | Iteration]) -> None:
    with pytest.raises(ValueError, match="line"):
        state_of(entries)


def test_the_agent_is_told_the_last_iterations_with_their_reasons() -> None:
    assert iterations_text(State(STARTED)) == ""
    tried = [failed(number, why=f"reason-{number}\nand more") for number in range(1, REPEATED + 2)]
    text = iterations_text(State(STARTED, tried))
    assert "reason-1 " not in text
    assert "- 1 earlier ones are left out" in text
    many = msgspec.structs.replace(failed(1), why=[f"finding {n}" for n in range(9)])
    assert "  - 6 more reasons are left out" in iterations_text(State(STARTED, [many]))
    assert all(f"  - reason-{number} and more" in text for number in range(2, REPEATED + 2))
    assert "failed at verdict" in text
    assert "kept as v1_grid, 0.500x the time of v0_probe" in iterations_text(State(STARTED, [kept(1, "v1_grid")]))


@pytest.mark.parametrize(
    ("code", "title"),
    [
        ("import torch\n", "candidate of iteration 3"),
        ('"""Faster by a \\\\ "grid"."""\n\nfrom __future__ import annotations\n', "Faster by a ' 'grid'."),
        ('"""Good.\n\nStage:   tiling\nChange:  a\nWhy:     b\nExpect:  none\n"""\nimport torch\n', "Good."),
    ],
)
def test_a_kept_candidate_has_a_header_that_can_be_read(code: str, title: str) -> None:
    text, told = with_header(code, "grid", 3, {})
    tree = ast.parse(text)
    compile(text, "candidate", "exec")
    header = parse_header(tree, Path("candidate"))
    assert header.title == told == title
    assert header.stage == ("tiling" if title == "Good." else "grid")
    assert header.expect == ()


def test_a_candidate_that_the_interpreter_cannot_run_is_neither_kept_nor_told_as_a_failure() -> None:
    undecided = msgspec.structs.replace(failed(1), at="interpreter")
    assert outcome(undecided) == "neither accepted nor rejected: Triton's interpreter cannot run it"
    assert State(STARTED, [undecided]).kept == []


def test_sizes_that_no_evaluation_varied_are_named_once() -> None:
    one, other = (msgspec.structs.replace(failed(n), untried=["size D"]) for n in (1, 2))
    assert untried_text(State(STARTED, [one, other])) == (
        "No odd sizes were tried of: size D; cases.toml never varies them."
    )
    assert untried_text(State(STARTED, [failed(1)])) == ""

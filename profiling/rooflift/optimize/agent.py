"""The agent: whoever writes candidates. A command, or the built-in search for edits that needs no model."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from rooflift.errors import EnvironmentFault
from rooflift.optimize.question import Question
from rooflift.process import converse

SEARCH = "search"  # the built-in agent's name


class NoCandidate(Exception):
    """The agent failed or took too long; its text says which."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an agent answers, and what that took where it says so."""

    text: str
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost_usd: float | None = None


def ask_agent(agent: Sequence[str], question: Question, timeout_s: float | None) -> Answer:
    """Return an agent's candidate: "search" proposes an edit, anything else is a command that prints it.

    Raises:
        NoCandidate: it has none to give, ended with another code than 0, or not within `timeout_s`.
        EnvironmentFault: there is no such command, or the search's parser is not installed.
    """
    if list(agent) == [SEARCH]:
        return Answer(_searched(question))
    return Answer(_asked(agent, question, timeout_s))


def _asked(command: Sequence[str], question: Question, timeout_s: float | None) -> str:
    """Return what a command prints; it finds iteration and stage in ROOFLIFT_ITERATION and ROOFLIFT_STAGE."""
    told = {"ROOFLIFT_ITERATION": str(question.number), "ROOFLIFT_STAGE": question.stage}
    try:
        ended = converse(command, question.prompt, told, timeout_s)
    except subprocess.TimeoutExpired:
        raise NoCandidate(f"the agent gave no candidate within {timeout_s:g} s") from None
    if ended.returncode == 127:
        raise EnvironmentFault(f"the agent {command[0]!r} cannot be started: {ended.output}", "Name a command on PATH.")
    if ended.returncode != 0:
        raise NoCandidate(f"the agent ended with code {ended.returncode}")
    return ended.output


def _searched(question: Question) -> str:
    try:
        from rooflift.optimize.search.policy import NothingLeft, Start, propose
    except ImportError:
        raise EnvironmentFault("the search agent needs libcst", 'Install it: pip install "rooflift[search]".') from None
    start = Start(
        name=question.base,
        code=question.code,
        figures=question.figures,
        sm_count=question.sm_count,
        seed=question.seed,
    )
    try:
        return propose(start, question.tried, question.stage, question.accepts)
    except NothingLeft as end:
        raise NoCandidate(str(end)) from None

"""The agent: whoever writes candidates. A command, an endpoint, or the built-in search for edits without a model."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from rooflift.errors import EnvironmentFault
from rooflift.optimize.answer import Answer, NoCandidate
from rooflift.optimize.endpoint import PREFIX, ask_endpoint
from rooflift.optimize.question import Question
from rooflift.process import converse

SEARCH = "search"  # the built-in agent's name


def ask_agent(agent: Sequence[str], question: Question, timeout_s: float | None, base_url: str | None) -> Answer:
    """Return an agent's candidate: "search" proposes an edit, "openai:MODEL" is asked, a command prints it.

    Raises:
        NoCandidate: it has none to give, ended with another code than 0, or not within `timeout_s`.
        EnvironmentFault: there is no such command, or what the agent needs is not installed or set.
    """
    if list(agent) == [SEARCH]:
        return Answer(_searched(question))
    if len(agent) == 1 and agent[0].startswith(PREFIX):
        return ask_endpoint(agent[0].removeprefix(PREFIX), question.prompt, base_url, timeout_s)
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

"""The agent: whoever writes candidates. A command, an endpoint, or the built-in search for edits without a model."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from rooflift.errors import EnvironmentFault
from rooflift.files import read_regular
from rooflift.lint.candidate import is_cut_off
from rooflift.optimize.answer import Answer, NoCandidate
from rooflift.optimize.endpoint import ATTEMPTS, PREFIX, SHORTER, ask_endpoint
from rooflift.optimize.question import Question
from rooflift.process import converse
from rooflift.schema import Amount, Count

MOST_USAGE = 1 << 16  # bytes
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
    return _asked(agent, question, timeout_s)


class Usage(msgspec.Struct, frozen=True):
    """What a command may write to the file that ROOFLIFT_USAGE names, as JSON."""

    tokens_in: Count | None = None
    tokens_out: Count | None = None
    cost_usd: Amount | None = None


def _asked(command: Sequence[str], question: Question, timeout_s: float | None) -> Answer:
    """Return what a command prints; one whose code block does not end is asked for again, as an endpoint's is."""
    spent, prompt = Answer(""), question.prompt
    for _ in range(ATTEMPTS):
        text, usage = _printed(command, question, prompt, timeout_s)
        spent = spent.plus(text, usage.tokens_in, usage.tokens_out, usage.cost_usd)
        if not is_cut_off(text):
            break
        prompt = f"{question.prompt}\n\n{SHORTER}\n"
    return spent


def _printed(command: Sequence[str], question: Question, prompt: str, timeout_s: float | None) -> tuple[str, Usage]:
    """Run a command; it finds iteration, stage and the file for its usage in its environment."""
    told = {"ROOFLIFT_ITERATION": str(question.number), "ROOFLIFT_STAGE": question.stage}
    with tempfile.TemporaryDirectory() as folder:
        usage = Path(folder, "usage.json")
        text = _run(command, prompt, {**told, "ROOFLIFT_USAGE": str(usage)}, timeout_s)
        try:
            return text, msgspec.json.decode(read_regular(usage, MOST_USAGE), type=Usage)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):  # it says nothing, or nothing of use
            return text, Usage()


def _run(command: Sequence[str], prompt: str, told: dict[str, str], timeout_s: float | None) -> str:
    try:
        ended = converse(command, prompt, told, timeout_s)
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

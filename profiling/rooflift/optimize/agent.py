"""The agent: a command that gets a prompt on its standard input and prints a candidate."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from rooflift.errors import EnvironmentFault
from rooflift.process import converse


class NoCandidate(Exception):
    """The agent failed or took too long; its text says which."""


def ask_agent(command: Sequence[str], prompt: str, number: int, stage: str, timeout_s: float | None) -> str:
    """Return what the agent prints; it finds iteration and stage in ROOFLIFT_ITERATION and ROOFLIFT_STAGE.

    Raises:
        NoCandidate: it ended with another code than 0, or not within `timeout_s`.
        EnvironmentFault: there is no such command.
    """
    try:
        ended = converse(command, prompt, {"ROOFLIFT_ITERATION": str(number), "ROOFLIFT_STAGE": stage}, timeout_s)
    except subprocess.TimeoutExpired:
        raise NoCandidate(f"the agent gave no candidate within {timeout_s:g} s") from None
    if ended.returncode == 127:
        raise EnvironmentFault(f"the agent {command[0]!r} cannot be started: {ended.output}", "Name a command on PATH.")
    if ended.returncode != 0:
        raise NoCandidate(f"the agent ended with code {ended.returncode}")
    return ended.output

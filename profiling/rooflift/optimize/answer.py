"""What an agent answers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answer:
    """A text, and what it took where the agent says so."""

    text: str
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost_usd: float | None = None


class NoCandidate(Exception):
    """The agent failed or took too long; its text says which, `spent` what that took."""

    def __init__(self, why: str, spent: Answer | None = None) -> None:
        super().__init__(why)
        self.spent = spent or Answer("")

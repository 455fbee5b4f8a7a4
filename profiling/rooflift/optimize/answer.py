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

    def plus(self, text: str, tokens_in: int | None, tokens_out: int | None, cost_usd: float | None) -> Answer:
        """Return a later answer with what both took; what neither tells stays unknown."""
        pairs = ((self.tokens_in, tokens_in), (self.tokens_out, tokens_out), (self.cost_usd, cost_usd))
        added = [a if b is None else b if a is None else a + b for a, b in pairs]
        return Answer(text, *added)  # type: ignore[arg-type]


class NoCandidate(Exception):
    """The agent failed or took too long; its text says which, `spent` what that took."""

    def __init__(self, why: str, spent: Answer | None = None) -> None:
        super().__init__(why)
        self.spent = spent or Answer("")

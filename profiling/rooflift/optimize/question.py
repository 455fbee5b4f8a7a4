"""What an agent is asked: the prompt for those who read, code and figures and earlier candidates for a search."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

TITLE = "Search: "  # how the titles of a search's candidates begin


@dataclass(frozen=True, slots=True)
class Tried:
    """An earlier candidate: the version it started from, its title, and how it ended."""

    base: str
    title: str
    kept: bool
    ran: bool  # it came as far as being timed


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What an agent is asked: a command reads the prompt, the search reads the code and how others ended."""

    prompt: str
    number: int  # of the iteration
    stage: str
    base: str  # the version's name
    code: str
    figures: Mapping[str, object]  # of the version on its case
    sm_count: int
    seed: str
    tried: Sequence[Tried]
    accepts: Callable[[str], bool]  # whether lint lets a file pass

    def with_prompt(self, prompt: str) -> Question:
        """Return the question with another prompt."""
        return replace(self, prompt=prompt)


def title_of(code: str) -> str:
    """Return the title that a candidate of the search carries, "" of any other text."""
    first = code.lstrip().removeprefix('"""').split("\n")[0]
    return first.removeprefix(TITLE) if first.startswith(TITLE) else ""

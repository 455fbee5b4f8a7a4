"""A prompt as Markdown of bounded length."""

from __future__ import annotations

import json
from collections.abc import Mapping

import msgspec

from rooflift.escape import environment

MOST_PROMPT = 120_000  # characters; what is beyond them is left out, and named


def markdown(told: msgspec.Struct) -> str:
    """Return a prompt as Markdown."""
    templates = environment("rooflift.optimize")
    templates.filters["figure"] = figure
    templates.filters["json"] = lambda value: json.dumps(value, indent=2)
    return templates.get_template("prompt.md.j2").render(msgspec.structs.asdict(told))


def within(text: str, parts: Mapping[str, str], most: int = MOST_PROMPT) -> str:
    r"""Return a prompt with those parts that fit into so many characters, in their order, and what was left out.

    >>> within("prompt", {"lessons": " a", "example": " much longer"}, most=10)
    'prompt a\nLeft out, as the prompt would be too long: example.\n'
    """
    left = []
    for name, part in parts.items():
        if len(text) + len(part) <= most:
            text += part
        else:
            left.append(name)
    return text + (f"\nLeft out, as the prompt would be too long: {', '.join(left)}.\n" if left else "")


def figure(value: float | str) -> str:
    """Return a number as people read it, a text as it stands."""
    return value if isinstance(value, str) else f"{value:.10g}"

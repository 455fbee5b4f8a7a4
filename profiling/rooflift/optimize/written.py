"""A prompt as Markdown of bounded length."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from rooflift.escape import environment, printable

MOST_PROMPT = 120_000  # characters; what is beyond them is left out, and named
LEAST_NEEDED: dict[str, tuple[str, Any]] = {  # fields of a prompt, how they are called, what stands in their place
    "estimated": ("the estimate for the target", []),
    "missing": ("the metrics without a value", {}),
    "metrics": ("the metrics beyond those of the stage", {}),
    "tried": ("the versions before", []),
    "hot_lines": ("the hot lines", []),
}


def markdown(told: msgspec.Struct, most: int = MOST_PROMPT) -> str:
    """Return a prompt as Markdown of at most so many characters, with what was left out for it.

    What the next version needs least goes first; code and reference are cut where all else is not enough.
    """
    fields, left = msgspec.structs.asdict(told), list[str]()
    text = _rendered(fields, left)
    for name, (what, emptied) in LEAST_NEEDED.items():
        if len(text) <= most:
            break
        if fields[name]:
            fields, left = {**fields, name: emptied}, [*left, what]
            text = _rendered(fields, left)
    for name in ("reference", "code"):
        if len(text) > most and len(fields[name]) > most // 4:
            cut = fields[name][: max(most // 4, len(fields[name]) - (len(text) - most))]
            left = [*left, f"the last {len(fields[name]) - len(cut):,} characters of the {name}"]
            fields = {**fields, name: cut}
            text = _rendered(fields, left)
    return text


def _rendered(fields: dict[str, Any], left: Sequence[str]) -> str:
    templates = environment("rooflift.optimize")
    templates.filters["figure"] = figure
    templates.filters["as_data"] = as_data
    templates.filters["json"] = lambda value: json.dumps(value, indent=2)
    return templates.get_template("prompt.md.j2").render(fields, left_out=left)


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


def as_data(text: str, language: str = "text") -> str:
    """Return a text in a fence that nothing in it can close.

    >>> print(as_data("```"))
    ````text
    ```
    ````
    """
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, 1 + longest)
    return f"{fence}{language}\n{printable(text)}\n{fence}"


def figure(value: float | str) -> str:
    """Return a number as people read it, a text as it stands."""
    return value if isinstance(value, str) else f"{value:.10g}"

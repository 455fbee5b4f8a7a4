"""What the lint asks of a candidate, read from rules.toml: the sentences that prompts print, too."""

from __future__ import annotations

from functools import cache
from importlib import resources

import msgspec

from rooflift.project.stages import Text


@cache
def rules() -> dict[str, str]:
    """Return what `rooflift lint` asks of a candidate: the rule's name as in a finding, and its demand."""
    text = resources.files("rooflift.lint").joinpath("rules.toml").read_bytes()
    return msgspec.toml.decode(text, type=dict[str, Text])

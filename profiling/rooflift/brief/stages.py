"""The stages of the loop, read from stages.toml."""

from __future__ import annotations

from functools import cache
from importlib import resources

import msgspec

from rooflift.errors import CatalogError, did_you_mean


class Stage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One stage: what it is about, and the rules that a reply must meet beyond the general ones."""

    title: str
    check_rules: tuple[str, ...]


@cache
def stages() -> dict[str, Stage]:
    """Return the stages by name, in their order."""
    text = resources.files("rooflift.brief").joinpath("stages.toml").read_bytes()
    return msgspec.toml.decode(text, type=dict[str, Stage])


def stage(name: str) -> Stage:
    """Return one stage.

    Raises:
        CatalogError: there is none of this name; near names are suggested.
    """
    if name not in stages():
        raise CatalogError(f"no stage {name!r}", did_you_mean(name, stages()))
    return stages()[name]

"""The stages of the loop, read from stages.toml: what each is about, the metrics it looks at, its rules."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Annotated

import msgspec

from rooflift.errors import CatalogError, did_you_mean
from rooflift.project.header import Prediction, parse_prediction

Text = Annotated[str, msgspec.Meta(min_length=1)]


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A metric that a stage looks at: its registry name, the threshold (`> 60`) if it has one, and why."""

    name: str
    why: Text
    want: str | None = None

    def __post_init__(self) -> None:
        if self.want is not None:
            parse_prediction(f"{self.name} {self.want}")

    @property
    def threshold(self) -> Prediction | None:
        """The threshold as something that holds or does not."""
        return parse_prediction(f"{self.name} {self.want}") if self.want else None


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A rule of a stage, and the metrics that tell whether it applies."""

    text: Text
    reads: tuple[str, ...] = ()


class Every(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What holds in all stages."""

    safety: tuple[Text, ...]
    autotune: tuple[Text, ...]


class Stage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One stage: what it is about, what it looks at, and the rules of a candidate beyond the general ones."""

    title: Text
    focus: Text
    addresses: tuple[Text, ...] = ()  # bottlenecks, and stalls of latency, for which it is the first to try
    helps_with: tuple[Text, ...] = ()  # and for which it is the next
    same_work: bool = False  # it changes neither the bytes that are moved nor the instructions
    products: bool = False  # it is about products of matrices
    metrics: Annotated[tuple[Wanted, ...], msgspec.Meta(min_length=1)]
    rules: Annotated[tuple[Rule, ...], msgspec.Meta(min_length=1)]
    safety: tuple[Text, ...] = ()
    autotune: tuple[Text, ...] = ()
    lint_rules: tuple[str, ...]

    def __post_init__(self) -> None:
        looked_at = {metric.name for metric in self.metrics}
        for name in (name for rule in self.rules for name in rule.reads):
            if name not in looked_at:
                raise ValueError(f"{self.title}: a rule reads {name}, which is none of the stage's metrics")


@cache
def stages() -> dict[str, Stage]:
    """Return the stages by name, in their order; what holds in every stage stands in each."""
    text = resources.files("rooflift.project").joinpath("stages.toml").read_bytes()
    return parse_stages(text)


def parse_stages(text: bytes) -> dict[str, Stage]:
    """Read stages from TOML.

    Raises:
        msgspec.ValidationError: a field is missing, unknown or of another type, a threshold cannot be
            read, or a rule reads a metric that its stage does not look at.
    """
    tables = msgspec.toml.decode(text, type=dict[str, dict[str, object]])
    every = msgspec.convert(tables.pop("every"), Every)
    found = msgspec.convert(tables, dict[str, Stage])
    return {
        name: msgspec.structs.replace(s, safety=every.safety + s.safety, autotune=every.autotune + s.autotune)
        for name, s in found.items()
    }


def stages_for(bottleneck: str) -> list[str]:
    """Return the stages that address a bottleneck, the one to try first in front; [] where none does.

    Example:
        >>> stages_for("DRAM")
        ['memory', 'tiling', 'tuning']
    """
    first = [name for name, found in stages().items() if bottleneck in found.addresses]
    return first + [name for name, found in stages().items() if bottleneck in found.helps_with]


def stage(name: str) -> Stage:
    """Return one stage.

    Raises:
        CatalogError: there is none of this name; near names are suggested.
    """
    if name not in stages():
        raise CatalogError(f"no stage {name!r}", did_you_mean(name, stages()))
    return stages()[name]

"""What the shell completes: operators, runs, GPUs, stages. An empty list where there is nothing to complete."""

from __future__ import annotations

from collections.abc import Iterable

from rooflift.api import names


def operators(incomplete: str) -> list[str]:
    """Return the operators of the project at or above the working directory."""
    return _beginning(incomplete, names.operators())


def runs(incomplete: str) -> list[str]:
    """Return the runs below reports/, and the operators, which stand for their newest."""
    return _beginning(incomplete, [*names.runs(), *names.operators()])


def gpus(incomplete: str) -> list[str]:
    """Return the keys of the GPU specs."""
    return _beginning(incomplete, names.gpus())


def stages(incomplete: str) -> list[str]:
    """Return the stages."""
    return _beginning(incomplete, names.stages())


def dtypes(incomplete: str) -> list[str]:
    """Return the dtypes."""
    return _beginning(incomplete, names.dtypes())


def metric_sets(incomplete: str) -> list[str]:
    """Return the sets of metrics."""
    return _beginning(incomplete, names.metric_sets())


def _beginning(incomplete: str, known: Iterable[str]) -> list[str]:
    return [name for name in known if name.startswith(incomplete)]

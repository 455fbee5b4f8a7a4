"""What the shell completes: operators, runs, GPUs, stages. An empty list where there is nothing to complete."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rooflift.errors import CatalogError


def operators(incomplete: str) -> list[str]:
    """Return the operators of the project at or above the working directory."""
    from rooflift.project.operator import find_root, operator_names

    try:
        return _beginning(incomplete, operator_names(find_root(Path.cwd())))
    except CatalogError:
        return []


def runs(incomplete: str) -> list[str]:
    """Return the runs below reports/, and the operators, which stand for their newest."""
    from rooflift.runs.find import find_runs

    return _beginning(incomplete, (path.name for path in find_runs(Path.cwd() / "reports"))) + operators(incomplete)


def gpus(incomplete: str) -> list[str]:
    """Return the keys of the GPU specs."""
    from rooflift.project.gpus import specs

    return _beginning(incomplete, specs())


def stages(incomplete: str) -> list[str]:
    """Return the stages."""
    from rooflift.project.stages import stages as known

    return _beginning(incomplete, known())


def dtypes(incomplete: str) -> list[str]:
    """Return the dtypes."""
    from rooflift.dtypes import DTYPES

    return _beginning(incomplete, DTYPES)


def metric_sets(incomplete: str) -> list[str]:
    """Return the sets of metrics."""
    from rooflift.ncu.metrics import METRIC_SETS

    return _beginning(incomplete, METRIC_SETS)


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]

"""The names that can be given: operators, runs, GPUs, stages, dtypes, metric sets. Imports what is asked for alone."""

from __future__ import annotations

from pathlib import Path

from rooflift.errors import CatalogError
from rooflift.project.settings import reports_folder


def operators() -> list[str]:
    """Return the operators and ladders of the project at or above the working directory, none without a project."""
    from rooflift.project.operator import operator_names

    top = _project()
    return operator_names(top) if top else []


def runs() -> list[str]:
    """Return the names of the project's runs."""
    from rooflift.runs.find import find_runs

    top = _project()
    return [path.name for path in find_runs(reports_folder(top))] if top else []


def gpus() -> list[str]:
    """Return the keys of the GPU specs."""
    from rooflift.project.gpus import specs

    return [*specs()]


def stages() -> list[str]:
    """Return the stages of the loop."""
    from rooflift.project.stages import stages as known

    return [*known()]


def dtypes() -> list[str]:
    """Return the dtypes."""
    from rooflift.dtypes import DTYPES

    return [*DTYPES]


def metric_sets() -> list[str]:
    """Return the sets of metrics."""
    from rooflift.ncu.metrics import METRIC_SETS

    return [*METRIC_SETS]


def _project() -> Path | None:
    from rooflift.project.operator import find_root

    try:
        return find_root(Path.cwd())
    except CatalogError:
        return None

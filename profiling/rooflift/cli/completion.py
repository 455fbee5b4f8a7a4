"""What the shell completes: operators, runs, GPUs, stages. An empty list where there is nothing to complete."""

from __future__ import annotations

from pathlib import Path

from rooflift.errors import CatalogError


def operators(incomplete: str) -> list[str]:
    """Return the operators of the project at or above the working directory."""
    from rooflift.project.operator import find_root, operator_names

    try:
        return [name for name in operator_names(find_root(Path.cwd())) if name.startswith(incomplete)]
    except CatalogError:
        return []


def runs(incomplete: str) -> list[str]:
    """Return the runs below reports/, and the operators, which stand for their newest."""
    from rooflift.runs.find import find_runs

    return [p.name for p in find_runs(Path.cwd() / "reports") if p.name.startswith(incomplete)] + operators(incomplete)


def gpus(incomplete: str) -> list[str]:
    """Return the keys of the GPU specs."""
    from rooflift.project.gpus import specs

    return [key for key in specs() if key.startswith(incomplete)]


def stages(incomplete: str) -> list[str]:
    """Return the stages."""
    from rooflift.project.stages import stages as known

    return [name for name in known() if name.startswith(incomplete)]

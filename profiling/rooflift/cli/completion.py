"""What the shell completes: families, runs, GPUs, stages. An empty list where there is nothing to complete."""

from __future__ import annotations

from pathlib import Path

from rooflift.errors import CatalogError


def families(incomplete: str) -> list[str]:
    """Return the families of the project at or above the working directory."""
    from rooflift.project.operator import family_names, find_root

    try:
        return [name for name in family_names(find_root(Path.cwd())) if name.startswith(incomplete)]
    except CatalogError:
        return []


def runs(incomplete: str) -> list[str]:
    """Return the runs below reports/, and the families, which stand for their newest."""
    from rooflift.runs.find import find_runs

    return [p.name for p in find_runs(Path.cwd() / "reports") if p.name.startswith(incomplete)] + families(incomplete)


def gpus(incomplete: str) -> list[str]:
    """Return the keys of the GPU sheets."""
    from rooflift.project.gpus import sheets

    return [key for key in sheets() if key.startswith(incomplete)]


def stages(incomplete: str) -> list[str]:
    """Return the stages."""
    from rooflift.project.stages import stages as known

    return [name for name in known() if name.startswith(incomplete)]

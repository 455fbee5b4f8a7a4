"""What many calls take: the project, a share, a GPU by its name, somebody who is told what is being done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from rooflift.analysis.thresholds import parse_share
from rooflift.errors import CatalogError
from rooflift.project import operator as project
from rooflift.project.gpus import GpuSpec, spec_for_key, spec_for_name
from rooflift.project.settings import FILE, read_settings

Share = float | str  # 0.02, "0.02" or "2%"
Say = Callable[[str], None]  # is told what is being done
TARGETS = (89, 90)  # compute capabilities of the RTX 4090 and the H100


def silent(text: str) -> None:
    """Say nothing."""


def project_root(root: Path | str | None = None) -> Path:
    """Return the project's folder: the nearest at or above `root`, by default the working directory, with kernels/.

    Raises:
        CatalogError: there is none.
    """
    return project.find_root(Path(root or Path.cwd()).resolve())


def project_of(path: Path | str, root: Path | str | None) -> Path | None:
    """Return the project's folder; None where none is found and `path` is a run folder, which can be read anywhere.

    Raises:
        CatalogError: there is none, and `path` is none, either.
    """
    try:
        return project_root(root)
    except CatalogError:
        if not (Path(path) / "run.json").exists():
            raise
        return None


def defaults(root: Path | str | None = None) -> dict[str, Any]:
    """Return [tool.rooflift.defaults] of the project, what options are where a command line says nothing; {} for none.

    Raises:
        CatalogError: a value is none that the option takes; with file and key.
    """
    from rooflift.measure.request import known_metric_set

    try:
        top = project_root(root)
    except CatalogError:
        return {}
    found: dict[str, Any] = msgspec.to_builtins(read_settings(top).defaults)
    judges: dict[str, Callable[[str], object]] = {"metrics": known_metric_set, "gpu": gpu, "precision": parse_share}
    for name, judge in judges.items():
        if name in found:
            try:
                judge(str(found[name]))
            except CatalogError as error:
                where = f"{top / FILE}: [tool.rooflift.defaults] {name}"
                raise CatalogError(f"{where}: {error.message}", error.remedy) from None
    return found


def share_of(value: Share | None) -> float | None:
    """Return 0.005 for 0.005 and for "0.5%", None for None.

    Raises:
        CatalogError: a text is no share.
    """
    return parse_share(value) if isinstance(value, str) else value


def gpu(name: str) -> GpuSpec:
    """Return the published figures of a GPU by its key ("h200", "rtx4090") or the name that the driver gives it.

    >>> import rooflift as rl
    >>> spec = rl.gpu("h200")
    >>> spec.sm_count, spec.dram_bytes_per_s / 1e12
    (132, 4.8)

    Raises:
        CatalogError: no GPU is called that; near names are suggested.
    """
    return spec_for_name(name) or spec_for_key(name.casefold())

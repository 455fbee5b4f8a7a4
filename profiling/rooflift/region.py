"""Marks what a script runs as a version on a case, for ncu. Runs in anybody's program, with its libraries."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rooflift.errors import CatalogError, EnvironmentFault

RANGE = "rooflift"  # the NVTX range around that of a version, which is what ncu is told to profile
SEPARATOR = "|"
UNDER_NCU = "ROOFLIFT_UNDER_NCU"  # set where `rooflift capture` runs ncu
_NAME = re.compile(r"[\w.+-]+")


@contextmanager
def region(version: str, case: str = "main", dtype: str = "unknown") -> Iterator[None]:
    """Mark what runs inside as a version on a case and in a dtype: `rooflift capture` makes a ladder of the regions.

    The region is an NVTX range of torch, if the program has imported it, else of the package nvtx. A program that no
    profiler looks at runs as without it. Run a version once before its region, so that what compiles or tunes it stays
    outside.

    >>> import rooflift as rl
    >>> with rl.region("v1", case="large"):
    ...     pass  # y = my_kernel(x)

    Raises:
        CatalogError: a name has other signs than letters, digits and `_.+-`.
        EnvironmentFault: under ncu, there is neither a torch with CUDA nor nvtx.
    """
    for what, name in (("version", version), ("case", case), ("dtype", dtype)):
        if not _NAME.fullmatch(name):
            raise CatalogError(f"region: {what} {name!r} is no name", "Names are of letters, digits and _.+-")
    label = SEPARATOR.join((version, case, dtype))
    trace = sys.modules.get("rooflift_trace")  # in the first run of `rooflift capture`
    marks = _marks()
    if trace is not None:
        trace.boundary()
    for text in (RANGE, label):
        marks[0](text)
    try:
        yield
    finally:
        if UNDER_NCU in os.environ:
            _synchronize()
        for _ in range(2):
            marks[1]()
        if trace is not None:
            trace.boundary(label)


def _marks() -> tuple[Callable[[str], object], Callable[[], object]]:
    """Return what begins and ends an NVTX range."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return torch.cuda.nvtx.range_push, torch.cuda.nvtx.range_pop
    try:
        import nvtx
    except ImportError:
        if UNDER_NCU in os.environ:
            raise EnvironmentFault(
                "no NVTX here: the program has imported no torch with CUDA, and the package nvtx is not installed",
                "Run `pip install nvtx` in the program's environment.",
            ) from None
        return lambda _: None, lambda: None
    return nvtx.push_range, nvtx.pop_range


def _synchronize() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.synchronize()

"""Memory of the device that a comparison needs, asked before it is taken."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

from rooflift.errors import CatalogError
from rooflift.project.cases import Case
from rooflift.worker.inputs import tensors
from rooflift.worker.results import Leaf, is_float

SPARE = 0.9  # of the free memory is taken at most: torch's allocator leaves gaps
WIDE = 8  # bytes of a float64


def free_bytes(device: str) -> int:
    """Return the memory that is free on a device, what torch's allocator holds unused among it."""
    import torch

    if device == "cuda":
        torch.cuda.empty_cache()
        return int(SPARE * torch.cuda.mem_get_info()[0])
    return int(SPARE * os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


@contextlib.contextmanager
def peak_bytes(device: str) -> Iterator[list[int]]:
    """Yield a list of one number, which is afterwards what was taken inside at most; 0 on the CPU, which tells none."""
    import torch

    taken = [0]
    if device != "cuda":
        yield taken
        return
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    yield taken
    taken[0] = torch.cuda.max_memory_allocated() - before


def parts(
    case: Case, device: str, inputs: list[Any], own: Sequence[Leaf], peak: int, rows: int
) -> Iterator[list[range]]:
    """Yield the rows that the reference can be run on at a time in float64: first none, which is all of them at once.

    What a run in float64 takes is judged by what the one in the working dtype took (`peak`, its inputs and results at
    least). Beside it lie the results in float64 and their spread, and afterwards what a version gives and its own run.
    A run in float64 may take more than that, where its algorithm is another one: then the next, of smaller parts, is
    for it. `rows` is the first dimension of a reference that works on each row by itself, 1 of any other.

    Raises:
        CatalogError: it does not fit, with what it would need.
    """
    given = [x for x in tensors(inputs) if is_float(x)]
    results = [leaf.value for leaf in own if is_float(leaf.value)]
    narrow = min((x.element_size() for x in (*given, *results)), default=WIDE)
    kept = sum(x.numel() for x in results) * (WIDE + 4)
    returned = sum(x.numel() * x.element_size() for x in results)
    least = returned + sum(x.numel() * x.element_size() for x in given)
    run, checked = max(peak, least) * WIDE // narrow, returned + max(peak, least)
    free = free_bytes(device)
    needed = kept + max(run, checked)
    if needed <= free:
        yield []
        count = 4
    else:
        count = -(-run // max((free - kept) // 2, 1))
    count = min(rows, count)
    if count > 1 and kept + max(run // count, checked) <= free:
        for some in (count, min(rows, 4 * count)):
            step = -(-rows // some)
            yield [range(start, min(start + step, rows)) for start in range(0, rows, step)]
    judged = (
        f"about {needed / 1e9:.3g} GB" if needed > free else f"more than the {needed / 1e9:.3g} GB that were judged"
    )
    raise CatalogError(
        f"{case.name} {case.dtype}: the comparison in float64 needs {judged}, {free / 1e9:.3g} are free",
        "Make the case smaller (sizes, constants), or compare on a GPU with more memory.",
    )

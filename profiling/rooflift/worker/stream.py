"""What moves the compulsory bytes of a case and does nothing else: the fastest of a few kernels, and a device copy."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rooflift.schema import Sampling
from rooflift.worker.timing import time_providers
from rooflift.worker.work import Traffic

CONFIGURATIONS = ((512, 4), (1024, 4), (2048, 8), (4096, 8))  # LANES, warps: 16 or 32 bytes a thread and load, or 64
MOST_LOADS = 4  # a lane; a case that reads more for a word that it writes is a reduction
TRIALS = 7  # rounds that choose the configuration
MEMORY_PROVIDERS = ("stream", "copy")
WORD_BYTES = 4
LINE = 32  # words, 128 bytes: programs begin at a line, which lets the compiler load 16 bytes at once


@dataclass(frozen=True, slots=True)
class Split:
    """How the words of a case are shared out among the programs of one launch of `stream`."""

    programs: int
    reads: int  # words a program
    writes: int
    source_words: int  # in all
    target_words: int
    loads: int  # of LANES words each
    summed: bool  # a program writes fewer words than it has lanes that read


def split(traffic: Traffic, lanes: int) -> Split:
    """Return the launch that reads and writes the words of a case, each once and in the case's proportion.

    A program writes a word a lane. Where a case reads more than `MOST_LOADS` times what it writes, a program reads so
    often and writes in proportion, at least one word. Sizes above a line are rounded up to lines.

    >>> split(Traffic(8192, 4096), 512)
    Split(programs=2, reads=1024, writes=512, source_words=2048, target_words=1024, loads=2, summed=False)
    """
    source_words, target_words = (_in_lines(math.ceil(size / WORD_BYTES)) for size in traffic)
    if source_words <= MOST_LOADS * target_words:
        writes = lanes
        reads = _in_lines(math.ceil(lanes * source_words / max(target_words, 1)))
    else:
        reads = lanes * MOST_LOADS
        share = reads * target_words // source_words
        writes = max(share if share < LINE else share // LINE * LINE, 1)
    reading = math.ceil(source_words / reads) if reads else 0
    if writes == 1:  # a program that wrote nothing would read for nothing
        target_words = max(target_words, reading)
    programs = max(reading, math.ceil(target_words / writes), 1)
    return Split(
        programs, reads, writes, source_words, target_words, math.ceil(reads / lanes), writes < min(reads, lanes)
    )


def _in_lines(words: int) -> int:
    return words if words < LINE else math.ceil(words / LINE) * LINE


def memory_calls(traffic: Traffic) -> dict[str, Callable[[], Any]]:
    """Return two calls that move the bytes of a case: "stream" as it reads and writes them, "copy" half and half.

    The kernels of `CONFIGURATIONS` are compiled, tried, and the fastest is "stream". Both calls share one buffer of the
    case's size, of random words.
    """
    import torch

    splits = {(lanes, warps): split(traffic, lanes) for lanes, warps in CONFIGURATIONS}
    words = max(shares.source_words + shares.target_words for shares in splits.values())
    buffer = torch.empty(words + 4 * LINE, dtype=torch.int32, device="cuda").random_()
    tried = {(lanes, warps): stream_call(buffer, shares, lanes, warps) for (lanes, warps), shares in splits.items()}
    timed = time_providers(tried, Sampling(seed=0, samples=TRIALS, precision=None, budget_s=0), "stream")
    best = min(tried, key=lambda one: sorted(timed.times_us[one])[TRIALS // 2])
    return dict(zip(MEMORY_PROVIDERS, (tried[best], copy_call(buffer, sum(traffic))), strict=True))


def stream_call(buffer: Any, shares: Split, lanes: int, warps: int) -> Callable[[], Any]:
    """Return the launch of `stream` from the front of a buffer of int32 to the words behind."""
    from rooflift.worker.roof_kernels import stream

    source, target = buffer, buffer[_in_lines(shares.source_words + LINE) :]
    sizes = (shares.reads, shares.writes, shares.source_words, shares.target_words)
    constants = {"LANES": lanes, "LOADS": shares.loads, "SUM": shares.summed}
    return lambda: stream[(shares.programs,)](source, target, *sizes, **constants, num_warps=warps)


def copy_call(buffer: Any, nbytes: int) -> Callable[[], Any]:
    """Return a device copy that moves `nbytes` in all, half read at the front of the buffer, half written behind."""
    import torch

    half = max(nbytes // 2, 1)
    begin = _in_lines(math.ceil(half / WORD_BYTES) + LINE)
    source, target = (part.view(torch.int8)[:half] for part in (buffer, buffer[begin:]))
    return lambda: target.copy_(source)

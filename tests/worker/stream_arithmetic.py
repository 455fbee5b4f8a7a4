"""Run in a process of its own: the stream kernel in Triton's interpreter moves each word of a case once."""

import os

os.environ["TRITON_INTERPRET"] = "1"

import torch

from rooflift.worker.stream import CONFIGURATIONS, split
from rooflift.worker.work import Traffic

LANES = 512
SENTINEL = -7
CASES = {
    "as much as it writes": Traffic(3 * 2048 + 64, 3 * 2048),
    "a little more than it writes": Traffic(4 * 1100, 4 * 1024),
    "three times as much": Traffic(4 * 3300, 4 * 1100),
    "a third": Traffic(4 * 1100, 4 * 3300),
    "nine times as much": Traffic(4 * 9000, 4 * 1000),
    "to one word": Traffic(4 * 5000, 4),
    "nothing": Traffic(0, 4 * 1500),
    "a few words": Traffic(12, 8),
}


def written(shares, source: torch.Tensor) -> torch.Tensor:
    from rooflift.worker.roof_kernels import stream

    target = torch.full((shares.target_words + LANES,), SENTINEL, dtype=torch.int32)
    sizes = (shares.reads, shares.writes, shares.source_words, shares.target_words)
    stream[(shares.programs,)](source, target, *sizes, LANES=LANES, LOADS=shares.loads, SUM=shares.summed)
    assert bool((target[shares.target_words :] == SENTINEL).all())  # nothing behind the case's words
    return target[: shares.target_words]


for name, traffic in CASES.items():
    shares = split(traffic, LANES)
    source = torch.zeros(max(shares.source_words, 1) + LANES, dtype=torch.int32)
    empty = written(shares, source)
    assert bool((empty != SENTINEL).all()), name  # every word is written
    source[shares.source_words :] = 1000
    assert torch.equal(written(shares, source), empty), name  # nothing is read behind the case's words
    # every word that is read changes what is written, but for those of the last program whose lanes have none to write
    reading = -(-shares.source_words // shares.reads) if shares.reads else 0
    last = (reading - 1) * shares.reads if reading > 1 else 1
    for at in sorted({0, last // 2, last - 1} if shares.source_words else ()):
        source[at] = 5000
        assert not torch.equal(written(shares, source), empty), (name, at)
        source[at] = 0
    whole = [(size + 3) // 4 for size in traffic]
    assert whole[0] <= shares.source_words < whole[0] + 32, name
    assert whole[1] <= shares.target_words <= max(whole[1] + 31, shares.programs), name

for lanes, _ in CONFIGURATIONS:  # the main case: one load a lane and a second one for the few words more
    shares = split(Traffic(1_073_744_128, 1_065_369_600), lanes)
    assert shares.programs * shares.reads >= shares.source_words
    assert shares.programs * shares.writes - shares.target_words < shares.writes
    assert (shares.writes, shares.loads, shares.summed) == (lanes, 2, False)

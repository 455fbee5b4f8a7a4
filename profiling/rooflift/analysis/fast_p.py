"""fast_p of KernelBench: the share of problems whose kernel is correct and more than p times as fast as torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

PS = (0.0, 0.5, 0.8, 1.0, 1.5, 2.0)


def fast_p(speedups: Mapping[str, float | None], ps: Sequence[float] = PS) -> dict[float, float]:
    """Return fast_p by p of problems with the speedup of each over torch; None where nothing correct was measured.

    fast_0 is the share that is correct (Ouyang et al., "KernelBench", 2025, section 3.3).

    >>> fast_p({"relu": 1.2, "softmax": 0.9, "conv": None}, [0, 1])
    {0: 0.6666666666666666, 1: 0.3333333333333333}
    """
    known = [speedup for speedup in speedups.values() if speedup is not None]
    return {p: sum(speedup > p for speedup in known) / len(speedups) if speedups else 0.0 for p in ps}

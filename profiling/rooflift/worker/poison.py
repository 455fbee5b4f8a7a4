"""Memory that nobody has written holds NaN, and torch takes deterministic algorithms: how results are checked."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def poisoned_memory() -> Iterator[None]:
    """Fill what torch.empty and its kin return with NaN, so that an element that is never written is seen."""
    import torch

    # the debug mode is the switch behind use_deterministic_algorithms, without its import of the inductor (seconds)
    deterministic: Any = torch.utils.deterministic
    mode, filled = torch.get_deterministic_debug_mode(), deterministic.fill_uninitialized_memory
    torch.set_deterministic_debug_mode("warn")
    deterministic.fill_uninitialized_memory = True
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)
        deterministic.fill_uninitialized_memory = filled

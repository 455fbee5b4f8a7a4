"""The machine code of what a call launches, as one hash; without a GPU as well, where kernels are only compiled."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rooflift.compile.kernels import resolved_grid
from rooflift.compile.machine_code import machine_code_sha256


def launched_sha256(call: Callable[[], object]) -> str:
    """Run a call and return the SHA-256 of its Triton launches in order, "" when it launched no compiled kernel.

    Machine code, grid, warps and shared memory of each count, names and source lines do not.
    """
    with _recorded() as launches:
        call()
    return hashlib.sha256("\n".join(launches).encode()).hexdigest() if launches else ""


@contextmanager
def _recorded() -> Iterator[list[str]]:
    from triton.runtime.jit import JITFunction

    launches: list[str] = []
    run = JITFunction.run

    def run_and_record(kernel: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> Any:
        compiled = run(kernel, *args, grid=grid, warmup=warmup, **kwargs)
        code = machine_code_sha256(compiled.asm["cubin"])
        made = compiled.metadata
        launches.append(f"{code} {resolved_grid(kernel, grid, args, kwargs)} {made.num_warps} {made.shared}")
        return compiled

    JITFunction.run = run_and_record
    try:
        yield launches
    finally:
        JITFunction.run = run

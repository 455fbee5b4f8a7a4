"""Small cases of references, looked for in a child process: references run, and one may break the process."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from rooflift.process import child_environment, run_to_end, stream
from rooflift.worker.protocol import Problems, Small, read_event, worker_command

TIME_S = 30.0  # of processor time for one reference
WALL_S = 300.0  # for one reference, on a machine that others use as well


def find_small(references: Sequence[Path], say: Callable[[str], None]) -> dict[Path, Small]:
    """Return by reference the constants that make it small, or why there are none."""
    found: dict[Path, Small] = {}
    processes = max(min((os.cpu_count() or 1) // 2, len(references)), 1)

    async def look() -> None:
        shares = (references[place::processes] for place in range(processes))
        await asyncio.gather(*(_look_at_all(share, found, say) for share in shares))

    run_to_end(look())
    return found


async def _look_at_all(references: Sequence[Path], found: dict[Path, Small], say: Callable[[str], None]) -> None:
    while left := [path for path in references if path not in found]:
        await _look(left, found, say)
        first = next((path for path in left if path not in found), None)
        if first:  # the process ended in the midst of it: the next one goes on behind it
            found[first] = Small(str(first), {}, "the process that ran the reference broke off")


async def _look(references: Sequence[Path], found: dict[Path, Small], say: Callable[[str], None]) -> None:
    def on_line(line: str) -> None:
        event = read_event(line)
        if isinstance(event, Small):
            found[Path(event.reference)] = event
            say(f"looking for small cases, {len(found)} found")

    async def silence() -> None:
        """Return when no reference was finished for `WALL_S` seconds."""
        known = -1
        while known < (done := sum(path in found for path in references)):
            known = done
            await asyncio.sleep(WALL_S)

    with tempfile.TemporaryDirectory(prefix="rooflift-") as name:
        problems = Problems([str(path) for path in references], TIME_S)
        Path(name, "problems.json").write_bytes(msgspec.json.encode(problems))
        child = asyncio.create_task(stream(worker_command("small"), Path(name), child_environment(), on_line))
        watch = asyncio.create_task(silence())
        await asyncio.wait({child, watch}, return_when=asyncio.FIRST_COMPLETED)
        for task in (child, watch):
            task.cancel()
        await asyncio.gather(child, watch, return_exceptions=True)

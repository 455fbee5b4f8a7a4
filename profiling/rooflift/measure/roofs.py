"""Measured roofs: starts the child that times the roof kernels, and collects what it says."""

from __future__ import annotations

import asyncio
import datetime
import tempfile
from pathlib import Path

from rooflift.errors import EnvironmentFault
from rooflift.measure import environment
from rooflift.measure.children import Progress
from rooflift.process import child_environment, run_to_end, stream
from rooflift.project.git import git_state
from rooflift.schema import Machine, RoofRow, Roofs
from rooflift.worker import protocol
from rooflift.worker.protocol import worker_command


def measure(root: Path, timeout_s: float, progress: Progress) -> Roofs:
    """Measure the roofs of this machine's GPU in a process of its own.

    Raises:
        NoGpu: there is none.
        EnvironmentFault: the process failed, or the time limit is over.
    """
    driver = environment.driver()
    commit, dirty = git_state(root)
    started = datetime.datetime.now(datetime.UTC)
    device: protocol.Device | None = None
    rows: list[RoofRow] = []

    def hear(line: str) -> None:
        nonlocal device
        match protocol.read_event(line):
            case protocol.Doing(text):
                progress(text)
            case protocol.Device() as seen:
                device = seen
            case protocol.Measured(row):
                rows.append(row)

    async def run() -> tuple[int, str]:
        async with asyncio.timeout(timeout_s):
            with tempfile.TemporaryDirectory(prefix="rooflift-") as folder:
                return await stream(worker_command("roofs"), Path(folder), child_environment(), hear)

    try:
        code, output = run_to_end(run())
    except TimeoutError:
        raise EnvironmentFault(
            f"the roofs were not measured within {timeout_s:g} s", "Give it more time with --timeout."
        ) from None
    if code != 0 or device is None or not rows:
        said = "\n".join(line for line in output.splitlines()[-15:] if not line.startswith(protocol.EVENT_PREFIX))
        raise EnvironmentFault(
            f"the program that measures the roofs ended with code {code}:\n{said}",
            "`rooflift doctor` checks torch, triton and the GPU; the GPU must be free of other work.",
        )
    seen = {name: getattr(device, name) for name in device.__struct_fields__}
    return Roofs(
        created=f"{started:%Y-%m-%dT%H:%M:%SZ}",
        machine=Machine(driver=driver.version, ncu=None, **seen),
        commit=commit,
        dirty=dirty,
        rows=rows,
    )

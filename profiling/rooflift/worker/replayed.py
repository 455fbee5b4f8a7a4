"""Versions as launch plans: recorded in a process for each, then checked, timed and profiled without their Python.

A timed call finds inputs of a rotating pool, in its output block other values that it could have had, and nothing of
an earlier call in other memory. What random rounds and the last one left is compared with the truth.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rooflift.compile.machine_code import machine_code_sha256
from rooflift.errors import KernelFault
from rooflift.project.cases import Case
from rooflift.worker import launch_plan, protocol, replay
from rooflift.worker.candidate import load_kernels, plan_of, read_left
from rooflift.worker.judge import MOST_STATE_BYTES
from rooflift.worker.kernel_source import module_text
from rooflift.worker.launch_plan import LaunchPlan, NoPlan
from rooflift.worker.protocol import LAUNCH_PLANS
from rooflift.worker.results import Leaf
from rooflift.worker.tensors import bind

POOL = 3  # inputs that timed calls take in turn
KEPT = 2  # random rounds whose results are kept


def record_case(plan: protocol.Plan, name: str, case: Case) -> None:
    """Leave the launch plan of a version on a case, and the state of its model, below `LAUNCH_PLANS`.

    Raises:
        KernelFault: the version does what a plan cannot express.
    """
    import torch

    place = Path(LAUNCH_PLANS, name)
    place.mkdir(parents=True, exist_ok=True)
    try:
        found, state = plan_of(Path(plan.reference), Path(plan.versions[name]), protocol.Trial(case, 0))
    except NoPlan as fault:
        raise KernelFault(f"{name} on {case.name} {case.dtype}: {fault.message}", fault.remedy) from None
    torch.save(state, place / f"{_key(case)}.pt")
    (place / f"{_key(case)}.plan").write_bytes(launch_plan.encode(found))


def _key(case: Case) -> str:
    return hashlib.sha256(f"{case.name} {case.dtype}".encode()).hexdigest()[:16]


@dataclass
class Replayed:
    """A version on one case, called like its module; `state` are its parameters and buffers."""

    plan: LaunchPlan
    state: dict[str, Any]
    launcher: replay.Launcher
    device: str
    missing: list[str] = field(default_factory=list)

    def __call__(self, *inputs: Any) -> Any:
        """Carry the plan out once in memory of its own that holds NaN before."""
        held = replay.memory(self.plan, [*inputs], self.state, self.device)
        replay.prepare(self.plan, held, self.launcher)()
        return tuple(leaf.value for leaf in replay.results(self.plan, held))

    def sha256(self) -> str:
        """Return the hash of machine code, grid, warps and shared memory of all launches, as `machine_code` does."""
        said = []
        for step in self.plan.launches:
            assert step.binary is not None  # of a plan that was recorded on a GPU
            made = self.plan.binaries[step.binary]
            code = machine_code_sha256(made.cubin)
            said.append(f"{code} {step.grid} {made.metadata['num_warps']} {made.metadata['shared']}")
        return hashlib.sha256("\n".join(said).encode()).hexdigest() if said else ""


def load(name: str, case: Case, expected: Any, device: str) -> Replayed:
    """Return a version's plan of a case with the parameters of the reference `expected`.

    Raises:
        KernelFault: its process left no plan, or none that can be read.
    """
    import torch

    place = Path(LAUNCH_PLANS, name, _key(case))
    where = f"{name} on {case.name} {case.dtype}"
    try:
        data = read_left(place.with_suffix(".plan"), launch_plan.MOST_BYTES)
        if data is None or read_left(place.with_suffix(".pt"), MOST_STATE_BYTES) is None:
            raise KernelFault(f"{where}: its process left no launch plan", "`rooflift lint` says why.")
        plan = launch_plan.decode(data)
        state = torch.load(place.with_suffix(".pt"), map_location=device, weights_only=True)
        missing = bind(state, plan.parameters, expected)
        return Replayed(plan, state, _launcher(plan, device, f"{name}_{_key(case)}"), device, missing)
    except NoPlan as fault:
        raise KernelFault(f"{where}: {fault.message}", fault.remedy) from None


def _launcher(plan: LaunchPlan, device: str, name: str) -> replay.Launcher:
    if device == "cuda":
        from rooflift.worker.launcher import compiled

        return compiled(plan)
    if Path(name).exists():  # of another seed, with the same kernels
        name += f"_{len(list(Path().glob(f'{name}*')))}"
    return replay.interpreted(load_kernels(module_text(plan), name))


class Rotating:
    """A timed version: each call takes the next inputs of a pool; `before` changes what memory holds.

    `after` keeps the results of some calls, each with the same chance, however many there will be.
    """

    def __init__(self, version: Replayed, pool: Sequence[list[Any]]) -> None:
        self.version, self.pool, self.turn = version, pool, -1
        self.calls_seen, self.kept = 0, dict[int, tuple[list[Leaf], list[Any]]]()
        self.draw = secrets.SystemRandom()
        held = replay.memory(version.plan, pool[0], version.state, version.device)
        self.held = [
            held,
            *(replay.memory(version.plan, inputs, version.state, version.device, held) for inputs in pool[1:]),
        ]
        self.calls: list[Callable[[], None]] = [
            replay.prepare(version.plan, one, version.launcher) for one in self.held
        ]
        self()
        self.scratch = replay.scratch(version.plan, held)
        self.blocks = [
            (leaf.value, replay.other_values(leaf.value)) for leaf in replay.results(version.plan, held)
            if replay.can_differ(leaf.value)
        ]  # fmt: skip

    def __call__(self) -> None:
        """Call the version on the next inputs."""
        self.turn = (self.turn + 1) % len(self.pool)
        self.calls[self.turn]()

    def before(self) -> None:
        """Fill the output block with other values that it could have, and what is no output with one byte."""
        for block in self.scratch:
            block.fill_(self.draw.randrange(256))
        for block, other in self.blocks:
            block.copy_(other)

    def after(self) -> None:
        """Keep what a call left, or leave it."""
        self.calls_seen += 1
        place = self.draw.randrange(self.calls_seen)
        if place < KEPT:
            left, inputs = self.last()
            self.kept[place] = [Leaf(leaf.place, _copied(leaf.value)) for leaf in left], inputs

    def last(self) -> tuple[list[Leaf], list[Any]]:
        """Return the results of the last call, and its inputs as they are now."""
        return replay.results(self.version.plan, self.held[self.turn]), self.pool[self.turn]

    def left(self) -> list[tuple[list[Leaf], list[Any]]]:
        """Return the results of random calls and of the last one, each with its inputs as they are now."""
        return [*self.kept.values(), self.last()]


def _copied(value: Any) -> Any:
    import torch

    return value.clone() if torch.is_tensor(value) else value

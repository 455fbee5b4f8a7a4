"""Carries launch plans out on memory of its own, in a process that has loaded nothing of the candidate but kernels.

The kernels are machine code on a GPU (`launcher`), elsewhere functions in Triton's interpreter. Inputs, parameters and
what fresh memory holds come from the caller; what the candidate's host code did is in the plan or is not done.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

from rooflift.worker.inputs import tensors
from rooflift.worker.launch_plan import (
    ITEM_BYTES,
    Argument,
    Copy,
    Descriptor,
    DType,
    Fill,
    Items,
    Kernel,
    Launch,
    LaunchPlan,
    NoPlan,
    Region,
    argument,
)
from rooflift.worker.results import Leaf

if TYPE_CHECKING:
    import torch

LEAST_BYTES = 16  # of a block of memory: no block has no address
SHARES = (1 / 2, 1 / 8, 1 / 64)  # of a result, damaged before the next call: for who looks at few or at many elements

Launcher = Callable[[Launch, "Memory"], Callable[[], object]]  # prepares a launch


@dataclass(frozen=True)
class Memory:
    """The buffers of a plan in this process."""

    storages: Sequence[Any]

    def tensor(self, region: Region) -> torch.Tensor:
        """Return a region as a tensor."""
        import torch

        storage = self.storages[region.buffer]
        dtype = getattr(torch, region.dtype)
        return torch.empty(0, dtype=dtype, device=storage.device).set_(
            storage, region.offset, region.size, region.stride
        )


def memory(
    plan: LaunchPlan,
    inputs: list[Any],
    state: Mapping[str, torch.Tensor],
    device: str,
    shared: Memory | None = None,
) -> Memory:
    """Return memory for a plan: inputs and state as they are, what is fresh filled with NaN, or `shared` with another.

    Raises:
        NoPlan: an input or a part of the state is not there, or of another size.
    """
    import torch

    given, storages = tensors(inputs), []
    for place, buffer in enumerate(plan.buffers):
        if buffer.origin == "fresh" and shared is not None:
            storages.append(shared.storages[place])
            continue
        if buffer.origin == "fresh":
            size = max(buffer.bytes, LEAST_BYTES)
            storages.append(torch.full((size,), 255, dtype=torch.uint8, device=device).untyped_storage())
            continue
        found = state.get(buffer.state) if buffer.origin == "state" else None
        if buffer.origin == "input" and buffer.input < len(given):
            found = given[buffer.input]
        if found is None or found.untyped_storage().nbytes() < buffer.bytes:
            what = buffer.state if buffer.origin == "state" else f"input {buffer.input}"
            raise NoPlan(f"{what} is not what the plan says", "Keep parameters as they are made in __init__.")
        storages.append(found.untyped_storage())
    return Memory(storages)


def prepare(plan: LaunchPlan, held: Memory, launcher: Launcher) -> Callable[[], None]:
    """Return what carries a plan out: all tensors and arguments are made now, none in a call."""
    steps: list[Callable[[], object]] = []
    for step in plan.steps:
        match step:
            case Fill(to, value):
                steps.append(partial(held.tensor(to).fill_, value))
            case Copy(to, source):
                steps.append(partial(held.tensor(to).copy_, held.tensor(source)))
            case Launch():
                steps.append(launcher(step, held))

    def call() -> None:
        for do in steps:
            do()

    return call


def results(plan: LaunchPlan, held: Memory) -> list[Leaf]:
    """Return the values of the result as they lie in memory."""
    return [
        Leaf(one.place, held.tensor(one.value) if isinstance(one.value, Region) else one.value) for one in plan.results
    ]


def damage(plan: LaunchPlan, held: Memory, seed: int, *, first: bool) -> None:
    """Give a random part of every fresh result other values that it could have: the `first` time half of it.

    A kernel that leaves alone what an earlier call has left, or looks there to see whether anybody compares, finds
    a result that is wrong in places that it cannot know. So does one that keeps results in other fresh memory.
    """
    import torch

    draw = torch.Generator(device=held.storages[0].device if held.storages else "cpu").manual_seed(seed)
    share = SHARES[0] if first else SHARES[seed % len(SHARES)]
    left = [held.tensor(region) for region in fresh_results(plan)]
    kept = [found.clone() for found in left]
    for block in scratch(plan, held):
        pieces = block.tensor_split(min(block.numel(), 2 ** (1 + seed % 4)))
        for piece, hit in zip(
            pieces, torch.rand(len(pieces), generator=draw, device=block.device) < SHARES[0], strict=True
        ):
            if hit:
                piece.fill_(seed % 256)
    for found, before in zip(left, kept, strict=True):
        if can_differ(found):
            found.copy_(before)
            places = torch.rand(found.shape, generator=draw, device=found.device) < share
            found.copy_(torch.where(places, other_values(found), found))


def fresh_results(plan: LaunchPlan) -> list[Region]:
    """Return the tensors of the result that lie in memory which the call allocates."""
    regions = [one.value for one in plan.results if isinstance(one.value, Region)]
    return [region for region in regions if plan.buffers[region.buffer].origin == "fresh"]


def scratch(plan: LaunchPlan, held: Memory) -> list[torch.Tensor]:
    """Return the blocks of fresh memory that hold more than one tensor of the result, as bytes."""
    filled = {
        region.buffer
        for region in fresh_results(plan)
        if math.prod(region.size) * ITEM_BYTES[region.dtype] >= plan.buffers[region.buffer].bytes
    }
    blocks = [held.storages[n] for n, one in enumerate(plan.buffers) if one.origin == "fresh" and n not in filled]
    return list(map(as_bytes, blocks))


def as_bytes(block: Any) -> torch.Tensor:
    """Return a block of memory as a tensor of bytes."""
    import torch

    return torch.empty(0, dtype=torch.uint8, device=block.device).set_(block)


def can_differ(found: Any) -> bool:
    """Whether a result holds elements, each in a place of its own; one that is shown several times is left alone."""
    import torch

    if not torch.is_tensor(found) or not found.numel():
        return False
    return all(step or size == 1 for size, step in zip(found.shape, found.stride(), strict=True))


def other_values(found: torch.Tensor) -> torch.Tensor:
    """Return values that a result could have and that are not its own: a neighbour's, stretched and moved."""
    import torch

    other = found.reshape(-1).roll(1).reshape(found.shape)
    if found.is_floating_point():
        return (other.float().nan_to_num(1.0) * 1.25 + 0.5).to(found.dtype)
    return ~found if found.dtype == torch.bool else other


def interpreted(kernels: ModuleType) -> Launcher:
    """Return what launches kernels of a module in Triton's interpreter (`kernel_source.module_text`)."""

    def prepare(step: Launch, held: Memory) -> Callable[[], object]:
        values = [_value(one, held, kernels) for one in step.arguments]
        return partial(getattr(kernels, step.kernel)[step.grid], *values, **step.options)

    return prepare


def _value(given: Argument, held: Memory, kernels: ModuleType) -> Any:
    import triton.language as tl
    from triton.tools.tensor_descriptor import TensorDescriptor

    match given:
        case Region():
            return held.tensor(given)
        case Kernel(name):
            return getattr(kernels, name)
        case DType(name):
            return getattr(tl, name)
        case Items(items):
            return tuple(_value(argument(item), held, kernels) for item in items)
        case Descriptor(base, shape, strides, block_shape, padding):
            return TensorDescriptor(held.tensor(base), [*shape], [*strides], [*block_shape], padding)
    return given


def require_small(plan: LaunchPlan, most_bytes: int) -> None:
    """Refuse a plan that asks for more fresh memory than there may be.

    Raises:
        NoPlan: it does.
    """
    asked = sum(buffer.bytes for buffer in plan.buffers if buffer.origin == "fresh")
    if asked > most_bytes:
        raise NoPlan(f"a call allocates {asked / 2**30:.1f} GiB, of at most {most_bytes / 2**30:.1f}", "Allocate less.")

"""Launches the compiled kernels of a launch plan on the GPU, as Triton's own launcher does, without their Python."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from rooflift.worker.launch_plan import (
    Argument,
    Binary,
    Descriptor,
    Items,
    Launch,
    LaunchPlan,
    NoPlan,
    Region,
    argument,
)
from rooflift.worker.replay import Launcher, Memory


def compiled(plan: LaunchPlan) -> Launcher:
    """Return what launches the binaries of a plan on the current stream.

    Raises:
        NoPlan: a launch has no binary.
    """
    import torch
    import triton

    def scratch(size: int, _alignment: int, _stream: object) -> torch.Tensor:
        return torch.empty(size, dtype=torch.int8, device="cuda")

    triton.set_allocator(scratch)
    loaded = [_load(binary) for binary in plan.binaries]

    def prepare(step: Launch, held: Memory) -> Callable[[], object]:
        if step.binary is None:
            raise NoPlan(f"{step.kernel} was not compiled", "Record the plan on a GPU.")
        launcher, function = loaded[step.binary]
        packed = plan.binaries[step.binary].packed
        grid = (*step.grid, 1, 1)[:3]
        values = [_value(one, held) for one in step.arguments]

        def launch() -> None:
            if all(grid):
                stream = torch.cuda.current_stream().cuda_stream
                launcher(*grid, stream, function, packed, None, None, None, *values)

        return launch

    return prepare


def _load(binary: Binary) -> tuple[Any, Any]:
    """Return Triton's launcher for a binary, and the function on the GPU."""
    import torch
    from triton.backends.nvidia.driver import CudaLauncher
    from triton.runtime import driver

    signature = {name: _signed(kind) for name, kind in binary.signature.items()}
    source = SimpleNamespace(fn=SimpleNamespace(arg_names=[*binary.parameters]), signature=signature, constants={})
    metadata = SimpleNamespace(**binary.metadata)
    utils: Any = driver.active.utils
    device = torch.cuda.current_device()
    function = utils.load_binary(binary.name, binary.cubin, int(binary.metadata["shared"]), device)[1]
    return CudaLauncher(source, metadata), function


def _signed(kind: Any) -> Any:
    return tuple(map(_signed, kind)) if isinstance(kind, list | tuple) else kind


def _value(given: Argument, held: Memory) -> Any:
    """Return an argument as Triton's launcher takes it; types and kernels are compiled in, and none is passed."""
    from triton.tools.tensor_descriptor import TensorDescriptor

    match given:
        case Region():
            return held.tensor(given)
        case Items(items):
            return tuple(_value(argument(item), held) for item in items)
        case Descriptor(base, shape, strides, block_shape, padding):
            return TensorDescriptor(held.tensor(base), [*shape], [*strides], [*block_shape], padding)
        case int() | float() | bool():
            return given
    return None

"""From files to modules on a device: the reference, the versions, their inputs, and the traffic a case cannot avoid."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    import torch


class CasePlan(msgspec.Struct, frozen=True):
    """A case and dtype as the child process gets it; None stands for the reference's own."""

    case: str
    dtype: str
    init: dict[str, Any] | list[Any] | None
    inputs: list[list[int]] | None


def load_module(path: Path, name: str | None = None) -> ModuleType:
    """Import a file by path, as its own module; it is not put under kernels.* because that name is somebody else's."""
    name = name or f"rooflift_kernel_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None  # a .py path has a spec
    assert spec.loader is not None  # and a loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # triton's JIT looks its source file up there
    spec.loader.exec_module(module)
    return module


def make_model(cls: type[torch.nn.Module], reference: ModuleType, plan: CasePlan, device: str, seed: int) -> Any:
    """Construct a module with the case's arguments; one seed gives one set of parameters."""
    import torch

    torch.manual_seed(seed)
    init = reference.get_init_inputs() if plan.init is None else plan.init
    model = cls(**init) if isinstance(init, dict) else cls(*init)
    return model.to(device=device, dtype=getattr(torch, plan.dtype)).eval()


def make_pair(reference: ModuleType, version: ModuleType, plan: CasePlan, device: str, seed: int) -> tuple[Any, Any]:
    """Construct reference and version with the same parameters.

    Both are made under one seed, as KernelBench does; where the parameters also have the same names, they are copied.
    """
    expected = make_model(reference.Model, reference, plan, device, seed)
    model = make_model(version.ModelNew, reference, plan, device, seed)
    if model.state_dict().keys() == expected.state_dict().keys():
        model.load_state_dict(expected.state_dict())
    return expected, model


def make_inputs(reference: ModuleType, plan: CasePlan, device: str, seed: int) -> list[Any]:
    """Return fresh inputs: the case's shapes from a normal distribution, or the reference's own get_inputs()."""
    import torch

    torch.manual_seed(seed)
    dtype = getattr(torch, plan.dtype)
    if plan.inputs is not None:
        return [torch.randn(shape, device=device, dtype=dtype) for shape in plan.inputs]
    return [
        (x.to(device=device, dtype=dtype) if x.is_floating_point() else x.to(device)) if torch.is_tensor(x) else x
        for x in reference.get_inputs()
    ]


class Traffic(msgspec.Struct, frozen=True):
    """What a case needs at least: bytes moved once each, FLOP by torch's counter (None where it knows no formula)."""

    compulsory_bytes: int
    flop: int | None
    shapes: list[list[int]]


def measure_traffic(reference: ModuleType, plan: CasePlan, device: str) -> Traffic:
    """Derive compulsory bytes and FLOP from the reference's tensors, on torch's meta device where it can run there."""
    try:
        return _traffic_on(reference, plan, "meta")  # nothing is allocated or computed
    except (NotImplementedError, RuntimeError):  # an operator without a meta kernel, or one that looks at values
        return _traffic_on(reference, plan, device)


def _traffic_on(reference: ModuleType, plan: CasePlan, device: str) -> Traffic:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device(device), torch.no_grad():
        model = make_model(reference.Model, reference, plan, device, seed=0)
        inputs = make_inputs(reference, plan, device, seed=0)
        with FlopCounterMode(display=False) as counter:
            outputs = model(*inputs)
    tensors = [*inputs, *model.parameters(), *(outputs if isinstance(outputs, tuple | list) else [outputs])]
    tensors = [tensor for tensor in tensors if torch.is_tensor(tensor)]
    return Traffic(
        compulsory_bytes=sum(tensor.numel() * tensor.element_size() for tensor in tensors),
        flop=counter.get_total_flops() or None,
        shapes=[list(tensor.shape) for tensor in inputs if torch.is_tensor(tensor)],
    )

"""From files to modules on a device: the reference, the versions, their inputs, and the traffic a case cannot avoid."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from rooflift.project.cases import Case
from rooflift.schema import ResolvedCase

if TYPE_CHECKING:
    import torch


def make_model(cls: type[torch.nn.Module], reference: ModuleType, case: Case, device: str, seed: int) -> Any:
    """Construct a module with the case's arguments; one seed gives one set of parameters."""
    import torch

    torch.manual_seed(seed)
    init = reference.get_init_inputs() if case.init is None else case.init
    model = cls(**init) if isinstance(init, dict) else cls(*init)
    return model.to(device=device, dtype=getattr(torch, case.dtype)).eval()


def make_pair(reference: ModuleType, version: ModuleType, case: Case, device: str, seed: int) -> tuple[Any, Any]:
    """Construct reference and version with the same parameters.

    Both are made under one seed, as KernelBench does; where the parameters also have the same names, they are copied.
    """
    expected = make_model(reference.Model, reference, case, device, seed)
    model = make_model(version.ModelNew, reference, case, device, seed)
    if model.state_dict().keys() == expected.state_dict().keys():
        model.load_state_dict(expected.state_dict())
    return expected, model


def make_inputs(reference: ModuleType, case: Case, device: str, seed: int) -> list[Any]:
    """Return fresh inputs: the case's shapes from a normal distribution, or the reference's own get_inputs()."""
    import torch

    torch.manual_seed(seed)
    dtype = getattr(torch, case.dtype)
    if case.inputs is not None:
        return [torch.randn(shape, device=device, dtype=dtype) for shape in case.inputs]
    return [
        (x.to(device=device, dtype=dtype) if x.is_floating_point() else x.to(device)) if torch.is_tensor(x) else x
        for x in reference.get_inputs()
    ]


def in_channels_last(model: Any, inputs: Sequence[Any]) -> tuple[Any, list[Any]] | None:
    """Return model and 4-D inputs as copies in channels_last, None for an operator without a 4-D input."""
    import copy

    import torch

    if not any(torch.is_tensor(x) and x.dim() == 4 for x in inputs):
        return None
    form = torch.channels_last
    return copy.deepcopy(model).to(memory_format=form), [
        x.contiguous(memory_format=form) if torch.is_tensor(x) and x.dim() == 4 else x for x in inputs
    ]


class Traffic(NamedTuple):
    """The compulsory bytes of a case, each once: inputs and parameters are read, outputs are written."""

    read_bytes: int
    written_bytes: int


def traffic(inputs: Sequence[Any], model: Any, outputs: Any) -> Traffic:
    """Return the compulsory bytes by the tensors' sizes."""
    import torch

    def nbytes(values: Iterable[Any]) -> int:
        return sum(x.numel() * x.element_size() for x in values if torch.is_tensor(x))

    results = outputs if isinstance(outputs, tuple | list) else [outputs]
    return Traffic(nbytes((*inputs, *model.parameters())), nbytes(results))


def input_shapes(inputs: Sequence[Any]) -> list[list[int]]:
    """Return the shapes of the inputs that are tensors."""
    return [list(x.shape) for x in inputs if hasattr(x, "shape")]


def count_flop(reference: ModuleType, case: Case) -> int | None:
    """Count the reference's FLOP by torch's counter, on the meta device: nothing is allocated or computed.

    Returns None where torch's counter knows no formula for what the reference does, or the reference looks at values.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    try:
        with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
            model = make_model(reference.Model, reference, case, "meta", seed=0)
            model(*make_inputs(reference, case, "meta", seed=0))
    except (NotImplementedError, RuntimeError, TypeError):  # no meta kernel, or a look at values
        return None
    return counter.get_total_flops() or None


def flop_of(reference: ModuleType, case: Case, known: Sequence[ResolvedCase]) -> tuple[int | None, str]:
    """Return a case's FLOP and where the number comes from: an earlier run of the same reference, or torch's counter.

    torch's counter takes seconds to import.
    """
    for resolved in known:
        if (resolved.case, resolved.dtype) == (case.name, case.dtype):
            return resolved.flop, resolved.flop_source
    flop = count_flop(reference, case)
    return flop, "torch's FLOP counter" if flop is not None else "ncu's instruction counters"

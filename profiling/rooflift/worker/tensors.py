"""From files to modules on a device: the reference and the versions, with the same parameters."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping
from types import CellType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from rooflift.project.cases import Case
from rooflift.worker.inputs import seed_everything
from rooflift.worker.stand_in import gpu_stands_in

if TYPE_CHECKING:
    import torch


def make_model(
    cls: type[torch.nn.Module], reference: ModuleType, case: Case, device: str, seed: int, drawn_on: str = "cpu"
) -> Any:
    """Construct a module with the case's arguments, in the mode that it has then; one seed gives one set of parameters.

    What torch.nn.init would set to 0 or 1 is drawn, too: a version that leaves out a bias or a weight is seen.
    `drawn_on` is where: a GPU draws 2^28 weights in no time, a CPU in seconds, and not the same ones.
    """
    import torch

    init = reference.get_init_inputs() if case.init is None else case.init

    def construct(place: str) -> Any:
        seed_everything(seed)
        with _drawn_constants(), gpu_stands_in(device), torch.device(place):
            return cls(**init) if isinstance(init, dict) else cls(*init)

    try:
        model = construct(drawn_on)
    except TypeError:
        if drawn_on == "cpu":
            raise
        model = construct("cpu")  # its constructor makes numpy arrays of tensors, say
    dtype = getattr(torch, case.dtype)
    computes = dtype.is_floating_point and dtype.itemsize > 1  # nothing is computed in 8 bits
    return model.to(device=device, dtype=dtype if computes else None)


def make_reference(reference: ModuleType, case: Case, device: str, seed: int, drawn_on: str = "cpu") -> Any:
    """Construct the reference as versions are compared with it: parameters and buffers of 0 or 1 are drawn as well."""
    import torch

    model = make_model(reference.Model, reference, case, device, seed, drawn_on)
    seed_everything(seed)
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point() and tensor.numel():
                for constant in (0.0, 1.0):
                    if bool((tensor == constant).all()):
                        tensor.copy_(torch.rand_like(tensor, dtype=torch.float32).add_(constant - 0.5))
    return model


def copy_of(model: Any) -> Any:
    """Return a deep copy of a module; functions that it holds, such as a lambda over its own layers, are the copy's."""
    import copy

    memo: dict[int, Any] = {}
    copied = copy.deepcopy(model, memo)
    for module in copied.modules():
        for name, held in list(vars(module).items()):
            if isinstance(held, FunctionType) and held.__closure__:
                cells = tuple(CellType(memo.get(id(c.cell_contents), c.cell_contents)) for c in held.__closure__)
                bound = FunctionType(held.__code__, held.__globals__, held.__name__, held.__defaults__, cells)
                setattr(module, name, bound)
    return copied


def make_version(version: ModuleType, reference: ModuleType, expected: Any, case: Case, device: str, seed: int) -> Any:
    """Construct a version with the parameters of the reference `expected`; return it and what it did not take.

    Both are made under one seed, as KernelBench does. Then what has the same name and shape is copied, and parameters
    of other names by order and shape, unless they hold the reference's numbers already, in another order: packed.

    Returns:
        The module, and the names of the reference's parameters for which it has no place.
    """
    model = make_model(version.ModelNew, reference, case, device, seed, drawn_on=device)
    return model, bind(model.state_dict(), set(dict(model.named_parameters())), expected)


def bind(state: Mapping[str, torch.Tensor], parameters: Collection[str], expected: Any) -> list[str]:
    """Copy the parameters and buffers of the reference `expected` into the state of a version, as `make_version` says.

    `parameters` are the names of those among `state`. Returns the names of the reference's that have no place there.
    """
    wanted, own = expected.state_dict(), dict(state)
    left = {name: value for name, value in wanted.items() if value.numel()}
    for name in list(left):
        if name in own and own[name].shape == left[name].shape:
            own.pop(name).copy_(left.pop(name))
    for name, value in list(left.items()):
        packed = [place for place, held in own.items() if _same_numbers(held, value)]
        fitting = [place for place in own if place in parameters and own[place].shape == value.shape]
        if packed:
            own.pop(packed[0])
        elif fitting:
            own.pop(fitting[0]).copy_(value)
        else:
            continue
        del left[name]
    return [name for name in left if name in dict(expected.named_parameters())]


def _same_numbers(held: torch.Tensor, value: torch.Tensor) -> bool:
    """Tell whether a tensor holds another's numbers, in any order and with zeros between them."""
    import torch

    if held.numel() < value.numel() or held.dtype != value.dtype:
        return False
    one, other = (x.flatten()[x.flatten() != 0].sort().values for x in (held, value))
    return torch.equal(one, other)


@contextlib.contextmanager
def _drawn_constants() -> Iterator[None]:
    """Let torch.nn.init draw around 0 and 1 where it would set them, as layers do for weights and biases."""
    import torch

    init: Any = torch.nn.init
    before = init.zeros_, init.ones_, init.constant_

    def drawn(tensor: torch.Tensor, val: float) -> torch.Tensor:
        if val not in (0, 1):
            filled: torch.Tensor = before[2](tensor, val)
            return filled
        with torch.no_grad():
            return tensor.uniform_(val - 0.5, val + 0.5)

    init.zeros_, init.ones_ = lambda tensor: drawn(tensor, 0), lambda tensor: drawn(tensor, 1)
    init.constant_ = drawn
    try:
        yield
    finally:
        init.zeros_, init.ones_, init.constant_ = before

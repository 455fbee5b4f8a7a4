"""The baselines that take memory or seconds to prepare: torch in channels_last, torch.compile, and an operator's own.

An operator's own stand in baselines.py beside its reference: each public function there is one, named like it, and gets
the reference as a module with its parameters, and the inputs:

    def cublas(model, inputs):
        return lambda: torch.mm(*inputs)

What it returns is called again and again; one that returns a result is called itself. It is prepared where it is timed
alone, so it may import a library that is not there: it is left out then, and the run says why.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import FunctionType
from typing import Any

from rooflift.compile.module import load_module
from rooflift.project.cases import Case
from rooflift.worker import protocol
from rooflift.worker.protocol import say

Baseline = Callable[[Any, list[Any]], Any]
TORCH = ("torch_channels_last", "torch_compile")


class BaselineFault(Exception):
    """A baseline that is none: of another result than the reference, or of a name that is taken."""


def slow_baselines(
    case: Case, eager: Any, inputs: list[Any], file: Path | None = None, taken: Sequence[str] = ()
) -> dict[str, Any]:
    """Return a warm call of each baseline that takes memory or seconds to prepare; one that fails is left out.

    `file` is the operator's baselines.py, `taken` are names of other providers.
    """
    found: dict[str, Baseline] = dict(zip(TORCH, (_channels_last, _compiled), strict=True))
    calls: dict[str, Any] = {}
    try:
        found |= own_baselines(file, [*taken, *found]) if file is not None else {}
    except Exception as error:  # noqa: BLE001  # the file may raise anything
        _leave_out("baselines.py", case, error)
    for provider, prepare in found.items():
        try:
            call = _ready(prepare, eager, inputs, own=provider not in TORCH)
        except Exception as error:  # noqa: BLE001  # and so may the compiler, or a library
            _leave_out(provider, case, error)
        else:
            calls |= {provider: call} if call is not None else {}
    return calls


def own_baselines(file: Path, taken: Sequence[str] = ()) -> dict[str, Baseline]:
    """Return the public functions that a baselines.py defines, in their order.

    Raises:
        BaselineFault: one has the name of another provider, or does not take a model and its inputs.
    """
    module = load_module(file.absolute())
    functions = [f for f in vars(module).values() if isinstance(f, FunctionType) and f.__module__ == module.__name__]
    found: dict[str, Baseline] = {f.__name__: f for f in functions if not f.__name__.startswith("_")}
    for name, function in found.items():
        if name in taken:
            raise BaselineFault(f"{name} is the name of another provider")
        if len(inspect.signature(function).parameters) != 2:
            raise BaselineFault(f"{name} takes other arguments than model and inputs")
    return found


def _leave_out(provider: str, case: Case, error: Exception) -> None:
    say(protocol.Doing(f"{provider} is left out: {textwrap.shorten(str(error), 200)}"))
    say(protocol.LeftOut(provider, case.name, case.dtype, type(error).__name__))


def _ready(prepare: Baseline, eager: Any, inputs: list[Any], *, own: bool) -> Any:
    """Return a baseline's call after it ran once, None where it is none for this operator.

    Raises:
        BaselineFault: its result has other shapes than the reference's.
    """
    import torch

    call = prepare(eager, inputs)
    if own and not callable(call):
        call = partial(prepare, eager, inputs)
    if call is None:
        return None
    result = call()
    torch.cuda.synchronize()
    if own and _shapes(result) != (wanted := _shapes(eager(*inputs))):
        raise BaselineFault(f"gives {_shapes(result)}, the reference {wanted}")
    return call


def _shapes(result: Any) -> list[tuple[int, ...]]:
    from torch.utils._pytree import tree_leaves

    return [tuple(x.shape) for x in tree_leaves(result) if hasattr(x, "shape")]


def _compiled(eager: Any, inputs: list[Any]) -> Any:
    import torch

    torch.compiler.reset()  # after some cases of one class torch would stop compiling, and run it as it stands
    return partial(torch.compile(eager, dynamic=False), *inputs)


def _channels_last(eager: Any, inputs: list[Any]) -> Any:
    turned = in_channels_last(eager, inputs)
    return partial(turned[0], *turned[1]) if turned else None


def in_channels_last(model: Any, inputs: Sequence[Any]) -> tuple[Any, list[Any]] | None:
    """Return model and 4-D inputs as copies in channels_last, None for an operator that is not an image's.

    It is one where an input is 4-D and the model has a convolution, pooling or a norm of channels; attention's inputs
    are 4-D, too, and have no channels.
    """
    import copy

    import torch

    if not any(torch.is_tensor(x) and x.dim() == 4 for x in inputs) or not _has_channels(model):
        return None
    form = torch.channels_last
    return copy.deepcopy(model).to(memory_format=form), [
        x.contiguous(memory_format=form) if torch.is_tensor(x) and x.dim() == 4 else x for x in inputs
    ]


def _has_channels(model: Any) -> bool:
    from torch.nn import GroupNorm
    from torch.nn.modules import batchnorm, conv, instancenorm, pooling

    norms = (batchnorm._BatchNorm, instancenorm._InstanceNorm, GroupNorm)  # noqa: SLF001  # torch's names for the kinds
    return any(
        isinstance(module, (conv._ConvNd, *norms)) or type(module).__module__ == pooling.__name__  # noqa: SLF001
        for module in model.modules()
    )

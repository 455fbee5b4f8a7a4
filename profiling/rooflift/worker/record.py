"""Makes launch plans: runs a candidate's forward and writes down what it does, in the process that loads the candidate.

Of torch a forward may allocate, view, fill, copy and cast; every other operation is refused by its name, whatever
alias called it, since it is seen where torch dispatches it. Nothing here has to be believed: what is not in the plan
is not done when the plan is carried out, and what is in it is judged by its results.
"""

from __future__ import annotations

import inspect
import math
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rooflift.worker import launch_plan as plans
from rooflift.worker.inputs import tensors
from rooflift.worker.kernel_source import Kernels
from rooflift.worker.launch_plan import Buffer, Copy, Fill, Items, Launch, LaunchPlan, NoPlan, Region, Returned
from rooflift.worker.results import leaves
from rooflift.worker.seen import Seen

ALLOCATE = {"empty", "empty_like", "empty_strided", "empty_permuted", "new_empty", "new_empty_strided"}
FILLED = {"zeros": 0, "zeros_like": 0, "new_zeros": 0, "ones": 1, "ones_like": 1, "new_ones": 1}
FILLED_BY = {"full": 1, "full_like": 1, "new_full": 2, "scalar_tensor": 0}  # the place of the value
COPIED = {"clone", "_to_copy"}
VIEWS = {"_unsafe_view", "_reshape_alias"}  # besides those whose schema says so
READS = {"_local_scalar_dense": "reads a tensor's value on the host", "nonzero": "has a shape that depends on values"}
KERNELS_COMPUTE = "Let kernels compute; of torch a forward may allocate, view, fill, copy and cast."


@dataclass
class Recorder:
    """The memory that a call touches, and its steps so far."""

    gpu: bool
    kernels: Kernels = field(default_factory=Kernels)
    buffers: list[Buffer] = field(default_factory=list)
    steps: list[Any] = field(default_factory=list)
    binaries: list[plans.Binary] = field(default_factory=list)
    refused: list[NoPlan] = field(default_factory=list)
    known: dict[int, int] = field(default_factory=dict)  # storage -> buffer
    held: list[Any] = field(default_factory=list)  # storages, so that no other takes their place

    def name(self, tensor: Any, **origin: Any) -> None:
        """Make a tensor's memory known: that of an input, of the state, or fresh."""
        storage, key = _storage(tensor)
        if key not in self.known:
            self.known[key] = len(self.buffers)
            self.held.append(storage)
            self.buffers.append(Buffer(bytes=storage.nbytes(), **origin))

    def region(self, tensor: Any) -> Region:
        """Return where a tensor lies.

        Raises:
            NoPlan: in memory that this call was not given and did not allocate.
        """
        import torch

        _, key = _storage(tensor)
        if key not in self.known:
            where = "on the CPU " if _device(tensor) == "cpu" else ""
            what = f"a tensor {where}of shape {tuple(tensor.shape)} is used that this call neither got nor allocated"
            raise NoPlan(
                f"{_place()}{what}", "Allocate on the inputs' device in each call, or in __init__ as a buffer."
            )
        with torch._C.DisableTorchFunction():  # noqa: SLF001  # the stand-in for a GPU answers some of these
            return Region(
                self.known[key],
                tensor.storage_offset(),
                tuple(tensor.shape),
                tuple(tensor.stride()),
                str(tensor.dtype).removeprefix("torch."),
            )

    def argument(self, value: Any) -> plans.Argument:
        """Return a kernel's argument."""
        import torch
        from triton.tools.tensor_descriptor import TensorDescriptor

        if isinstance(value, torch.Tensor):
            return self.region(value)
        if isinstance(value, TensorDescriptor):
            shape, strides, block = (tuple(map(int, x)) for x in (value.shape, value.strides, value.block_shape))
            rounds = bool(getattr(value, "round_f32_to_tf32", False))
            padding = str(getattr(value, "padding", "zero"))
            return plans.Descriptor(self.region(value.base), shape, strides, block, padding, rounds)
        if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
            return Items(tuple(self.argument(item) for item in value))
        return self.kernels.argument(value)

    def launch(self, kernel: Any, grid: Any, args: Sequence[Any], kwargs: dict[str, Any], compiled: Any = None) -> None:
        """Write a launch down; `compiled` is what Triton made of it on a GPU."""
        signature = inspect.signature(kernel.fn)
        bound = signature.bind(*args, **{name: kwargs[name] for name in kwargs if name in signature.parameters})
        bound.apply_defaults()
        given = dict(bound.arguments)
        if callable(grid):
            grid = grid({**kwargs, **given})
        options = {name: value for name, value in kwargs.items() if name not in given and _plain(value)}
        place = None if compiled is None else self._binary(compiled)
        name = kernel.fn.__name__ if compiled is not None else self.kernels.gather(kernel)
        arguments = tuple(self.argument(value) for value in given.values())
        sizes = tuple(int(x) for x in (grid if isinstance(grid, list | tuple) else (grid,)))
        self.steps.append(Launch(name, sizes, arguments, options, place))

    def _binary(self, compiled: Any) -> int:
        made, cubin = compiled.metadata, compiled.asm["cubin"]
        for place, one in enumerate(self.binaries):
            if one.cubin == cubin and one.name == made.name:
                return place
        known = {name: getattr(made, name) for name in made._fields if _plain(getattr(made, name))}
        known["tensordesc_meta"] = getattr(made, "tensordesc_meta", None)
        signature = {str(name): kind for name, kind in compiled.src.signature.items()}
        names, packed = tuple(compiled.src.fn.arg_names), tuple(compiled.packed_metadata)
        self.binaries.append(plans.Binary(made.name, cubin, names, signature, known, packed))
        return len(self.binaries) - 1

    def plan(self, result: Any, parameters: Sequence[str]) -> LaunchPlan:
        """Return the plan of a call that gave `result`.

        Raises:
            NoPlan: the result is no tensor of this call, or something else was refused before.
        """
        if self.refused:
            raise self.refused[0]
        results = tuple(Returned(leaf.place, self._returned(leaf.value)) for leaf in leaves(result))
        sizes = [math.prod(one.value.size) for one in results if isinstance(one.value, Region)]
        if any(sizes) and not any(isinstance(step, Launch) for step in self.steps):
            raise NoPlan("forward launches no kernel", "Launch your kernels from forward.")
        return LaunchPlan(
            results=results,
            buffers=tuple(self.buffers),
            steps=tuple(self.steps),
            sources=tuple(self.kernels.sources.values()),
            names=self.kernels.names,
            binaries=tuple(self.binaries),
            parameters=tuple(parameters),
        )

    def _returned(self, value: Any) -> Any:
        import torch

        if isinstance(value, torch.Tensor):
            if type(value) not in (torch.Tensor, torch.nn.Parameter):
                raise NoPlan(f"the result holds a {type(value).__name__}, no plain tensor", "Return plain tensors.")
            return self.region(value)
        if not _plain(value):
            raise NoPlan(f"the result holds a {type(value).__name__}", "Return tensors, numbers, and tuples of them.")
        return value


class _Operations(Seen):
    """Sees every operation that torch dispatches while it lasts, and lets those happen that a plan can express."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.recorder = recorder

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        try:
            return self._allowed(func, args, kwargs)
        except NoPlan as fault:
            self.recorder.refused.append(fault)
            raise

    def _allowed(self, func: Any, args: Any, kwargs: Any) -> Any:
        operation, recorder = func.name().partition("::")[2].partition(".")[0], self.recorder
        own = _definition(func)
        if own is not None:  # torch.library of the candidate: what it does is seen here again
            with self:
                return own(*args, **kwargs)
        allowed = func.namespace == "aten" and "out" not in kwargs
        if allowed and (func.is_view or operation in VIEWS):
            return func(*args, **kwargs)
        if allowed and (operation in ALLOCATE or operation in FILLED or operation in FILLED_BY or operation in COPIED):
            made = func(*args, **kwargs)
            recorder.name(made, origin="fresh")
            if operation in COPIED:
                if (_device(made) == "cpu") != (_device(args[0]) == "cpu"):
                    raise NoPlan(f"{_place()}forward copies a tensor between host and GPU", KERNELS_COMPUTE)
                recorder.steps.append(Copy(recorder.region(made), recorder.region(args[0])))
            elif operation not in ALLOCATE:
                value = FILLED[operation] if operation in FILLED else args[FILLED_BY[operation]]
                recorder.steps.append(Fill(recorder.region(made), value))
            return made
        if allowed and operation == "copy_":
            to = recorder.region(args[0])
            recorder.steps.append(Copy(to, recorder.region(args[1].expand(args[0].shape))))
            return func(*args, **kwargs)
        if allowed and (operation == "zero_" or func.name() == "aten::fill_.Scalar"):
            recorder.steps.append(Fill(recorder.region(args[0]), args[1] if operation == "fill_" else 0))
            return func(*args, **kwargs)
        if operation in READS:
            raise NoPlan(f"{_place()}forward {READS[operation]}", "A launch plan has no values: ask shapes alone.")
        raise NoPlan(f"{_place()}forward calls {func.name()} of torch", KERNELS_COMPUTE)


def _definition(func: Any) -> Any:
    """Return the Python function behind an operation of torch.library's custom operations, None of torch's own."""
    from torch._library.custom_ops import OPDEFS

    found = OPDEFS.get(func.name().partition(".")[0])
    return None if found is None else found._init_fn  # noqa: SLF001  # there is no public way to it


@contextmanager
def _launches(recorder: Recorder, interpreted: bool) -> Iterator[None]:
    """Write launches down while it lasts; on a GPU they happen, elsewhere they do not."""
    from triton.runtime.interpreter import InterpretedFunction
    from triton.runtime.jit import JITFunction

    cls: Any = InterpretedFunction if interpreted else JITFunction
    before = cls.run

    def run(kernel: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> Any:
        compiled = before(kernel, *args, grid=grid, warmup=warmup, **kwargs) if recorder.gpu else None
        if not warmup:
            try:
                recorder.launch(kernel, grid, args, kwargs, compiled)
            except NoPlan as fault:
                recorder.refused.append(fault)
                raise
        return compiled

    cls.run = run
    try:
        yield
    finally:
        cls.run = before


def record(model: Any, inputs: list[Any], call: Callable[[], Any], *, compiles: bool, interpreted: bool) -> LaunchPlan:
    """Return the plan of `call`, which calls `model` on `inputs`: of its second run, when it is compiled and tuned.

    On a GPU it compiles; without one its kernels are made for Triton's interpreter or, `interpreted` is False, not.

    Raises:
        NoPlan: it does what a plan cannot express.
    """
    import torch

    parameters = [name for name, _ in model.named_parameters()]
    with torch.no_grad():
        if compiles:
            call()  # compiles and tunes, which calls torch's own operations
        else:
            _recorded(model, inputs, call, Recorder(gpu=False), interpreted)
        recorder = Recorder(gpu=compiles)
        result = _recorded(model, inputs, call, recorder, interpreted)
    return recorder.plan(result, parameters)


def _recorded(model: Any, inputs: list[Any], call: Callable[[], Any], recorder: Recorder, interpreted: bool) -> Any:
    given = tensors(inputs)
    for place, tensor in enumerate(given):
        recorder.name(tensor, origin="input", input=place)
    before = list(map(recorder.region, given))
    for name, tensor in state_of(model).items():
        recorder.name(tensor, origin="state", state=name)
    with _launches(recorder, interpreted), _Operations(recorder):
        result = call()
    if list(map(recorder.region, given)) != before:
        raise NoPlan("forward gives an input other memory or another form", "Leave inputs as they are.")
    return result


def state_of(model: Any) -> dict[str, Any]:
    """Return a model's parameters and buffers by name."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _storage(tensor: Any) -> tuple[Any, int]:
    """Return a tensor's storage and what tells it from others; Python's objects for one storage differ."""
    import torch

    with torch._C.DisableTorchFunction():  # noqa: SLF001  # see `Recorder.region`
        storage = tensor.untyped_storage()
        return storage, storage._cdata  # noqa: SLF001  # there is no public name


def _device(tensor: Any) -> str:
    import torch

    with torch._C.DisableTorchFunction():  # noqa: SLF001  # see `Recorder.region`
        return str(tensor.device.type)


def _plain(value: Any) -> bool:
    return value is None or type(value) in (bool, int, float, str)


def _place() -> str:
    """Return "candidate.py:12: ", the innermost line of the working directory that is being run."""
    own = [frame for frame in traceback.extract_stack() if Path(frame.filename).parent == Path.cwd()]
    return f"{Path(own[-1].filename).name}:{own[-1].lineno}: " if own else ""

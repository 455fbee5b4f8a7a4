"""A GPU that is not there: a forward that asks torch for its device is answered as on one; tensors stay in place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from rooflift.project.gpus import GpuSpec, spec_for_target
from rooflift.worker.launch_plan import NoPlan

INTERPRETED = 90  # the GPU that a forward in the interpreter believes to be on


class Address(int):
    """The address of every tensor without values: one that a kernel cannot be given, as a plan has no addresses."""


ADDRESS = Address(0x7F2A_4000_0000)  # as well aligned as a GPU's allocator does


@contextmanager
def gpu_stands_in(place: str) -> Iterator[None]:
    """Let `x.is_cuda`, `x.device`, `device="cuda"` and the usual questions to torch.cuda be answered while it lasts.

    Tensors lie in `place`, "cpu" or "meta"; on "cuda" nothing is changed. The GPU is the one that kernels are compiled
    for, in the interpreter an H100. Streams, events, graphs and memory of a GPU are not stood in for.
    """
    if place.startswith("cuda"):
        yield
        return
    import torch
    from torch.overrides import TorchFunctionMode

    answers = {"is_cuda": True, "is_cpu": False, "is_meta": False, "device": torch.device("cuda", 0)}

    class OnGpu(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            if func.__name__ == "__get__" and getattr(func, "__self__", None) is not None:
                name = getattr(func.__self__, "__name__", "")
                return answers[name] if name in answers else func(*args, **kwargs)
            if place == "meta" and func in (torch.Tensor.__repr__, torch.Tensor.untyped_storage, torch.Tensor.storage):
                raise NoPlan(
                    f"forward calls {func.__name__} of a tensor", "A launch plan has no values: ask shapes alone."
                )
            if place == "meta" and func is torch.Tensor.data_ptr:
                return ADDRESS
            if func in (torch.Tensor.cuda, torch.Tensor.get_device):
                return args[0] if func is torch.Tensor.cuda else 0
            args = tuple(place if _is_gpu(x, func is torch.Tensor.to) else x for x in args)
            kwargs = {key: place if key == "device" and _is_gpu(x, True) else x for key, x in kwargs.items()}
            return func(*args, **kwargs)

    no_cudnn = patch.object(torch.backends.cudnn, "is_acceptable", lambda _: False)  # it would lay out an RNN's weights
    with patch.multiple(torch.cuda, **_answers(_spec())), no_cudnn, OnGpu():
        yield


def _spec() -> GpuSpec:
    """Return the GPU of triton's active driver, a stand-in that compiles; in the interpreter there is none."""
    from triton.runtime import driver

    try:
        return spec_for_target(int(driver.active.get_current_target().arch))
    except RuntimeError:
        return spec_for_target(INTERPRETED)


def _is_gpu(value: Any, strings: bool) -> bool:
    """Whether a value names a GPU: a torch.device, or a string where one can only be a device."""
    import torch

    if isinstance(value, torch.device):
        return value.type == "cuda"
    return strings and isinstance(value, str) and value.partition(":")[0] == "cuda"


def _answers(spec: GpuSpec) -> dict[str, Any]:
    """Return what stands for the functions of torch.cuda."""
    major, minor = map(int, spec.compute_capability.split("."))
    properties = SimpleNamespace(
        name=spec.name,
        major=major,
        minor=minor,
        multi_processor_count=spec.sm_count,
        max_threads_per_multi_processor=spec.max_threads_per_sm,
        regs_per_multiprocessor=spec.registers_per_sm,
        shared_memory_per_block_optin=spec.max_shared_bytes_per_block,
        shared_memory_per_multiprocessor=spec.shared_bytes_per_sm,
        warp_size=spec.warp_size,
        L2_cache_size=spec.l2_bytes,
    )
    stream = SimpleNamespace(cuda_stream=0, synchronize=lambda: None)
    return {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": lambda _: None,
        "synchronize": lambda *_: None,
        "device": lambda _: nullcontext(),
        "device_of": lambda _: nullcontext(),
        "current_stream": lambda *_: stream,
        "get_device_capability": lambda *_: (major, minor),
        "get_device_name": lambda *_: spec.name,
        "get_device_properties": lambda *_: properties,
    }

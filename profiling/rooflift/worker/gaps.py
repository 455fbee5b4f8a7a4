"""What Triton's interpreter lacks, told apart from what is wrong with a kernel: by what was raised, and where."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from pathlib import Path


def interpreter_gap(error: BaseException) -> str:
    """Return what the interpreter or a machine without a GPU lacks, in a few words; "" where a kernel is at fault.

    A kernel that raised it may be right: a GPU can tell. What Triton's compiler refuses as well is the kernel's: shapes
    that do not fit, a block that is no power of two, a method that tensors do not have, an assertion that fails.
    """
    if os.environ.get("TRITON_INTERPRET") != "1":
        return ""
    from triton.runtime.errors import InterpreterError

    chain = list(_causes(error))
    root, places = chain[-1], traceback.extract_tb(chain[-1].__traceback__)
    place = Path(places[-1].filename) if places else Path()
    if not any(isinstance(link, InterpreterError) for link in chain):
        asks_torch = place.match("torch/cuda/*.py") or "NVIDIA driver" in str(root)
        return f"a GPU, which the file asks for ({_first_line(root)})" if asks_torch else ""
    if isinstance(root, NotImplementedError):
        return _first_line(root).removesuffix(" not supported in interpreter mode")
    if isinstance(root, AttributeError):
        return _missing_attribute(root, place)
    if "_semantic" in str(root):  # an operation that the interpreter does not know of
        return f"{places[-2].line or 'an operation'}" if len(places) > 1 else "an operation"
    in_itself = place.match("triton/runtime/interpreter.py") or not (
        place.is_relative_to(Path.cwd()) or "triton" in place.parts
    )
    return _first_line(root) if in_itself and not isinstance(root, AssertionError) else ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and what it was raised from: the interpreter wraps it once for each function."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__


def _missing_attribute(error: AttributeError, place: Path) -> str:
    """Return what the builder lacks, or a method that a Python number has not and the tensor on a GPU has."""
    import triton.language as tl
    from triton.runtime.interpreter import InterpreterBuilder

    if isinstance(error.obj, InterpreterBuilder):
        return str(error.name)
    if isinstance(error.obj, int | float) and hasattr(tl.tensor, error.name or ""):
        return f".{error.name} of a Python number"
    return _first_line(error) if "triton" in place.parts else ""


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

"""Triton's interpreter, brought nearer to a GPU: what it lacks and kernels need, and what it computes otherwise.

It keeps bfloat16 and the 8-bit floats as integers, and adds and compares their bits; it truncates where a GPU rounds to
nearest; loop variables and numbers among a kernel's arguments stay Python's; float32 products are exact, where tl.dot
rounds the factors to TF32 unless it is told otherwise. What is still missing is a gap (`gaps`).
"""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Callable, Iterator
from functools import wraps
from typing import TYPE_CHECKING, Any

from rooflift.compile.kernels import stand_in_driver
from rooflift.worker.libdevice import interpret_libdevice
from rooflift.worker.number_formats import FLOAT32_BITS, handle_of, is_kept_as_bits, numbers, round_mantissa
from rooflift.worker.stand_in import INTERPRETED

if TYPE_CHECKING:
    import numpy as np

PRODUCT_BITS = {"TF32": 10, "BF16x3": 15}  # that tl.dot keeps of a float32 factor; the other precisions keep them all
STEPS = "rooflift_steps"  # what loops over `range` are rewritten to


def fix_interpreter() -> None:
    """Let this process interpret what a GPU would run; to be called before kernel files are loaded.

    triton.autotune takes its first configuration, since there is no GPU to try the others on.
    """
    import triton

    triton.runtime.driver.set_active(stand_in_driver(INTERPRETED, "cpu"))
    autotune = triton.autotune
    triton.autotune = lambda configs, *args, **kwargs: autotune(list(configs)[:1], *args, **kwargs)
    _convert()
    _compute_in_float32()
    _multiply()
    _take_numbers_as_tensors()
    _let_descriptors_start_anywhere()
    interpret_libdevice()


def _convert() -> None:
    """Read and round what is kept as bits when it is cast, and let constants be bfloat16."""
    import numpy as np
    import triton.language as tl
    from triton._C.libtriton import ir
    from triton.runtime.interpreter import InterpreterBuilder

    cast, convert = InterpreterBuilder.cast_impl, InterpreterBuilder.create_fp_to_fp

    def cast_by_number(builder: Any, source: Any, to: Any) -> Any:
        if is_kept_as_bits(source.dtype.scalar) or is_kept_as_bits(to.scalar):
            return handle_of(numbers(source), to.scalar)
        return cast(builder, source, to)

    def convert_by_number(builder: Any, source: Any, to: Any, rounding: Any) -> Any:
        if rounding == ir.ROUNDING_MODE.RTZ:
            return convert(builder, source, to, rounding)
        return cast_by_number(builder, source, to)

    InterpreterBuilder.cast_impl, InterpreterBuilder.create_fp_to_fp = cast_by_number, convert_by_number
    InterpreterBuilder.get_bf16 = lambda _, value: handle_of(np.array([value]), tl.bfloat16)


def _compute_in_float32() -> None:
    """Compute what is kept as bits in float32, and round each result; a GPU's minimum passes over NaN."""
    import numpy as np
    from triton.runtime.interpreter import InterpreterBuilder, ReduceOps

    for name in ("binary_op", "ternary_op", "unary_op", "create_fma", "create_erf", "create_rsqrt"):
        setattr(InterpreterBuilder, name, _in_float32(getattr(InterpreterBuilder, name)))
    InterpreterBuilder.create_minnumf = lambda builder, x, y: builder.binary_op(x, y, np.fmin)
    InterpreterBuilder.create_maxnumf = lambda builder, x, y: builder.binary_op(x, y, np.fmax)
    InterpreterBuilder.create_atomic_rmw = _with_bfloat16(InterpreterBuilder.create_atomic_rmw)
    ReduceOps.sum, ReduceOps.min_max = _reduced(ReduceOps.sum), _reduced(ReduceOps.min_max)


def _in_float32(operation: Callable[..., Any]) -> Callable[..., Any]:
    """Return an operation of the interpreter's builder that takes numbers kept as bits, too."""
    import numpy as np
    import triton.language as tl
    from triton.runtime.interpreter import TensorHandle

    @wraps(operation)
    def run(builder: Any, *operands: Any) -> Any:
        small = [isinstance(x, TensorHandle) and is_kept_as_bits(x.dtype.scalar) for x in operands]
        if not any(small):
            found = operation(builder, *operands)  # says of a comparison that it is of its operands' dtype
            return TensorHandle(found.data, tl.int1) if found.data.dtype == np.bool_ else found
        dtype = operands[small.index(True)].dtype.scalar
        wide = (TensorHandle(numbers(x), tl.float32) if read else x for x, read in zip(operands, small, strict=True))
        found = operation(builder, *wide)
        return handle_of(found.data, dtype) if found.data.dtype == np.float32 else found

    return run


def _reduced(reduction: Callable[..., Any]) -> Callable[..., Any]:
    """Return one of the interpreter's own reductions that takes numbers kept as bits, too."""
    import triton.language as tl
    from triton.runtime.interpreter import TensorHandle

    @wraps(reduction)
    def run(self: Any, values: Any, *rest: Any, **operations: Any) -> Any:
        one = values[0] if isinstance(values, tuple) else values
        if not is_kept_as_bits(one.dtype):
            return reduction(self, values, *rest, **operations)
        wide = tl.tensor(TensorHandle(numbers(one.handle), tl.float32), tl.block_type(tl.float32, one.shape))
        found = reduction(self, wide, *rest, **operations)
        parts = found if isinstance(found, tuple) else (found,)
        narrow = tuple(
            self.to_tensor(handle_of(x.handle.data, one.dtype).data.reshape(x.shape), one.dtype)
            if x.dtype == tl.float32
            else x
            for x in parts
        )
        return narrow if isinstance(found, tuple) else narrow[0]

    return run


def _with_bfloat16(atomic: Callable[..., Any]) -> Callable[..., Any]:
    """Return the atomic operations with an addition of bfloat16: each address once at a time."""
    import numpy as np
    from triton.runtime.interpreter import TensorHandle, _interpreter

    def run(builder: Any, operation: Any, pointer: Any, value: Any, mask: Any, *rest: Any) -> Any:
        dtype = value.dtype.scalar
        if dtype.name != "bf16" or operation.name != "FADD":
            return atomic(builder, operation, pointer, value, mask, *rest)
        shape = np.broadcast_shapes(pointer.data.shape, value.data.shape)
        places, added, active = (np.broadcast_to(x.data, shape).ravel() for x in (pointer, value, mask))
        before, left = np.zeros(places.shape, np.uint16), np.flatnonzero(active)
        while left.size:
            now = left[np.unique(places[left], return_index=True)[1]]
            every, none = np.ones(now.shape, bool), np.zeros(now.shape, np.uint16)
            before[now] = _interpreter.load(places[now], every, none, np.dtype(np.uint16))
            pair = (TensorHandle(x[now], dtype) for x in (before, added))
            _interpreter.store(places[now], builder.create_fadd(*pair).data, every)
            left = np.setdiff1d(left, now)
        return TensorHandle(before.reshape(shape), dtype)

    return run


def _multiply() -> None:
    """Let tl.dot round the factors as the tensor cores do, and read those that are kept as bits."""
    import triton.language as tl
    from triton._C.libtriton import ir
    from triton.runtime import interpreter

    builder = interpreter.interpreter_builder
    dot, options = type(builder).create_dot, builder.options
    more = tuple(x.lower() for x in ("BF16x3", "BF16x6") if hasattr(ir.INPUT_PRECISION, x))
    known = (*options.allowed_dot_input_precisions, *more)
    builder.options = dataclasses.replace(options, allowed_dot_input_precisions=known)

    def rounded_dot(builder: Any, a: Any, b: Any, d: Any, precision: Any, *rest: Any) -> Any:
        kept = PRODUCT_BITS.get(getattr(precision, "name", ""), FLOAT32_BITS)

        def factor(x: Any) -> Any:
            if is_kept_as_bits(x.dtype.scalar):
                return interpreter.TensorHandle(numbers(x), tl.float32)
            rounds = x.dtype.scalar == tl.float32 and kept < FLOAT32_BITS
            return interpreter.TensorHandle(round_mantissa(x.data, kept), tl.float32) if rounds else x

        return dot(builder, factor(a), factor(b), d, precision, *rest)

    type(builder).create_dot = rounded_dot


def _take_numbers_as_tensors() -> None:
    """Make loop variables, and floats and booleans among a kernel's arguments, the tensors that they are on a GPU."""
    import numpy as np
    import triton.language as tl
    from triton.runtime import interpreter

    def tensor(value: Any, dtype: Any, held: Any) -> Any:
        return tl.tensor(interpreter.TensorHandle(np.array([value], held), dtype), dtype)

    def steps(start: Any, stop: Any = None, step: Any = 1, **_: Any) -> Iterator[Any]:
        """Yield the values of a loop variable; `tl.range` has hints for the compiler besides."""
        bounds = (0, start, step) if stop is None else (start, stop, step)
        wide = any(isinstance(x, tl.tensor) and x.dtype == tl.int64 for x in bounds)
        kind = (tl.int64, np.int64) if wide else (tl.int32, np.int32)
        return (tensor(value, *kind) for value in range(*(1 if x is None else int(x) for x in bounds)))

    class Loops(interpreter.ASTTransformer):  # type: ignore[misc]
        def visit_For(self, node: ast.For) -> ast.For:  # noqa: N802
            self.generic_visit(node)
            if isinstance(node.iter, ast.Call) and ast.unparse(node.iter.func) in ("range", "tl.range"):
                node.iter.func = ast.copy_location(ast.Name(STEPS, ast.Load()), node.iter.func)
            return node

    convert = interpreter._implicit_cvt  # noqa: SLF001

    def argument(value: Any) -> Any:
        if isinstance(value, bool):
            return tensor(value, tl.int1, np.bool_)
        return tensor(value, tl.float32, np.float32) if isinstance(value, float) else convert(value)

    setattr(interpreter, STEPS, steps)  # the interpreter gives its globals to the kernels that it rewrites
    interpreter.FunctionRewriter.ast_transformer = Loops()
    interpreter._implicit_cvt = argument  # noqa: SLF001


def _let_descriptors_start_anywhere() -> None:
    """Let a block of a tensor descriptor begin at any element: TMA wants base and strides aligned, no coordinates."""
    import numpy as np
    from triton.runtime.interpreter import TensorDescHandle, TensorHandle

    def pointers(self: Any, offsets: list[Any]) -> tuple[Any, np.ndarray]:
        size = self.base.dtype.element_ty.primitive_bitwidth // 8
        places, inside = np.broadcast_to(self.base.data, self.block_shape), np.ones(self.block_shape, bool)
        for axis, (offset, length) in enumerate(zip(offsets, self.block_shape, strict=True)):
            along = [length if other == axis else 1 for other in range(len(self.block_shape))]
            at = (offset.data + np.arange(length)).reshape(along)
            places = places + (size * at * self.strides[axis].data).astype(np.uint64)
            inside = inside & (at >= 0) & (at < self.shape[axis].data)
        return TensorHandle(places, self.base.dtype.scalar), inside

    TensorDescHandle.materialize_pointers = pointers

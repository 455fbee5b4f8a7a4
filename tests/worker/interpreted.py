"""A program that the tests run in Triton's interpreter: small kernels, each beside what a GPU gives.

`python interpreted.py` prints {name of the kernel: the largest difference relative to the largest value, or the gap}.
"""

# ruff: noqa: N803  # constants of kernels are in capitals
from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import triton
import triton.language as tl

from rooflift.worker.gaps import interpreter_gap
from rooflift.worker.interpreter import fix_interpreter

fix_interpreter()

from triton.language.extra import libdevice  # noqa: E402  # a kernel file is loaded afterwards, too

Pair = tuple[torch.Tensor, torch.Tensor]  # what the kernel gives, and what a GPU gives
KERNELS: dict[str, Callable[[], Pair]] = {}


def kernel(function: Callable[[], Pair]) -> Callable[[], Pair]:
    KERNELS[function.__name__] = function
    return function


def bf16(*shape: int) -> torch.Tensor:
    return torch.randn(shape).bfloat16()


@triton.jit
def arithmetic(x_ptr, z_ptr, y_ptr, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    x, z = tl.load(x_ptr + at), tl.load(z_ptr + at)
    y = tl.where(x > z, x * 2.0 + tl.full((BLOCK,), 1.5, tl.bfloat16), tl.abs(-x) * z)
    tl.store(y_ptr + at, y)


@kernel
def bfloat16_arithmetic_and_constants() -> Pair:
    x, z = bf16(256), bf16(256)
    y = torch.empty_like(x)
    arithmetic[(1,)](x, z, y, BLOCK=256)
    return y, torch.where(x > z, x * 2.0 + 1.5, x.abs() * z)


@triton.jit
def product(a, b):
    return a * b


@triton.jit
def reduced(x_ptr, y_ptr, BLOCK: tl.constexpr):
    x = tl.load(x_ptr + tl.arange(0, BLOCK))
    tl.store(y_ptr, tl.sum(x))
    tl.store(y_ptr + 1, tl.max(x))
    tl.store(y_ptr + 2, tl.argmin(x, 0).to(tl.bfloat16))
    tl.store(y_ptr + 3, tl.reduce(x, 0, product))
    scanned = tl.associative_scan(x, 0, product)
    tl.store(y_ptr + 4 + tl.arange(0, BLOCK), scanned)


@kernel
def bfloat16_reductions_and_scans() -> Pair:
    x = torch.tensor([1.0, -2.0, 0.5, 4.0, 3.0, -1.0, 2.0, 1.0]).bfloat16()
    y = x.new_empty(4 + 8)
    reduced[(1,)](x, y, BLOCK=8)
    products = x.cumprod(0)
    return y, torch.cat([torch.stack([x.sum(), x.max(), x.argmin().bfloat16(), products[-1]]), products])


@triton.jit
def cast(x_ptr, y_ptr, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    tl.store(y_ptr + at, tl.load(x_ptr + at).to(y_ptr.dtype.element_ty))


def casts(x: torch.Tensor, dtype: torch.dtype) -> Pair:
    y = torch.empty(x.shape, dtype=dtype)
    cast[(1,)](x, y, BLOCK=x.numel())
    if dtype.itemsize == 1:  # NVIDIA's casts saturate, torch's give NaN or inf
        x = x.float().clamp(-torch.finfo(dtype).max, torch.finfo(dtype).max)
    return y.float(), x.to(dtype).float()


for source, target in (
    (torch.float32, torch.bfloat16),
    (torch.int32, torch.bfloat16),
    (torch.bfloat16, torch.int32),
    (torch.float32, torch.float8_e4m3fn),
    (torch.bfloat16, torch.float8_e5m2),
    (torch.float8_e4m3fn, torch.bfloat16),
):
    values = (torch.linspace(-500, 500, 1024) ** 3 / 1e5).to(source)
    KERNELS[f"{source}_to_{target}".replace("torch.", "")] = partial(casts, values, target)


@triton.jit
def added(x_ptr, place_ptr, y_ptr, n, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    place = tl.load(place_ptr + at, mask=at < n, other=0)
    tl.atomic_add(y_ptr + place, tl.load(x_ptr + at, mask=at < n), mask=at < n)


@kernel
def bfloat16_atomics_where_several_meet() -> Pair:
    place = torch.arange(30) % 4
    y = torch.zeros(4).bfloat16()
    added[(1,)](torch.ones(30).bfloat16(), place, y, 30, BLOCK=32)
    return y, torch.bincount(place).bfloat16()


@triton.jit
def wide(row):
    return row.to(tl.int64)


@triton.jit
def rows(x_ptr, y_ptr, n, columns, scale, double, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    for row in range(tl.program_id(0), n, tl.num_programs(0)):
        for step in tl.range(0, tl.cdiv(columns, BLOCK), num_stages=2, warp_specialize=False):
            place = (step * BLOCK).to(tl.int64) + at
            x = tl.load(x_ptr + wide(row) * columns + place, mask=place < columns)
            if double:
                x *= 2
            tl.store(y_ptr + row * columns + place, x * scale.to(tl.float32), mask=place < columns)


@kernel
def loop_variables_and_scalars_are_tensors() -> Pair:
    x = torch.randn(5, 19)
    y = torch.empty_like(x)
    rows[(2,)](x, y, 5, 19, 0.5, True, BLOCK=8)
    return y, x


@triton.jit
def multiplied(a_ptr, b_ptr, y_ptr, PRECISION: tl.constexpr, SIZE: tl.constexpr):
    row, column = tl.arange(0, SIZE)[:, None], tl.arange(0, SIZE)[None, :]
    a, b = tl.load(a_ptr + row * SIZE + column), tl.load(b_ptr + row * SIZE + column)
    tl.store(y_ptr + row * SIZE + column, tl.dot(a, b, input_precision=PRECISION))


def dot(dtype: torch.dtype, precision: str | None = None) -> Pair:
    a, b = torch.randn(32, 32).to(dtype), torch.randn(32, 32).to(dtype)
    y = torch.empty(32, 32)
    multiplied[(1,)](a, b, y, PRECISION=precision, SIZE=32)
    return y, a.float() @ b.float()


KERNELS |= {
    "dot_of_bfloat16": lambda: dot(torch.bfloat16),
    "dot_of_8_bits": lambda: dot(torch.float8_e4m3fn),
    "dot_of_float32_in_full": lambda: dot(torch.float32, "ieee"),
    "dot_of_float32_in_three_products": lambda: dot(torch.float32, "tf32x3"),
    "dot_of_float32": lambda: dot(torch.float32),
    "dot_of_float32_in_tf32": lambda: dot(torch.float32, "tf32"),
}


@triton.jit
def functions(x_ptr, y_ptr, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + at)
    tl.store(y_ptr + at, libdevice.tanh(x) + libdevice.pow(x, x) + libdevice.round(x) + libdevice.div_rn(x, x))


@kernel
def functions_of_libdevice() -> Pair:
    x = torch.tensor([0.5, 1.0, 1.5, 2.5])
    y = torch.empty_like(x)
    functions[(1,)](x, y, BLOCK=4)
    return y, x.tanh() + x.pow(x) + torch.tensor([1.0, 1.0, 2.0, 3.0]) + 1


@triton.jit
def floored(x_ptr, y_ptr, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    tl.store(y_ptr + at, tl.maximum(tl.load(x_ptr + at), 0.0))


@kernel
def maximum_passes_over_nan() -> Pair:
    x = torch.tensor([float("nan"), 1.0, -1.0, 2.0])
    y = torch.empty_like(x)
    floored[(1,)](x, y, BLOCK=4)
    return y, torch.tensor([0.0, 1.0, 0.0, 2.0])


@triton.jit
def assembly(x_ptr, y_ptr, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    y = tl.inline_asm_elementwise(
        "ex2.approx.f32 $0, $1;", "=f,f", [tl.load(x_ptr + at)], dtype=tl.float32, is_pure=True, pack=1
    )
    tl.store(y_ptr + at, y)


@triton.jit
def unknown_to_libdevice(x_ptr, y_ptr, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    tl.store(y_ptr + at, libdevice.j0(tl.load(x_ptr + at)))


@triton.jit
def added_by_descriptor(x_ptr, y_ptr, BLOCK: tl.constexpr):
    there = tl.make_tensor_descriptor(y_ptr, [BLOCK], [1], [BLOCK])
    there.atomic_add([0], tl.load(x_ptr + tl.arange(0, BLOCK)))


@triton.jit
def block_of_three(x_ptr, y_ptr, BLOCK: tl.constexpr):
    tl.store(y_ptr + tl.arange(0, BLOCK - 1), 0.0)


@triton.jit
def shapes_that_do_not_fit(x_ptr, y_ptr, BLOCK: tl.constexpr):
    tl.store(y_ptr + tl.arange(0, BLOCK), tl.load(x_ptr + tl.arange(0, BLOCK)) + tl.arange(0, 2 * BLOCK))


@triton.jit
def no_such_method(x_ptr, y_ptr, BLOCK: tl.constexpr):
    tl.store(y_ptr + tl.arange(0, BLOCK), tl.load(x_ptr + tl.arange(0, BLOCK)).twice())


def launched(function: Any) -> Pair:
    x = torch.ones(4)
    function[(1,)](x, x.clone(), BLOCK=4)
    return x, x


@triton.jit
def masked_by_a_scalar(x_ptr, y_ptr, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    inside = (at < BLOCK) & (tl.load(x_ptr) < 2.0)
    tl.store(y_ptr + at, tl.load(x_ptr + at), mask=inside)


KERNELS |= {
    one.__name__: partial(launched, one)
    for one in (
        assembly,
        unknown_to_libdevice,
        added_by_descriptor,
        block_of_three,
        shapes_that_do_not_fit,
        no_such_method,
        masked_by_a_scalar,
    )
}


def main() -> None:
    found: dict[str, Any] = {}
    for name, run in KERNELS.items():
        torch.manual_seed(0)
        try:
            got, wanted = run()
        except Exception as error:  # noqa: BLE001  # it is what is asked for
            found[name] = {"gap": interpreter_gap(error)}
            continue
        off = (got.double() - wanted.double()).abs().nan_to_num(nan=torch.inf).max()
        found[name] = float(off / wanted.double().abs().max())
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()

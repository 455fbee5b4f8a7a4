"""What a call of a candidate does on the GPU, as data: fills, copies and kernel launches on numbered buffers.

A plan is made by the process that loads the candidate (`record`) and carried out by one that does not (`replay`).
Shapes only: no torch. What comes from a candidate's process is decoded with these types and then checked (`check`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec

from rooflift.errors import RoofliftError

MOST_BYTES = 64 * 2**20  # of a plan as a file, binaries included
MOST_STEPS = 10_000
MOST_BUFFER_BYTES = 2**40  # that a plan may speak of; what it allocates is bounded where it is carried out
ITEM_BYTES = {
    **dict.fromkeys(("bool", "int8", "uint8", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"), 1),
    **dict.fromkeys(("int16", "uint16", "float16", "bfloat16"), 2),
    **dict.fromkeys(("int32", "uint32", "float32"), 4),
    **dict.fromkeys(("int64", "uint64", "float64"), 8),
}
DTYPES = {  # of triton.language
    *("void", "int1", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float8e5", "float8e5b16", "float8e4nv", "float8e4b8", "float8e4b15"),
    *("float16", "bfloat16", "float32", "float64"),
}
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")

Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
Index = Annotated[int, msgspec.Meta(ge=0, le=100_000)]
Word = Annotated[str, msgspec.Meta(max_length=200)]


class NoPlan(RoofliftError):
    """A plan cannot express what a candidate does, or a file that should hold one does not."""


class Buffer(msgspec.Struct, frozen=True):
    """A block of memory: the storage of an input (by its place) or of the model's state (by its name), or fresh."""

    origin: Literal["input", "state", "fresh"]
    bytes: Annotated[int, msgspec.Meta(ge=0, le=MOST_BUFFER_BYTES)]
    input: Index = 0
    state: Word = ""


class Region(msgspec.Struct, frozen=True, tag=True):
    """A tensor: where it lies in a buffer, in elements of its dtype."""

    buffer: Index
    offset: Count
    size: tuple[Count, ...]
    stride: tuple[Count, ...]
    dtype: Word


class DType(msgspec.Struct, frozen=True, tag=True):
    """A type of triton.language, such as "float32"."""

    name: Word


class Kernel(msgspec.Struct, frozen=True, tag=True):
    """A kernel that is an argument of another."""

    name: Word


class Items(msgspec.Struct, frozen=True, tag=True):
    """A tuple of arguments."""

    items: tuple[Any, ...]  # of `Argument`s; msgspec has no recursive types, `argument` converts them


class Descriptor(msgspec.Struct, frozen=True, tag=True):
    """A tensor descriptor made on the host."""

    base: Region
    shape: tuple[Count, ...]
    strides: tuple[Count, ...]
    block_shape: tuple[Count, ...]
    padding: Word = "zero"
    rounds_to_tf32: bool = False


Argument = Region | DType | Kernel | Items | Descriptor | int | float | bool | str | None


class Fill(msgspec.Struct, frozen=True, tag=True):
    """Every element of a tensor gets one value."""

    to: Region
    value: int | float | bool


class Copy(msgspec.Struct, frozen=True, tag=True):
    """A tensor is copied into another of the same shape, and cast."""

    to: Region
    source: Region


class Launch(msgspec.Struct, frozen=True, tag=True):
    """A kernel, its grid, its arguments in the order of its parameters, and options such as num_warps."""

    kernel: Word
    grid: tuple[Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)], ...]
    arguments: tuple[Argument, ...]
    options: dict[Word, int | float | bool | str | None] = {}
    binary: Index | None = None  # of `LaunchPlan.binaries`; None where nothing was compiled


class Binary(msgspec.Struct, frozen=True):
    """A compiled kernel: the cubin, what its launcher has to know, and the parameters by name and type."""

    name: Word
    cubin: bytes
    parameters: tuple[Word, ...]
    signature: dict[Word, Any]
    metadata: dict[Word, Any]
    packed: tuple[int, ...]


class Source(msgspec.Struct, frozen=True):
    """A function under triton.jit as it stands in the candidate: its text from `def` on, and the line of `def`."""

    name: Word
    text: Annotated[str, msgspec.Meta(max_length=2**20)]
    line: Annotated[int, msgspec.Meta(ge=1, le=2**20)]
    decorator: Literal["triton.jit", "triton.constexpr_function"] = "triton.jit"


class Named(msgspec.Struct, frozen=True, tag=True):
    """Something of triton or math that a kernel names: a module, or with `attribute` what is in it."""

    module: Word
    attribute: Word = ""


class Constant(msgspec.Struct, frozen=True, tag=True):
    """A value at module level that a kernel names; only a constexpr is one that Triton's compiler takes."""

    value: Argument
    constexpr: bool


class Returned(msgspec.Struct, frozen=True):
    """One value of the result, and its place, such as "[1]"."""

    place: Annotated[str, msgspec.Meta(max_length=1000)]
    value: Region | int | float | bool | str | None


class LaunchPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a candidate's forward, after the first."""

    buffers: tuple[Buffer, ...]
    steps: Annotated[tuple[Fill | Copy | Launch, ...], msgspec.Meta(max_length=MOST_STEPS)]
    results: Annotated[tuple[Returned, ...], msgspec.Meta(max_length=1000)]
    sources: Annotated[tuple[Source, ...], msgspec.Meta(max_length=1000)] = ()  # of the kernels, where they are
    names: dict[Word, Named | Constant] = {}  # interpreted; what they name besides each other
    binaries: tuple[Binary, ...] = ()
    parameters: tuple[Word, ...] = ()  # which of the state are parameters

    @property
    def launches(self) -> list[Launch]:
        """The launches in order."""
        return [step for step in self.steps if isinstance(step, Launch)]


def argument(value: Any) -> Argument:
    """Return an item of `Items` as the argument that it is."""
    found: Argument = msgspec.convert(value, Argument)
    return found


def encode(plan: LaunchPlan) -> bytes:
    """Return a plan as bytes."""
    return msgspec.msgpack.encode(plan)


def decode(data: bytes) -> LaunchPlan:
    """Read a plan that a candidate's process made.

    Raises:
        NoPlan: the bytes are none, or too many, or name what cannot be.
    """
    if len(data) > MOST_BYTES:
        raise NoPlan(f"the launch plan has {len(data):,} bytes, of at most {MOST_BYTES:,}", "Launch fewer kernels.")
    try:
        plan = msgspec.msgpack.decode(data, type=LaunchPlan)
        check(plan)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise NoPlan(f"no launch plan can be made: {error}", "docs/trust.md says what a plan holds.") from None
    return plan


def check(plan: LaunchPlan) -> None:
    """Check that everything a plan speaks of is in it, and every tensor inside of its buffer.

    Raises:
        ValueError: it is not.
    """
    for name in (*plan.names, *(source.name for source in plan.sources)):
        if not NAME.fullmatch(name) or name.startswith("__"):
            raise ValueError(f"{name!r} is no name")
    if len({source.name for source in plan.sources}) < len(plan.sources):
        raise ValueError("two kernels have one name")
    for region in _regions(plan):
        _check_region(region, plan)
    _check_arguments(plan)
    for launch in plan.launches:
        if not 1 <= len(launch.grid) <= 3:
            raise ValueError(f"the grid {launch.grid} has not one to three dimensions")
        if launch.binary is not None and launch.binary >= len(plan.binaries):
            raise ValueError("a launch has no binary")
        if launch.binary is None and launch.kernel not in {source.name for source in plan.sources}:
            raise ValueError(f"there is no kernel {launch.kernel}")


def _check_arguments(plan: LaunchPlan) -> None:
    kernels = {source.name for source in plan.sources}
    for value in _values(plan):
        if isinstance(value, Kernel) and value.name not in kernels:
            raise ValueError(f"there is no kernel {value.name}")
        if isinstance(value, DType) and value.name not in DTYPES:
            raise ValueError(f"{value.name!r} is no dtype of a kernel")


def _regions(plan: LaunchPlan) -> Iterator[Region]:
    for step in plan.steps:
        match step:
            case Fill(to):
                yield to
            case Copy(to, source):
                if to.size != source.size:
                    raise ValueError(f"a copy of {source.size} into {to.size}")
                yield from (to, source)
    for value in _values(plan):
        match value:
            case Region():
                yield value
            case Descriptor(base):
                yield base
    yield from (one.value for one in plan.results if isinstance(one.value, Region))


def _values(plan: LaunchPlan) -> Iterator[Argument]:
    """Yield all arguments of launches and constants of kernels, those in tuples too."""
    for launch in plan.launches:
        for value in launch.arguments:
            yield from _each(value, 0)
    for named in plan.names.values():
        if isinstance(named, Constant):
            yield from _each(named.value, 0)


def _each(value: Argument, depth: int) -> Iterator[Argument]:
    if depth > 8:
        raise ValueError("an argument is nested too deeply")
    yield value
    if isinstance(value, Items):
        for item in value.items:
            yield from _each(argument(item), depth + 1)


def _check_region(region: Region, plan: LaunchPlan) -> None:
    if region.buffer >= len(plan.buffers):
        raise ValueError(f"there is no buffer {region.buffer}")
    if len(region.size) != len(region.stride):
        raise ValueError("sizes and strides of a tensor differ in number")
    if region.dtype not in ITEM_BYTES:
        raise ValueError(f"{region.dtype!r} is no dtype of a tensor")
    reach = sum((size - 1) * stride for size, stride in zip(region.size, region.stride, strict=True))
    last = region.offset + (reach + 1 if math.prod(region.size) else 0)
    if last * ITEM_BYTES[region.dtype] > plan.buffers[region.buffer].bytes:
        raise ValueError(f"a tensor of {region.size} leaves its buffer")

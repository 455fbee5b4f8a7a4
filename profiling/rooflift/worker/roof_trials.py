"""What competes for a roof: configurations of the kernels of `roof_kernels`, and products of cuBLAS. Times nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

MATRIX = (8192, 8192, 16384)  # rows, columns and inner size of the product from memory
MATRIX_FP64 = (8192, 8192, 2048)  # a GeForce card needs 0.2 s for it
COPIES = ((1024, 4), (2048, 4), (4096, 8))  # BLOCK, warps
READS = ((2048, 4, 4), (4096, 4, 8), (4096, 8, 16))  # BLOCK, LOADS, warps
CHAINS = ((1024, 4), (2048, 8), (4096, 8))  # LANES, warps
UNROLL = 16
THREADS_PER_SM = 1024  # resident at once on every GPU since Volta
TILES = ((128, 256, 256, 8, 1), (64, 256, 128, 4, 2), (64, 64, 64, 4, 4))  # M, N, bytes of K, warps, programs per SM
TILES_FP64 = ((64, 64, 128, 4, 4),)
SUMS = {"float64": "float64", "int8": "int32"}  # of the products, else float32
MATRIX_TILE = (128, 256, 128, 8, 8)  # M, N, bytes of K, GROUP, warps
STEPS = object()


@dataclass(frozen=True, slots=True)
class Trial:
    """One configuration of a kernel; STEPS among its arguments stands for how often it repeats its work."""

    work: int  # bytes or operations of one step, or of the launch where nothing repeats
    kernel: Any
    programs: int
    arguments: Sequence[Any]
    constants: Mapping[str, int]
    warps: int

    @property
    def repeats(self) -> bool:
        """Tell whether the kernel takes a number of steps."""
        return any(argument is STEPS for argument in self.arguments)

    @property
    def configuration(self) -> str:
        """The kernel's name with all that the compiler was told, and the grid."""
        constants = ", ".join(f"{name} {value}" for name, value in self.constants.items())
        return f"{self.kernel.__name__}: {constants}, {self.warps} warps, {self.programs} programs"

    def launch(self, steps: int) -> None:
        """Put one launch into the queue."""
        arguments = (steps if argument is STEPS else argument for argument in self.arguments)
        self.kernel[(self.programs,)](*arguments, **self.constants, num_warps=self.warps)


@dataclass(frozen=True, slots=True)
class LibraryCall:
    """A call of cuBLAS that competes with the kernels here; it has no steps."""

    work: int
    configuration: str
    call: Callable[[], Any]
    repeats: bool = False

    def launch(self, _steps: int) -> None:
        """Put one call into the queue."""
        self.call()


def copies(nbytes: int) -> Iterator[Trial]:
    """Copy a buffer of `nbytes`."""
    import torch

    from rooflift.worker.roof_kernels import copy

    source = torch.empty(nbytes // 4, dtype=torch.int32, device="cuda").random_()
    target = torch.empty_like(source)
    for block, warps in COPIES:
        yield Trial(2 * nbytes, copy, source.numel() // block, (source, target), {"BLOCK": block}, warps)


def reads(nbytes: int, sms: int) -> Iterator[Trial]:
    """Read a buffer of `nbytes`, again and again."""
    import torch

    from rooflift.worker.roof_kernels import read

    source = torch.empty(nbytes // 4, dtype=torch.int32, device="cuda").random_()
    for block, loads, warps in READS:
        programs = _programs(sms, warps)
        sums = torch.empty(programs, dtype=torch.int32, device="cuda")
        arguments = (source, sums, STEPS, source.numel() // block)
        yield Trial(4 * block * loads * programs, read, programs, arguments, {"BLOCK": block, "LOADS": loads}, warps)


def chains(dtype_name: str, sms: int) -> Iterator[Trial]:
    """Multiply and add in registers, in float32 or float64."""
    import torch

    from rooflift.worker.roof_kernels import multiply_add

    for lanes, warps in CHAINS:
        programs = _programs(sms, warps)
        x = torch.randn(programs * lanes, device="cuda", dtype=getattr(torch, dtype_name))
        arguments = (x, torch.empty_like(x), -1.0, STEPS)  # x = b - x: new values for ever, none of which grows
        constants = {"LANES": lanes, "UNROLL": UNROLL}
        yield Trial(2 * lanes * UNROLL * programs, multiply_add, programs, arguments, constants, warps)


def exponentials(sms: int) -> Iterator[Trial]:
    """Compute exponentials in registers."""
    import torch

    from rooflift.worker.roof_kernels import exponentials

    for lanes, warps in CHAINS:
        programs = _programs(sms, warps)
        x = torch.randn(programs * lanes, device="cuda")
        constants = {"LANES": lanes, "UNROLL": UNROLL}
        work = lanes * UNROLL * programs
        yield Trial(work, exponentials, programs, (x, torch.empty_like(x), STEPS), constants, warps)


def products(dtype_name: str, sms: int) -> Iterator[Trial | LibraryCall]:
    """Multiply matrices of a dtype on the tensor cores."""
    import torch

    from rooflift.worker.roof_kernels import matrix_product, tile_product

    dtype, sums_dtype = (getattr(torch, name) for name in (dtype_name, SUMS.get(dtype_name, "float32")))
    rows, columns, inner = MATRIX_FP64 if dtype_name == "float64" else MATRIX
    a, b = (_random(size, inner, dtype) for size in (rows, columns))
    yield LibraryCall(2 * rows * columns * inner, *_library_product(a, b, dtype_name))
    for m, n, depth_bytes, warps, programs_per_sm in TILES_FP64 if dtype_name == "float64" else TILES:
        k, programs = depth_bytes // dtype.itemsize, programs_per_sm * sms
        sums = torch.empty(programs * m, device="cuda", dtype=sums_dtype)
        constants = {"M": m, "N": n, "K": k}
        yield Trial(2 * m * n * k * programs, tile_product, programs, (a, b, sums, STEPS), constants, warps)
    if dtype_name == "float64":  # its accumulators do not fit into registers
        return
    m, n, depth_bytes, group, warps = MATRIX_TILE
    product = torch.empty(rows, columns, device="cuda", dtype=_result(dtype_name))
    constants = {"M": m, "N": n, "K": depth_bytes // dtype.itemsize, "GROUP": group}
    arguments = (a, b, product, columns, inner)
    yield Trial(2 * rows * columns * inner, matrix_product, rows // m * (columns // n), arguments, constants, warps)


def _random(rows: int, columns: int, dtype: Any) -> Any:
    """Return a matrix of normal random numbers, of int8 uniform ones."""
    import torch

    if dtype == torch.int8:
        return torch.randint(-127, 128, (rows, columns), device="cuda", dtype=dtype)
    drawn = dtype if dtype.itemsize > 1 else torch.bfloat16
    return torch.randn(rows, columns, device="cuda", dtype=drawn).to(dtype)


def _result(dtype_name: str) -> Any:
    import torch

    return {"int8": torch.int32, "float8_e4m3fn": torch.bfloat16}.get(dtype_name, getattr(torch, dtype_name))


def _library_product(a: Any, b: Any, dtype_name: str) -> tuple[str, Callable[[], Any]]:
    """Return cuBLAS's product of A and the transpose of B by torch's name for it, and the call."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = True  # this process measures rates, and checks no result
    if dtype_name == "int8":
        return "torch._int_mm", lambda: torch._int_mm(a, b.t())  # noqa: SLF001  # torch has no public name for it
    if dtype_name == "float8_e4m3fn":
        one = torch.ones((), device=a.device)
        fast = partial(torch._scaled_mm, out_dtype=torch.bfloat16, use_fast_accum=True)  # noqa: SLF001  # nor for this
        return "torch._scaled_mm, fast accumulation", lambda: fast(a, b.t(), scale_a=one, scale_b=one)
    return "torch.mm", lambda: torch.mm(a, b.t())


def _programs(sms: int, warps: int) -> int:
    """Return as many programs as all SMs hold at once."""
    return sms * THREADS_PER_SM // (32 * warps)

"""Kernels compiled for any GPU without one: registers, spills, SASS mix, theoretical occupancy; launches nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from types import SimpleNamespace
from typing import Any

from rooflift.compile.machine_code import machine_code_sha256
from rooflift.compile.occupancy import theoretical_occupancy
from rooflift.compile.sass import Instruction, disassemble, listing, parse_opcodes, parse_resources, sass_mix
from rooflift.errors import EnvironmentFault, KernelFault
from rooflift.project.cases import Case
from rooflift.project.gpus import GpuSpec, spec_for_target
from rooflift.schema import CompiledKernel


class DoesNotFit(KernelFault):
    """A kernel that compiles, and that no block of the GPU has the resources for."""


@dataclass(frozen=True, slots=True)
class _Launch:
    kernel: str
    config: str
    grid: tuple[int, ...]
    num_warps: int
    shared_bytes: int
    cubin: bytes


def compile_version(
    forward: Callable[[], object],
    version: str,
    case: Case,
    targets: Sequence[int],
    listed: list[list[Instruction]] | None = None,
) -> list[CompiledKernel]:
    """Compile the kernels that a version's forward launches, for each target (89, 90, ...), and read their binaries.

    `forward` makes the version and calls it on meta tensors: every launch compiles and none runs. Of an autotuned
    kernel the first configuration is compiled. A version in plain torch launches none, and nothing is returned.
    `listed` takes the instructions of each.

    Raises:
        KernelFault: a kernel does not compile, cannot be launched (DoesNotFit), or the forward does not run on meta
            tensors.
        CatalogError: a target is unknown.
        EnvironmentFault: cuobjdump is missing, or TRITON_INTERPRET is set.
    """
    specs = {sm: spec_for_target(sm) for sm in targets}
    launches: list[tuple[GpuSpec, int, _Launch]] = []
    dumps: dict[bytes, Future[str]] = {}
    with ThreadPoolExecutor() as pool:  # cuobjdump takes 0.3 s a binary; it reads one target while the next compiles
        for sm, spec in specs.items():
            for number, launch in enumerate(_compile_forward(forward, version, case, sm)):
                _require_fit(launch, spec, version)
                launches.append((spec, number, launch))
                if launch.cubin not in dumps:
                    dumps[launch.cubin] = pool.submit(disassemble, launch.cubin)
    if listed is not None:
        listed += [listing(launch.cubin) for _, _, launch in launches]
    return [
        _describe(version, case, spec, number, launch, dumps[launch.cubin].result())
        for spec, number, launch in launches
    ]


def require_compiles(forward: Callable[[], object], version: str, case: Case, target: int) -> None:
    """Compile what `forward` launches, for one target, and look whether its shared memory fits.

    Raises:
        KernelFault: a kernel does not compile, or cannot be launched; with the compiler's words.
    """
    for launch in _compile_forward(forward, version, case, target):
        _require_fit(launch, spec_for_target(target), version)


def _require_fit(launch: _Launch, spec: GpuSpec, version: str) -> None:
    """Refuse a kernel that no block of the GPU has the shared memory for: it compiles, and its launch fails."""
    if launch.shared_bytes > spec.max_shared_bytes_per_block:
        raise DoesNotFit(
            f"{launch.kernel} of {version} needs {launch.shared_bytes:,} bytes of shared memory a block; "
            f"sm_{spec.target} has {spec.max_shared_bytes_per_block:,}",
            "Make its tiles smaller, or num_stages.",
        )


def _describe(version: str, case: Case, spec: GpuSpec, number: int, launch: _Launch, dump: str) -> CompiledKernel:
    registers, stack_bytes = parse_resources(dump)
    opcodes = parse_opcodes(dump)
    sass = sass_mix(opcodes)
    occupancy = theoretical_occupancy(
        spec,
        threads_per_block=launch.num_warps * spec.warp_size,
        registers_per_thread=registers,
        shared_bytes_per_block=launch.shared_bytes,
    )
    return CompiledKernel(
        version=version,
        case=case.name,
        dtype=case.dtype,
        target=f"sm_{spec.target}",
        kernel=launch.kernel,
        launch=number,
        config=launch.config,
        grid=launch.grid,
        num_warps=launch.num_warps,
        registers=registers,
        stack_bytes=stack_bytes,
        spill_instructions=sass.get("local", 0),
        shared_bytes=launch.shared_bytes,
        code_sha256=machine_code_sha256(launch.cubin),
        sass=sass,
        opcodes=opcodes,
        occupancy_pct=occupancy.pct,
        occupancy_limit=occupancy.limit,
    )


def _compile_forward(forward: Callable[[], object], version: str, case: Case, sm: int) -> list[_Launch]:
    """Run one forward on meta tensors under `_compile_only`; every failure names version, target and case."""
    import torch

    where = f"{version} for sm_{sm} (case {case.name}, {case.dtype})"
    launches: list[_Launch] = []
    try:
        with (
            _compile_only(sm, launches),
            redirect_stdout(StringIO()),  # triton prints the whole PTX that ptxas refuses
            torch.no_grad(),
            torch.device("meta"),
        ):
            forward()
    except _NotCompiledError as failure:
        raise KernelFault(
            f"{failure.kernel} of {where} does not compile:\n{_tail(failure.__cause__)}",
            f"Correct {version} and compile it again; no GPU is needed.",
        ) from failure.__cause__
    except EnvironmentFault:
        raise
    except Exception as error:
        raise KernelFault(
            f"{where} does not load and run on meta tensors:\n{type(error).__name__}: {_tail(error)}",
            "A forward runs without data here: let it ask only shapes, dtypes and devices.",
        ) from error
    return launches


def resolved_grid(kernel: Any, grid: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the grid of a launch of a triton.jit function; where it is a function it is asked with the arguments."""
    if callable(grid):
        known = kernel.signature.parameters
        bound = kernel.signature.bind(*args, **{name: kwargs[name] for name in kwargs if name in known})
        bound.apply_defaults()
        grid = grid({**kwargs, **bound.arguments})
    return tuple(grid)


@contextmanager
def _compile_only(sm: int, launches: list[_Launch]) -> Iterator[None]:
    """Make triton compile and record each launch for `sm` and run none; an autotuner takes its first configuration."""
    import triton
    from triton.compiler.errors import CompilationError
    from triton.runtime import driver
    from triton.runtime.autotuner import Autotuner
    from triton.runtime.jit import JITFunction

    if triton.knobs.runtime.interpret:
        raise EnvironmentFault("TRITON_INTERPRET is set: kernels are not compiled.", "Unset it to inspect.")
    active, run, tune = driver._active, JITFunction.run, Autotuner.run  # noqa: SLF001  # `active` would ask for a GPU
    config = ""

    def compile_and_record(kernel: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> Any:  # noqa: ARG001
        try:
            compiled = run(kernel, *args, grid=grid, warmup=True, **kwargs)
        except Exception as error:
            while isinstance(error.__cause__, CompilationError):  # the callee's error is wrapped once for each caller
                error = error.__cause__
            raise _NotCompiledError(kernel.__name__) from error
        made, size = compiled.metadata, resolved_grid(kernel, grid, args, kwargs)
        launches.append(_Launch(made.name, config, size, made.num_warps, made.shared, compiled.asm["cubin"]))
        return compiled

    def take_first_config(tuner: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal config
        configs = tuner.configs
        config = f"1 of {len(configs)}: {configs[0]}"
        tuner.configs = configs[:1]  # a single configuration is not benchmarked
        try:
            return tune(tuner, *args, **kwargs)
        finally:
            tuner.configs, config = configs, ""

    driver.set_active(stand_in_driver(sm))
    JITFunction.run, Autotuner.run = compile_and_record, take_first_config
    try:
        yield
    finally:
        driver.set_active(active)
        JITFunction.run, Autotuner.run = run, tune


def stand_in_driver(sm: int, place: str = "meta") -> SimpleNamespace:
    """Return as much of a triton driver as compiling and the usual questions of a wrapper need."""
    import torch
    from triton.backends.compiler import GPUTarget

    spec = spec_for_target(sm)
    properties = {
        "multiprocessor_count": spec.sm_count,
        "max_shared_mem": spec.max_shared_bytes_per_block,
        "max_num_regs": spec.registers_per_sm,
        "warpSize": spec.warp_size,
    }
    return SimpleNamespace(
        get_current_target=lambda: GPUTarget("cuda", sm, spec.warp_size),
        get_current_device=lambda: sm,  # triton keeps kernels by device: a device for each target keeps targets apart
        get_current_stream=lambda _: 0,
        get_active_torch_device=lambda: torch.device(place),
        utils=SimpleNamespace(get_device_properties=lambda _: properties),
    )


class _NotCompiledError(Exception):
    """A kernel that triton or ptxas refused; the refusal is its cause."""

    def __init__(self, kernel: str) -> None:
        super().__init__(kernel)
        self.kernel = kernel


def _tail(said: object, lines: int = 12) -> str:
    return "\n".join(str(said).strip().splitlines()[-lines:])

"""The inspector compiles any version for any GPU without one, reads its binary right, and leaves triton as it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from rooflift.compile.kernels import CompiledKernel, compile_version
from rooflift.compile.occupancy import theoretical_occupancy
from rooflift.compile.sass import (
    SASS_GROUPS,
    cuobjdump_command,
    parse_listing,
    parse_opcodes,
    parse_resources,
    sass_mix,
)
from rooflift.errors import CatalogError, EnvironmentFault, KernelFault
from rooflift.project.cases import Case
from rooflift.project.gpus import GpuSpec, spec_for_target, specs
from rooflift.worker.compiled import forward_on_meta

DEPTHWISE = Path(__file__).parents[2] / "kernels" / "depthwise_conv2d"
RECORDED = json.loads(Path(__file__).with_name("h100_occupancy.json").read_text())
H100 = specs()["h100_sxm"]

# cuobjdump 12.8 on the depthwise baseline, cut to a few lines and given a stack; and how it prints sm_120.
DUMP = """
Resource usage:
 Common:
  GLOBAL:0
 Function depthwise_conv2d_kernel:
  REG:40 STACK:72 SHARED:0 LOCAL:0 CONSTANT[0]:608 TEXTURE:0 SURFACE:0 SAMPLER:0

	code for sm_90a
		Function : depthwise_conv2d_kernel
	.headerflags	@"EF_CUDA_TEXMODE_UNIFIED EF_CUDA_64BIT_ADDRESS EF_CUDA_SM90 EF_CUDA_VIRTUAL_SM(EF_CUDA_SM90)"
        /*0000*/                   LDC R1, c[0x0][0x28] ;                        /* 0x00000a00ff017b82 */
                                                                                 /* 0x000e220000000800 */
        /*04a0*/               @P2 LDG.E R32, desc[UR18][R12.64] ;               /* 0x000000120c202981 */
        /*04b0*/              @!P3 LDG.E R33, desc[UR18][R12.64+0x4] ;           /* 0x000004120c213981 */
        /*04c0*/               @P0 STG.E.128 desc[UR18][R2.64], R16 ;            /* 0x0000001302003986 */
        /*04d0*/         @UP0 UIADD3 UR4, UR4, 0x1, URZ ;                        /* 0x0000000104048890 */
        /*04e0*/                   IMAD.MOV.U32 R33, RZ, RZ, RZ ;                /* 0x000000ffff217224 */
        /*04f0*/                   EXIT ;                                        /* 0x000000000000794d */
        /*0500*/                   NOP;                                          /* 0x0000000000007918 */
		..........
"""
DUMP_SM120 = """
        /*0030*/                   MOV.64 R22, RZ                        ?WAIT2_END_GROUP;  /* 0x000000ff00167202 */
                                                                                            /* 0x000fc40000010f00 */
        /*0070*/                   LDCU.64 UR14, c[0x0][0x358]  &wr=0x0  ?trans1;           /* 0x00006b00ff0e77ac */
"""

HEAD = """
import torch
import torch.nn as nn
import triton
import triton.language as tl
"""
COPY = """
@triton.jit
def copy(x_ptr, y_ptr, n, BLOCK: tl.constexpr, EVEN: tl.constexpr = False):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = (at < n) | EVEN
    tl.store(y_ptr + at, tl.load(x_ptr + at, mask=inside), mask=inside)
"""
TUNED = """
@triton.autotune([triton.Config({"BLOCK": b}, num_warps=w) for b, w in ((128, 2), (1024, 8))], key=["n"])
@triton.heuristics({"EVEN": lambda given: given["n"] % given["BLOCK"] == 0})
"""
HUNGRY = """
@triton.jit
def hungry(x_ptr, y_ptr, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    tl.store(y_ptr + at, tl.cumsum(tl.load(x_ptr + at)))
"""


SMALL = Case("small", {}, [[4096]], ("float32",))
MAIN = Case("main", {"in_channels": 64, "kernel_size": 3}, [[16, 64, 512, 512]], ("float32",))


def compile_file(path: Path, version: str, case: Case, targets: Sequence[int]) -> list[CompiledKernel]:
    return compile_version(partial(forward_on_meta, path, None, case), version, case, targets)


@pytest.fixture(autouse=True)
def _own_triton_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "triton"))


def inspect_text(
    folder: Path, kernel: str, launch: str, targets: Sequence[int] = (90,), dtype: str = "float32"
) -> list[CompiledKernel]:
    """Inspect a version made of `kernel` whose forward is `launch` between an input x and an output y."""
    forward = f"    def forward(self, x):\n        y = torch.empty_like(x)\n        {launch}\n        return y\n"
    path = folder / "v7_probe.py"
    path.write_text(f"{HEAD}{kernel}\nclass ModelNew(nn.Module):\n{forward}")
    return compile_file(path, "v7_probe", SMALL.with_dtype(dtype), targets)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("version", ["v0_baseline", "v1_grid"])
def test_depthwise_versions_compile_for_ada_and_hopper_without_spills(version: str, dtype: str) -> None:
    found = compile_file(DEPTHWISE / f"{version}.py", version, MAIN.with_dtype(dtype), [89, 90])
    assert [kernel.target for kernel in found] == ["sm_89", "sm_90"]
    for kernel in found:
        assert (kernel.version, kernel.case, kernel.dtype, kernel.launch) == (version, "main", dtype, 0)
        assert kernel.kernel == "depthwise_conv2d_kernel"
        assert (kernel.stack_bytes, kernel.spill_instructions) == (0, 0)
        assert 24 <= kernel.registers <= 64
        assert kernel.sass["global load"] >= 9  # one a tap, for each of a thread's outputs
        assert sum(kernel.sass.values()) == sum(kernel.opcodes.values())
        assert "other" not in kernel.sass


def test_grid_and_warps_are_those_of_the_launch() -> None:
    grids = {
        version: compile_file(DEPTHWISE / f"{version}.py", version, MAIN, [90])[0].grid
        for version in ("v0_baseline", "v1_grid")
    }
    assert grids == {"v0_baseline": (1040400,), "v1_grid": (4, 128, 1024)}  # 16 x 64 x 510 x 510 outputs, 256 a program


def test_init_arguments_may_be_positional() -> None:
    by_name, by_position = (
        compile_file(DEPTHWISE / "v0_baseline.py", "v0_baseline", replace(MAIN, init=init), [90])
        for init in (MAIN.init, [64, 3])
    )
    assert by_name == by_position


@pytest.mark.parametrize("sm", [80, 86, 89, 90, 100])
def test_every_target_with_a_sheet_compiles_and_disassembles(tmp_path: Path, sm: int) -> None:
    (kernel,) = inspect_text(tmp_path, COPY, "copy[(32,)](x, y, x.numel(), BLOCK=128)", [sm])
    assert kernel.target == f"sm_{sm}"
    assert kernel.sass["global load"] >= 1
    assert "other" not in kernel.sass


@pytest.mark.parametrize(
    ("kernel", "launch"),
    [
        (HUNGRY, "hungry[(1,)](x, y, BLOCK=16384, num_warps=1)"),  # 512 values a thread, 255 registers
        (HUNGRY, "hungry[(1,)](x, y, BLOCK=4096, num_warps=4, maxnreg=24)"),  # 32 values a thread, 24 registers
    ],
)
def test_kernel_that_outgrows_its_registers_is_reported_with_its_spills(
    tmp_path: Path, kernel: str, launch: str
) -> None:
    (found,) = inspect_text(tmp_path, kernel, launch)
    local = sum(count for opcode, count in found.opcodes.items() if opcode.split(".")[0] in ("LDL", "STL"))
    assert found.stack_bytes > 0
    assert found.spill_instructions == local > 0


def test_autotuned_kernel_is_inspected_in_its_first_configuration_without_a_benchmark(tmp_path: Path) -> None:
    launch = 'copy[lambda meta: (triton.cdiv(x.numel(), meta["BLOCK"]),)](x, y, x.numel())'
    (kernel,) = inspect_text(tmp_path, TUNED + COPY, launch)
    assert kernel.config.startswith("1 of 2: BLOCK: 128, num_warps: 2")
    assert (kernel.grid, kernel.num_warps) == ((32,), 2)


def test_heuristic_decides_a_constant_of_the_compiled_kernel(tmp_path: Path) -> None:
    heuristic = TUNED.splitlines()[-1] + COPY
    even, odd = (
        inspect_text(tmp_path, heuristic, f"copy[(1,)](x, y, {n}, BLOCK=128)")[0].opcodes for n in (4096, 4095)
    )
    assert any(opcode.startswith("ISETP") for opcode in odd)  # the mask
    assert not any(opcode.startswith("ISETP") for opcode in even)


def test_each_launch_of_a_forward_is_a_row(tmp_path: Path) -> None:
    launch = "[copy[(4,)](x, y, x.numel(), BLOCK=block) for block in (128, 1024, 128)]"
    found = inspect_text(tmp_path, COPY, launch)
    assert [kernel.launch for kernel in found] == [0, 1, 2]
    assert found[0].opcodes == found[2].opcodes != found[1].opcodes


def test_configuration_is_told_of_the_autotuned_launch_alone(tmp_path: Path) -> None:
    plain = COPY.replace("def copy(", "def plain(")
    tuned = "copy[(4,)](x, y, x.numel())"
    found = inspect_text(tmp_path, TUNED + COPY + plain, f"{tuned}; {tuned}; plain[(4,)](x, y, x.numel(), BLOCK=128)")
    assert [(kernel.kernel, kernel.config[:6]) for kernel in found] == [
        ("copy", "1 of 2"),
        ("copy", "1 of 2"),
        ("plain", ""),
    ]


def test_kernel_that_an_imported_module_keeps_is_compiled_for_each_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rooflift_probe_library.py").write_text(HEAD + COPY)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        launch = "copy[(32,)](x, y, x.numel(), BLOCK=128)"
        ada, hopper = inspect_text(tmp_path, "from rooflift_probe_library import copy\n", launch, [89, 90])
    finally:
        sys.modules.pop("rooflift_probe_library", None)
    assert ada.opcodes != hopper.opcodes


def test_wrapper_may_ask_the_stand_in_for_the_number_of_sms(tmp_path: Path) -> None:
    asks = 'triton.runtime.driver.active.utils.get_device_properties(x.device)["multiprocessor_count"]'
    found = inspect_text(tmp_path, COPY, f"copy[({asks},)](x, y, x.numel(), BLOCK=128)", [89, 90])
    assert [kernel.grid for kernel in found] == [(128,), (132,)]


PRODUCT = """
@triton.jit
def product(x_ptr, y_ptr, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)[:, None] * BLOCK + tl.arange(0, BLOCK)[None, :]
    tile = tl.load(x_ptr + at)
    tl.store(y_ptr + at, tl.dot(tile, tile))
"""


def test_shared_memory_is_that_of_the_launch_and_limits_occupancy(tmp_path: Path) -> None:
    (kernel,) = inspect_text(tmp_path, PRODUCT, "product[(1,)](x, y, BLOCK=64, num_warps=4)", [89])
    assert kernel.shared_bytes >= 2 * 64 * 64 * 4  # the two operands
    assert kernel.sass["tensor"] > 0
    assert kernel.occupancy_limit == "shared memory"
    assert kernel.occupancy_pct == pytest.approx(100 * 3 * 4 / 48)  # 33 of 100 KiB


def test_a_kernel_that_no_block_has_the_shared_memory_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KernelFault, match=r"product of v7_probe needs 131,072 bytes of shared memory .*101,376"):
        inspect_text(tmp_path, PRODUCT, "product[(1,)](x, y, BLOCK=128, num_warps=4)", [89])


@pytest.mark.parametrize(
    ("kernel", "launch", "says"),
    [
        ("@triton.jit\ndef bad(x_ptr):\n    tl.store(x_ptr, missing)\n", "bad[(1,)](x)", "missing is not defined"),
        (COPY, "copy[(1,)](x, y, 100, BLOCK=100)", "power of 2"),
        (
            (
                "@triton.jit\ndef inner(x):\n    return x + missing\n"
                "@triton.jit\ndef bad(x_ptr):\n    tl.store(x_ptr, inner(tl.load(x_ptr)))\n"
            ),
            "bad[(1,)](x)",
            "missing is not defined",
        ),
    ],
)
def test_kernel_that_does_not_compile_is_named_with_version_target_and_reason(
    tmp_path: Path, kernel: str, launch: str, says: str
) -> None:
    with pytest.raises(KernelFault, match=rf"(bad|copy) of v7_probe for sm_90 .*does not compile:\n[^$]*{says}"):
        inspect_text(tmp_path, kernel, launch)


def test_refusal_of_ptxas_is_reported_and_its_ptx_is_not_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bogus = (
        "@triton.jit\ndef bad(x_ptr):\n    v = tl.load(x_ptr)\n"
        '    v = tl.inline_asm_elementwise("bogus.f32 $0, $1;", "=f,f", [v], tl.float32, True, 1)\n'
        "    tl.store(x_ptr, v)\n"
    )
    with pytest.raises(KernelFault, match=r"bad of v7_probe for sm_90[^$]*'bogus'"):
        inspect_text(tmp_path, bogus, "bad[(1,)](x)")
    assert capsys.readouterr().out == ""


def test_forward_that_reads_data_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(KernelFault, match=r"v7_probe for sm_90 .*\n.*item\(\) cannot be called on meta tensors"):
        inspect_text(tmp_path, COPY, "copy[(int(x[0]),)](x, y, x.numel(), BLOCK=128)")


def test_forward_without_a_triton_kernel_has_nothing_to_compile(tmp_path: Path) -> None:
    assert inspect_text(tmp_path, COPY, "y.copy_(x)") == []


def test_unknown_target_is_a_catalog_error(tmp_path: Path) -> None:
    with pytest.raises(CatalogError):
        inspect_text(tmp_path, COPY, "copy[(32,)](x, y, x.numel(), BLOCK=128)", [90, 70])


def test_interpreter_mode_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    with pytest.raises(EnvironmentFault, match="TRITON_INTERPRET"):
        inspect_text(tmp_path, COPY, "copy[(32,)](x, y, x.numel(), BLOCK=128)")


@pytest.mark.parametrize("launch", ["copy[(32,)](x, y, x.numel(), BLOCK=128)", "copy[(1,)](x, y, 1, BLOCK=100)"])
def test_triton_is_what_it_was_after_inspecting(tmp_path: Path, launch: str) -> None:
    from triton.runtime import driver
    from triton.runtime.autotuner import Autotuner
    from triton.runtime.jit import JITFunction

    before = driver._active, JITFunction.run, Autotuner.run
    try:
        inspect_text(tmp_path, TUNED.splitlines()[-1] + COPY, launch)
    except KernelFault:
        assert "BLOCK=100" in launch
    assert (driver._active, JITFunction.run, Autotuner.run) == before


def test_importing_the_inspector_imports_neither_torch_nor_triton() -> None:
    asks = "import sys, rooflift.compile.kernels; print({'torch', 'triton', 'pandas', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", asks], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "set()"


def test_one_cuobjdump_run_asks_for_resources_and_sass() -> None:
    assert cuobjdump_command("cuobjdump", Path("k.cubin")) == ["cuobjdump", "-res-usage", "-sass", "k.cubin"]


def test_dump_gives_registers_and_stack() -> None:
    assert parse_resources(DUMP) == (40, 72)


def test_dump_of_two_functions_gives_the_larger_need() -> None:
    callee = " Function callee:\n  REG:24 STACK:96 SHARED:0 LOCAL:0\n"
    assert parse_resources(DUMP + callee) == (40, 96)


def test_text_without_resources_is_refused() -> None:
    with pytest.raises(EnvironmentFault, match="no resource usage: 'cuobjdump fatal"):
        parse_resources("cuobjdump fatal : not an ELF file")


def test_dump_gives_opcodes_without_predicates_encodings_and_padding() -> None:
    once = ["LDC", "STG.E.128", "UIADD3", "IMAD.MOV.U32", "EXIT"]
    assert parse_opcodes(DUMP) == {"LDG.E": 2, **dict.fromkeys(once, 1)}


def test_dump_with_scheduling_annotations_gives_its_opcodes() -> None:
    assert parse_opcodes(DUMP_SM120) == {"MOV.64": 1, "LDCU.64": 1}


@pytest.mark.parametrize(
    ("opcode", "group"),
    [
        ("LDG.E.128", "global load"),
        ("LDGSTS.E.BYPASS.128", "global load"),
        ("LDGDEPBAR", "control"),
        ("STG.E", "global store"),
        ("LDSM.16.M88.4", "shared"),
        ("LDL.LU", "local"),
        ("RED.E.ADD.F32.FTZ.RN.STRONG.GPU", "atomic"),
        ("ULDC.64", "constant"),
        ("HMMA.16816.F32", "tensor"),
        ("HGMMA.64x64x16.F32", "tensor"),
        ("UTCHMMA.2CTA", "tensor"),
        ("FFMA2", "fp32"),
        ("HADD2.F32", "fp16"),
        ("MUFU.RCP", "special function"),
        ("F2FP.BF16.F32.PACK_AB", "conversion"),
        ("IMAD.MOV.U32", "move"),
        ("IMAD.WIDE", "integer"),
        ("VIADD", "integer"),
        ("PLOP3.LUT", "integer"),
        ("SHFL.BFLY", "exchange"),
        ("BAR.SYNC.DEFER_BLOCKING", "control"),
        ("NEWOP.X", "other"),
    ],
)
def test_opcode_falls_into_its_group(opcode: str, group: str) -> None:
    assert sass_mix({opcode: 3}) == {group: 3}
    assert group in SASS_GROUPS or group == "other"


def test_launch_recorded_by_ncu_has_its_occupancy() -> None:
    launch = RECORDED["launch"]
    found = theoretical_occupancy(
        H100,
        threads_per_block=launch["block_size"],
        registers_per_thread=launch["registers_per_thread"],
        shared_bytes_per_block=0,
    )
    assert found.blocks_per_sm == min(launch["limit_blocks"], launch["limit_registers"], launch["limit_warps"])
    assert (found.warps_per_sm, found.pct, found.limit) == (64, 100, "warps")


def warps_per_sm(spec: GpuSpec, threads: int, registers: int, shared_bytes: int) -> int:
    return theoretical_occupancy(
        spec, threads_per_block=threads, registers_per_thread=registers, shared_bytes_per_block=shared_bytes
    ).warps_per_sm


def test_occupancy_follows_the_register_curve_of_ncu() -> None:
    steps = [*RECORDED["registers"], [257, None]]
    curve = {r: warps for (start, warps), (end, _) in pairwise(steps) for r in range(start, end)}
    assert {r: warps_per_sm(H100, 128, r, 0) for r in curve} == curve


def test_occupancy_follows_the_block_size_curve_of_ncu() -> None:
    curve = dict(RECORDED["block_size"])
    assert {threads: warps_per_sm(H100, threads, 32, 0) for threads in curve} == curve


def test_occupancy_follows_the_shared_memory_curve_of_ncu() -> None:
    carve_out_bytes = RECORDED["launch"]["shared_mem_config_size"]
    carved = msgspec.structs.replace(H100, shared_bytes_per_sm=carve_out_bytes)
    steps = [*RECORDED["shared"], [carve_out_bytes + 512, None]]
    curve = {b: warps for (start, warps), (end, _) in pairwise(steps) for b in range(start, end, 512)}
    assert {b: warps_per_sm(carved, 128, 32, max(b - 1024, 0)) for b in curve} == curve  # ncu counts the driver's KiB


@pytest.mark.parametrize(
    ("sm", "threads", "registers", "shared_bytes", "pct", "limit"),
    [
        (89, 128, 40, 0, 100, "warps"),
        (89, 128, 48, 0, 100 * 40 / 48, "registers"),
        (86, 32, 16, 0, 100 * 16 / 48, "blocks"),
        (90, 32, 88, 0, 100 * 20 / 64, "registers"),  # 23 warps of registers, given out in fours
        (90, 32, 16, 12_676, 100 * 16 / 64, "shared memory"),  # 13 700 B with the driver's, given out in 128 B units
        (90, 128, 32, 232_448, 100 * 4 / 64, "shared memory"),
        (90, 128, 32, 232_449, 0, "shared memory"),
        (90, 1024, 255, 0, 0, "registers"),
        (90, 2048, 16, 0, 0, "warps"),
    ],
)
def test_occupancy_names_what_ends_first(
    sm: int, threads: int, registers: int, shared_bytes: int, pct: float, limit: str
) -> None:
    found = theoretical_occupancy(
        spec_for_target(sm),
        threads_per_block=threads,
        registers_per_thread=registers,
        shared_bytes_per_block=shared_bytes,
    )
    assert found.pct == pytest.approx(pct)
    assert found.limit == limit


LISTING = """
	.section	.text.k,"ax",@progbits
k:
	//## File "/somewhere/v1_grid.py", line 15
        /*0000*/                   MOV R1, c[0x0][0x28] ;
	//## File "/else/standard.py", line 196 inlined at "/else/standard.py", line 216
	//## File "/else/standard.py", line 216 inlined at "/somewhere/v1_grid.py", line 19
        /*0010*/              @!P0 FADD R5, R4, -R0 ;
        /*0020*/                   EXIT ;
.L_x_0:
        /*0030*/                   NOP;
"""


def test_listing_has_the_line_of_each_instruction_an_inlined_helpers_own_first() -> None:
    assert parse_listing(LISTING) == [
        ("v1_grid.py", 15, 0, "MOV R1, c[0x0][0x28]"),
        ("standard.py", 196, 16, "@!P0 FADD R5, R4, -R0"),
        ("standard.py", 196, 32, "EXIT"),
    ]

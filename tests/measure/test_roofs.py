"""The roofs' kernels compute what they count and compile to what they measure; a measurement is whole or explained."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rooflift.analysis.roofline import with_datasheet
from rooflift.compile.sass import disassemble, parse_opcodes, parse_resources, sass_mix
from rooflift.dtypes import UNITS
from rooflift.errors import EnvironmentFault, NoGpu
from rooflift.measure import environment
from rooflift.measure import roofs as measured_roofs
from rooflift.runs.roofs import read_roofs
from rooflift.schema import Roofs
from rooflift.worker import protocol, roof_trials, roofs
from rooflift.worker.protocol import Measured
from rooflift.worker.roof_trials import LibraryCall
from rooflift.worker.roofs import RoofBenchmark, Timed, roof_row

H100 = "NVIDIA H100 80GB HBM3"
DEVICE = protocol.Device(H100, "9.0", 132, 52_428_800, 80 * 10**9, "13.0", "2.11", "3.6", "3.12")
TARGETS = (90, pytest.param(89, marks=pytest.mark.slow))
BYTES = {"fp64": 8, "fp32": 4, "fp16": 2, "bf16": 2, "fp8e4nv": 1, "i8": 1}
SUMS = {"fp64": "*fp64", "i8": "*i32"}  # of the products, else float32
DTYPES = ["fp16", *(pytest.param(dtype, marks=pytest.mark.slow) for dtype in ("bf16", "fp32"))]
ADDRESS = re.compile(r"^\s+/\*([0-9a-f]{4,})\*/\s+(.*?)\s*;", re.MULTILINE)


def sass(kernel_name: str, pointers: str, constants: dict[str, int], target: int, warps: int) -> str:
    """Compile a kernel as the measurement does and return its disassembly."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from rooflift.worker import roof_kernels

    kernel = getattr(roof_kernels, kernel_name)
    scalars = {"steps": "i32", "blocks": "i32", "factor": "fp32", "columns": "i32", "inner": "i32"}
    signature = {
        name: "constexpr" if name in constants else scalars.get(name, f"*{pointers}") for name in kernel.arg_names
    }
    signature |= {"sums_ptr": SUMS.get(pointers, "*fp32")} if kernel_name == "tile_product" else {}
    aligned = {
        (i,): [["tt.divisibility", 16]]
        for i, (name, kind) in enumerate(signature.items())
        if kind.startswith("*") or name in ("columns", "inner")
    }
    values = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    source = ASTSource(kernel, signature, values, aligned)
    made = triton.compile(source, target=GPUTarget("cuda", target, 32), options={"num_warps": warps})
    return disassemble(made.asm["cubin"])


def longest_loop(dump: str) -> list[str]:
    """Return the instructions between a branch backwards and its target, of the longest such loop."""
    code = [(int(at, 16), text) for at, text in ADDRESS.findall(dump)]
    loops: list[list[str]] = [[]]
    for at, text in code:
        branch = re.search(r"\bBRA\S*\s+(?:\S+,\s*)?(0x[0-9a-f]+)", text)
        if branch and int(branch[1], 16) < at:
            loops.append([line for place, line in code if int(branch[1], 16) <= place <= at])
    return max(loops, key=len)


def opcodes(lines: list[str]) -> list[str]:
    return [re.sub(r"^@!?U?P\w+\s+", "", line).split()[0] for line in lines]


@pytest.fixture(autouse=True)
def _own_triton_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "triton"))


@pytest.mark.parametrize("name", ["roof_arithmetic.py", "roof_launches.py"])
def test_kernels_compute_what_they_count_and_every_configuration_launches(name: str) -> None:
    program = Path(__file__).with_name(name)
    source = str(Path(__file__).parents[2] / "profiling")
    done = subprocess.run(
        [sys.executable, str(program)], env={"PYTHONPATH": source}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("lanes", "warps"), roof_trials.CHAINS)
def test_loop_of_multiply_add_is_ffma_in_registers_and_all_of_it(lanes: int, warps: int, target: int) -> None:
    dump = sass("multiply_add", "fp32", {"LANES": lanes, "UNROLL": roof_trials.UNROLL}, target, warps)
    loop = opcodes(longest_loop(dump))
    assert loop.count("FFMA") == roof_trials.UNROLL * lanes // (32 * warps)  # none was optimised away
    assert loop.count("FFMA") > 0.95 * len(loop)
    assert not [opcode for opcode in loop if re.match(r"LD|ST|ATOM|RED", opcode)]
    assert parse_resources(dump)[1] == 0  # nothing spilled


@pytest.mark.parametrize(("lanes", "warps"), roof_trials.CHAINS)
def test_float64_has_the_same_chains_of_dfma(lanes: int, warps: int) -> None:
    dump = sass("multiply_add", "fp64", {"LANES": lanes, "UNROLL": roof_trials.UNROLL}, 90, warps)
    loop = opcodes(longest_loop(dump))
    assert loop.count("DFMA") == roof_trials.UNROLL * lanes // (32 * warps)
    assert loop.count("DFMA") > 0.95 * len(loop)
    assert parse_resources(dump)[1] == 0


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("lanes", "warps"), roof_trials.CHAINS)
def test_loop_of_exponentials_is_one_special_function_and_a_sign_each(lanes: int, warps: int, target: int) -> None:
    """A scheduler issues 16 instructions while the special functions take one, so the sign costs nothing."""
    dump = sass("exponentials", "fp32", {"LANES": lanes, "UNROLL": roof_trials.UNROLL}, target, warps)
    loop = opcodes(longest_loop(dump))
    each = roof_trials.UNROLL * lanes // (32 * warps)
    assert loop.count("MUFU.EX2") == each
    assert loop.count("FADD") <= each
    assert len(loop) < 2.1 * each  # no range reduction beside
    assert parse_resources(dump)[1] == 0


def test_tile_product_in_float64_is_on_the_tensor_cores_in_registers() -> None:
    ((m, n, depth_bytes, warps, _),) = roof_trials.TILES_FP64
    dump = sass("tile_product", "fp64", {"M": m, "N": n, "K": depth_bytes // 8}, 90, warps)
    loop = opcodes(longest_loop(dump))
    assert {opcode for opcode in loop if "MMA" in opcode} == {"DMMA.16x8x16"}
    assert not [opcode for opcode in loop if re.match(r"LDG|ST|ATOM|RED", opcode)]
    assert parse_resources(dump)[1] == 0


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("block", "loads", "warps"), roof_trials.READS)
def test_loads_of_read_are_vectors_that_pass_l1_by(block: int, loads: int, warps: int, target: int) -> None:
    dump = sass("read", "i32", {"BLOCK": block, "LOADS": loads}, target, warps)
    counts = {opcode: count for opcode, count in parse_opcodes(dump).items() if opcode.startswith("LD")}
    wide = counts["LDG.E.128.STRONG.GPU"]
    assert wide == block * loads // (32 * warps * 4)
    assert [opcode for opcode in counts if opcode.startswith("LDG")] == ["LDG.E.128.STRONG.GPU"]
    assert opcodes(longest_loop(dump)).count("LDG.E.128.STRONG.GPU") == wide
    assert parse_resources(dump)[1] == 0


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("block", "warps"), roof_trials.COPIES)
def test_copy_moves_16_bytes_an_instruction(block: int, warps: int, target: int) -> None:
    counts = parse_opcodes(sass("copy", "i32", {"BLOCK": block}, target, warps))
    assert counts["LDG.E.128"] == counts["STG.E.128"] == block // (32 * warps * 4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("m", "n", "depth_bytes", "warps", "_"), roof_trials.TILES)
def test_loop_of_tile_product_feeds_hoppers_tensor_cores_without_memory(
    dtype: str, m: int, n: int, depth_bytes: int, warps: int, _: int
) -> None:
    k = depth_bytes // BYTES[dtype]
    dump = sass("tile_product", dtype, {"M": m, "N": n, "K": k}, 90, warps)
    loop = opcodes(longest_loop(dump))
    products = [opcode for opcode in loop if re.match(r"[HQI]GMMA", opcode)]
    columns = min(n, 128) if dtype == "i8" else n
    unit, kind = {
        "fp16": ("H", "16.F32"),
        "bf16": ("H", "16.F32.BF16"),
        "fp32": ("H", "8.F32.TF32"),
        "fp8e4nv": ("Q", "32.F32.E4M3.E4M3"),
        "i8": ("I", "32.S8.S8"),
    }[dtype]
    assert set(products) == {f"{unit}GMMA.64x{columns}x{kind}"}
    assert not [opcode for opcode in loop if re.match(r"LD[GSL]|ST|ATOM|RED|HMMA", opcode)]
    assert parse_resources(dump)[1] == 0


@pytest.mark.parametrize("dtype", ["fp16", "fp32"])
def test_tile_product_uses_the_tensor_cores_of_ada_as_well(dtype: str) -> None:
    m, n, depth_bytes, warps, _ = roof_trials.TILES[-1]
    k = depth_bytes // BYTES[dtype]
    dump = sass("tile_product", dtype, {"M": m, "N": n, "K": k}, 89, warps)
    kind = {"fp16": "HMMA.16816.F32", "fp32": "HMMA.1688.F32.TF32"}[dtype]
    assert opcodes(longest_loop(dump)).count(kind) >= 8
    assert not [opcode for opcode in opcodes(longest_loop(dump)) if re.match(r"LDG|ST|ATOM|RED", opcode)]


@pytest.mark.parametrize("dtype", DTYPES)
def test_matrix_product_is_pipelined_into_the_tensor_cores(dtype: str) -> None:
    m, n, depth_bytes, group, warps = roof_trials.MATRIX_TILE
    k = depth_bytes // BYTES[dtype]
    dump = sass("matrix_product", dtype, {"M": m, "N": n, "K": k, "GROUP": group}, 90, warps)
    counts = parse_opcodes(dump)
    assert sass_mix(counts)["tensor"] >= 4
    assert counts["LDGSTS.E.BYPASS.128"] >= m * depth_bytes // (16 * 32 * warps)  # asynchronous copies, 16 bytes each
    assert parse_resources(dump)[1] == 0


def test_tiles_fit_the_matrices_from_which_they_are_cut() -> None:
    rows, columns, inner = roof_trials.MATRIX
    m, n, depth_bytes, group, _ = roof_trials.MATRIX_TILE
    assert [rows % (m * group), columns % n, inner % (depth_bytes // 2), inner % (depth_bytes // 4)] == [0] * 4


SUBJECT = RoofBenchmark("L2 read", "bandwidth", "sum over a buffer", lambda: iter(()), "byte/s")


def test_a_unit_that_the_gpu_does_not_have_is_left_out_and_a_roof_that_all_have_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(trial: LibraryCall) -> Timed:
        if trial.configuration == "torch._scaled_mm":
            raise RuntimeError("only for compute capability 8.9 and above")
        return Timed(trial.work, [1000.0], [], [])

    monkeypatch.setattr(roofs, "time_trial", refuse)
    calls = [LibraryCall(10**9, name, lambda: None) for name in ("torch._scaled_mm", "torch.mm")]
    optional = RoofBenchmark("FP8 tensor", "compute", "", lambda: iter(calls), optional=True)
    row = roofs.measure_roof(optional)
    assert row is not None
    assert (row.configuration, row.unit, row.per_s) == ("torch.mm", "FLOP/s", 1e12)
    assert "FP8 tensor without torch._scaled_mm: RuntimeError" in capsys.readouterr().out
    assert roofs.measure_roof(replace(optional, trials=lambda: iter(calls[:1]))) is None
    with pytest.raises(RuntimeError):
        roofs.measure_roof(replace(optional, trials=lambda: iter(calls), optional=False))


def test_every_unit_has_a_roof_and_every_product_a_library_beside_the_kernels() -> None:
    assert {*roofs.tensor_dtypes()} | {"FP32", "FP64", "special functions"} == {*UNITS}
    assert roofs.tensor_dtypes()["FP8 tensor"] == "float8_e4m3fn"


def test_rate_is_the_work_over_the_median_time_and_its_spread_that_of_the_samples() -> None:
    row = roof_row(SUBJECT, "read: BLOCK 4096", Timed(10**9, [1000.0, 1250.0, 2000.0], [1980, 2619], [1755, 2619]))
    assert row.per_s == pytest.approx(0.8e12)
    assert row.q20_per_s < row.per_s < row.q80_per_s
    assert (row.unit, row.clocks_before_mhz, row.clocks_after_mhz) == ("byte/s", [1980, 2619], [1755, 2619])
    assert row.times_us == [1000.0, 1250.0, 2000.0]


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Return a function that sets what the measuring program says on a machine with an H100, and how it ends."""

    def speak(*events: msgspec.Struct, end: str = "exit 0") -> None:
        said = tmp_path / "said.jsonl"
        said.write_bytes(b"".join(msgspec.json.encode(event) + b"\n" for event in events))
        monkeypatch.setattr(measured_roofs, "worker_command", lambda _: ["/bin/sh", "-c", f"cat {said}; {end}"])
        monkeypatch.setattr(environment, "driver", lambda: environment.Driver("580.1", [H100]))

    return speak


ROW = roof_row(SUBJECT, "read: BLOCK 4096", Timed(10**9, [1000.0] * 30, [1980, 2619], [1980, 2619]))


def measured(timeout_s: float = 20) -> Roofs:
    said: list[str] = []
    return measured_roofs.measure(Path("/"), timeout_s, said.append)


def test_measurement_carries_machine_commit_and_rows(child: Callable[..., None]) -> None:
    child(DEVICE, protocol.Doing("measuring L2 read"), Measured(ROW))
    found = measured()
    assert found.rows == [ROW]
    assert (found.machine.gpu, found.machine.driver, found.machine.ncu) == (H100, "580.1", None)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found.created)


def test_program_that_breaks_is_told_with_its_last_words(child: Callable[..., None]) -> None:
    child(DEVICE, Measured(ROW), end="echo 'CUDA out of memory' >&2; exit 1")
    with pytest.raises(EnvironmentFault, match=r"code 1:\nCUDA out of memory\n") as fault:
        measured()
    assert "rooflift doctor" in fault.value.remedy


def test_program_that_measured_nothing_is_a_fault(child: Callable[..., None]) -> None:
    child(DEVICE)
    with pytest.raises(EnvironmentFault, match="code 0"):
        measured()


def test_time_limit_names_the_option(child: Callable[..., None]) -> None:
    child(end="sleep 600")
    with pytest.raises(EnvironmentFault, match="within 1 s") as fault:
        measured(1)
    assert "--timeout" in fault.value.remedy


@pytest.mark.usefixtures("no_gpu")
def test_machine_without_a_gpu_has_no_roofs() -> None:
    with pytest.raises(NoGpu):
        measured()


def test_command_writes_a_file_and_replaces_none_unless_forced(
    child: Callable[..., None], rooflift: Callable[..., Any], checkout: Path, tmp_path: Path
) -> None:
    child(DEVICE, Measured(ROW))
    path = tmp_path / "roofs" / "h100.json"
    said = rooflift("roofs", "--out", path, folder=checkout)
    assert said.code == 0, said.err
    for words in (H100, "L2 read", "1.00 TB/s", "1980, 2619", f"Wrote {path}"):
        assert words in said.out
    assert read_roofs(path).rows == [ROW]
    before = path.read_bytes()
    refused = rooflift("roofs", "--out", path, folder=checkout)
    assert (refused.code, path.read_bytes()) == (2, before)
    assert "--force" in refused.err
    forced = rooflift("roofs", "--out", path, "--force", "--json", folder=checkout)
    assert forced.code == 0
    assert json.loads(forced.out)["rows"][0]["name"] == "L2 read"
    assert [entry.name for entry in path.parent.iterdir()] == ["h100.json"]


@pytest.mark.gpu
def test_measured_roofs_are_near_the_datasheets_and_none_is_above() -> None:
    found = {row["name"]: row for row in with_datasheet(measured(300))}
    assert sorted(found) == sorted(["DRAM copy", "DRAM read", "L2 read", *UNITS])
    for name, row in found.items():
        assert len(row["times_us"]) == roofs.SAMPLES
        assert min(row["times_us"]) >= 1e3 * roofs.LEAST_MS * 0.8, name
        assert not row["per_s"] > 1.05 * row["datasheet_per_s"], name
        assert not row["per_s"] < 0.5 * row["datasheet_per_s"], name
    assert found["L2 read"]["per_s"] > found["DRAM read"]["per_s"]

"""What moves a case's bytes moves all of them, 16 bytes an instruction, and nothing can be left out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rooflift.compile.sass import disassemble, parse_opcodes, parse_resources
from rooflift.worker.stream import CONFIGURATIONS, split
from rooflift.worker.work import Traffic

MIXES = {  # of 2 GB: reads and writes
    "half": Traffic(2**30, 2**30),
    "three_to_one": Traffic(3 * 2**29, 2**29),
    "one_to_three": Traffic(2**29, 3 * 2**29),
    "reduction": Traffic(2**31, 2**17),
    "fill": Traffic(0, 2**31),
}
EVERY_DAY = {"half", "reduction"}


def test_every_word_of_a_case_is_moved_once_and_counts() -> None:
    program = Path(__file__).with_name("stream_arithmetic.py")
    environment = {"PYTHONPATH": str(Path(__file__).parents[2] / "profiling")}
    done = subprocess.run([sys.executable, str(program)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def binary(shares_of: Traffic, lanes: int, warps: int) -> tuple[dict[str, int], int]:
    """Return the opcodes of the kernel that streams a case, compiled for sm_90, and its stack."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from rooflift.worker.roof_kernels import stream

    shares = split(shares_of, lanes)
    constants = {"LANES": lanes, "LOADS": shares.loads, "SUM": shares.summed}
    values = {"reads": shares.reads, "writes": shares.writes}
    values |= {"source_words": shares.source_words, "target_words": shares.target_words}
    signature = {
        name: "constexpr" if name in constants else "i32" if name in values else "*i32" for name in stream.arg_names
    }
    aligned = {  # as a launch finds it
        (place,): [["tt.divisibility", 16]]
        for place, name in enumerate(stream.arg_names)
        if name.endswith("_ptr") or values.get(name, 1) % 16 == 0
    }
    source = ASTSource(stream, signature, {(stream.arg_names.index(n),): v for n, v in constants.items()}, aligned)
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": warps})
    dump = disassemble(made.asm["cubin"])
    return parse_opcodes(dump), parse_resources(dump)[1]


@pytest.fixture(autouse=True)
def _own_triton_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "triton"))


@pytest.mark.parametrize(("lanes", "warps"), CONFIGURATIONS)
@pytest.mark.parametrize(
    "mix", [pytest.param(mix, marks=[] if mix in EVERY_DAY else [pytest.mark.slow]) for mix in MIXES]
)
def test_binary_loads_and_stores_the_bytes_that_are_counted(mix: str, lanes: int, warps: int) -> None:
    shares = split(MIXES[mix], lanes)
    opcodes, stack_bytes = binary(MIXES[mix], lanes, warps)
    loads = {name: count for name, count in opcodes.items() if name.startswith("LDG")}
    stores = {name: count for name, count in opcodes.items() if name.startswith("STG")}
    vectors = lanes // (32 * warps * 4)  # of 16 bytes a thread
    assert loads == ({"LDG.E.128": shares.loads * vectors} if shares.loads else {})
    if not shares.summed or shares.writes >= 32:
        assert stores == {"STG.E.128": vectors}
    assert stack_bytes == 0


def test_shares_of_a_program_follow_the_mix() -> None:
    half, reduction = (split(MIXES[mix], 1024) for mix in ("half", "reduction"))
    assert (half.reads, half.writes, half.programs, half.summed) == (1024, 1024, 2**18, False)
    assert (reduction.reads, reduction.loads, reduction.summed) == (4096, 4, True)
    assert reduction.programs * reduction.writes >= reduction.target_words >= reduction.programs
    assert split(Traffic(2**31, 4), 1024).target_words == 2**29 // 4096  # a word a program, 0.02 % more than the case's

"""One hash for what a GPU executes: lines do not count, a constant does."""

from __future__ import annotations

from pathlib import Path

import pytest

from rooflift.compile.kernels import _compile_only
from rooflift.compile.machine_code import machine_code_sha256
from rooflift.compile.module import load_module
from rooflift.worker.machine_code import launched_sha256

TEXT = """
import torch, triton
import triton.language as tl

@triton.jit
def twice(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + at, FACTOR * tl.load(x_ptr + at, mask=at < n), mask=at < n)

def call():
    x = torch.empty(100, device="meta")
    twice[(GRID,)](x, x, 100, BLOCK=64)
"""


def code_of(place: Path, text: str) -> str:
    place.write_text(text)
    with _compile_only(90, []):
        return launched_sha256(load_module(place).call)


def test_the_same_kernel_on_other_lines_has_the_same_code(tmp_path: Path) -> None:
    text = TEXT.replace("FACTOR", "2").replace("GRID", "2")
    one = code_of(tmp_path / "one.py", text)
    assert one == code_of(tmp_path / "two.py", "# a line more\n" + text)
    assert one != code_of(tmp_path / "three.py", text.replace("2 * tl.load", "3 * tl.load"))
    assert one != code_of(tmp_path / "four.py", text.replace("[(2,)]", "[(3,)]"))


def test_call_without_a_launch_has_no_code() -> None:
    assert launched_sha256(lambda: None) == ""


@pytest.mark.parametrize("cubin", [b"", b"no ELF at all", b"\x7fELF\x02\x01" + bytes(20)])
def test_bytes_that_are_no_cubin_are_refused(cubin: bytes) -> None:
    with pytest.raises(ValueError, match="no cubin"):
        machine_code_sha256(cubin)

"""Triton's interpreter gives what a GPU gives, and what it lacks is told apart from what is wrong with a kernel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TF32 = {"dot_of_float32", "dot_of_float32_in_tf32"}
GAPS = {
    "assembly": "inline_asm",
    "unknown_to_libdevice": "__nv_j0f of libdevice",
    "added_by_descriptor": "create_descriptor_reduce",
}
OWN = ("block_of_three", "shapes_that_do_not_fit", "no_such_method")


@pytest.fixture(scope="module")
def found(checkout: Path) -> dict[str, Any]:
    """What became of every kernel of interpreted.py."""
    environment = {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(checkout / "profiling")}
    ended = subprocess.run(
        [sys.executable, Path(__file__).with_name("interpreted.py")],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    every: dict[str, Any] = json.loads(ended.stdout)
    return every


def test_kernels_give_what_a_gpu_gives(found: dict[str, Any]) -> None:
    differences = {name: off for name, off in found.items() if name not in {*TF32, *GAPS, *OWN}}
    assert len(differences) > 14
    wrong = {name: off for name, off in differences.items() if not isinstance(off, float) or off > 1e-6}  # float32
    assert wrong == {}


def test_float32_factors_are_rounded_to_tf32_unless_the_kernel_says_otherwise(found: dict[str, Any]) -> None:
    """Ten bits of each factor remain: products are off by up to 2^-10, and sums of 32 of them by a part of that."""
    assert {name: 1e-5 < found[name] < 2**-10 for name in TF32} == dict.fromkeys(TF32, True)


def test_what_the_interpreter_lacks_is_named(found: dict[str, Any]) -> None:
    assert {name: found[name]["gap"] for name in GAPS} == GAPS


def test_what_no_compiler_takes_is_no_gap(found: dict[str, Any]) -> None:
    assert {name: found[name]["gap"] for name in OWN} == dict.fromkeys(OWN, "")

"""Every kind of input and result as a small operator: the right kernel agrees and compiles, the wrong one does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rooflift.compile.module import load_module
from rooflift.measure.compiled import compile_kernels
from rooflift.measure.evaluate import evaluate
from rooflift.measure.request import Request
from rooflift.project.operator import load_operator
from rooflift.sandbox.sandbox import find_sandbox

KINDS = load_module(Path(__file__).with_name("kinds.py")).KINDS
SAID = {  # beside "off by" or "are wrong"
    "in_place": "input 1 afterwards element",
    "named_sizes": "allow_tf32 = true in the case permits it",
    "two_dtypes_of_results": "[1] element",
}
COMPILED = ("int64_labels", "python_scalar", "fp8_with_scale")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with every kind."""
    root = tmp_path_factory.mktemp("kinds")
    for name, kind in KINDS.items():
        kind.write(root / "kernels" / name)
    return root


@pytest.fixture(scope="module")
def found(root: Path, checkout: Path) -> dict[str, dict[str, str]]:
    """What became of each version in the interpreter; one process for all of them."""
    environment = {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(checkout / "profiling")}
    ended = subprocess.run(
        [sys.executable, Path(__file__).with_name("kinds_interpreted.py"), root],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    every: dict[str, dict[str, str]] = json.loads(ended.stdout)
    return every


@pytest.mark.parametrize("kind", KINDS)
def test_the_right_version_agrees_and_the_wrong_one_is_refused(kind: str, found: dict[str, dict[str, str]]) -> None:
    assert found[kind]["v0_right"] == "agrees"
    assert " are wrong" in found[kind]["v1_wrong"]
    assert SAID.get(kind, "v1_wrong on main") in found[kind]["v1_wrong"]


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if kind in COMPILED else [pytest.mark.slow]) for kind in KINDS]
)
def test_every_input_is_compiled_in_its_own_dtype_and_scalars_as_scalars(
    kind: str, root: Path, ask: Callable[..., Request]
) -> None:
    kernels = compile_kernels(ask(load_operator(root, kind), "v0", use="bench"), [90], lambda _: None)
    assert len(kernels) == (3 if kind == "list_of_tensors" else 1)
    if kind == "fp8_with_scale":
        assert all(kernel.sass.get("tensor", 0) > 0 for kernel in kernels)  # the product of two 8-bit matrices


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["list_of_tensors", "in_place", "python_scalar", "argmax_with_ties", "none"])
def test_a_candidate_is_evaluated_on_every_kind(kind: str, root: Path) -> None:
    operator = load_operator(root, kind)
    right, wrong = (
        evaluate(operator, version.path, find_sandbox(), [3], lambda _: None, interpret=True)
        for version in operator.versions
    )
    assert right.reasons() == []
    assert right.compared
    assert wrong.faults

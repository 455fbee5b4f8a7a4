"""The project's kernels in Triton's interpreter: right on every test case, clear about what they do not take.

A version that passed as it stands is not interpreted again, unless with --slow: verified.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rooflift.compile.module import load_module
from rooflift.measure.checking import verify
from rooflift.measure.request import Request
from rooflift.project.operator import Operator, Version
from rooflift.schema import MeasureOptions

verified = load_module(Path(__file__).with_name("verified.py"))
CHECKOUT = Path(__file__).parents[2]
REFUSED = {
    "float64": "TypeError: {operator}: wants ",
    "float16 for float32 weights": "TypeError: {operator}: wants float32, float16 or bfloat16 throughout",
    "another number of channels": "ValueError: {operator}: wants x of shape (N, 3, H, W), got (2, 4, 6, 11)",
    "three dimensions": "ValueError: {operator}: wants x of shape (N, 3, H, W), got (3, 6, 11)",
    "filter larger than the image": "ValueError: {operator}: a 7x7 filter does not fit into 4x11 with padding 1",
    "without a dimension": "ValueError: {operator}: wants x",
    "another number of columns": "ValueError: {operator}: wants x",
    "two shapes": "ValueError: {operator}: wants x and residual of shape (..., 7), got (2, 7), (3, 7)",
    "bfloat16 by float16": "TypeError: {operator}: wants two matrices of float16 or of bfloat16",
    "another number of terms": "ValueError: {operator}: wants (M, K) and (K, N), got (6, 16) and (15, 5)",
    "a vector": "ValueError: {operator}: wants (M, K) and (K, N), got (6, 16) and (16,)",
    "two dtypes": "TypeError: {operator}: wants float32, float16 or bfloat16 throughout",
    "targets of int32": "TypeError: {operator}: wants targets of int64, got torch.int32",
    "a target too few": "ValueError: {operator}: wants logits (N, C) and targets (N), got (4, 7) and (3,)",
    "groups of 96": "ValueError: {operator}: wants groups of a power of 2 from 128 columns on, got 96",
    "other channels": "ValueError: {operator}: wants x of shape (N, 6, ...), got (2, 8, 5, 7)",
    "fewer columns than k": "ValueError: {operator}: wants k from 1 to 128 and to the number of columns, 2, got 3",
    "too few scales": "ValueError: {operator}: wants scales (5,) or (1,) and (24,) or (1,), got (1,) and (23,)",
    "heads in no groups": "ValueError: {operator}: wants D of 16, 32, 64 or 128 and H a multiple of KV",
    "one dimension": "ValueError: {operator}: wants x of shape (N, C, ...), got (5,)",
}
SELECTS = {"topk"}  # its results are values of the input
AGREES = {"every second column", "transposed", "expanded", "empty batch"}


EVERY_VERSION = [
    pytest.param(operator, version, id=verified.version_id(operator, version))
    for operator, version in verified.every_version()
]


@pytest.fixture(autouse=True)
def _passed_before(request: pytest.FixtureRequest, operator: Operator, version: Version) -> None:
    if not request.config.getoption("--slow") and verified.verified(operator, version):
        pytest.skip("it passed as it stands; --slow interprets it again")


@pytest.mark.parametrize(("operator", "version"), EVERY_VERSION)
def test_version_agrees_with_the_reference_on_every_case_and_dtype(
    operator: Operator, version: Version, ask: Callable[..., Request]
) -> None:
    request = ask(operator, version.name, timeout_s=240)
    assert request.cases
    once = replace(request, options=MeasureOptions(seeds=1))
    checks = verify(once, request.cases, True, lambda text: None)
    wanted = [(version.name, case.name, dtype, 0) for case in request.cases for dtype in case.dtypes]
    assert Counter((c.version, c.case, c.dtype, c.seed) for c in checks) == Counter(wanted)
    assert max(check.error_over_tolerance for check in checks) <= 1
    if operator.name not in SELECTS:
        assert max(check.max_abs_error for check in checks) > 0  # 16-bit results are rounded: something was computed


@pytest.mark.parametrize(("operator", "version"), EVERY_VERSION)
def test_version_takes_any_layout_and_is_clear_about_what_it_refuses(operator: Operator, version: Version) -> None:
    program = Path(__file__).with_name("unusual_inputs.py")
    environment = {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(CHECKOUT / "profiling")}
    ended = subprocess.run(
        [sys.executable, program, operator.folder, version.path],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found.keys() >= AGREES
    refusals = {what: text.format(operator=operator.name) for what, text in REFUSED.items() if what in found}
    unserved = (f"ValueError: {operator.name}: serves ",) if operator.ladder else ()  # and then says what
    for what, said in found.items():
        assert said.startswith((refusals.get(what, "agrees"), *unserved)), f"{what}: {said}"
    assert "float64" in refusals

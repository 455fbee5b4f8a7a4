"""The project's kernels in Triton's interpreter: right on every test case, clear about what they do not take.

A version that passed as it stands is not interpreted again (verified.py); with --slow the newest of each ladder is.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rooflift.compile.module import load_module
from rooflift.errors import KernelFault, RoofliftError
from rooflift.measure.checking import verify
from rooflift.measure.request import Request
from rooflift.project.operator import Operator, Version
from rooflift.schema import CheckRecord, MeasureOptions

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
    "keys in no groups": "ValueError: {operator}: wants k, v (B, KV, S, D), H a multiple of KV, D of 16 to 128",
    "heads in no groups": "ValueError: {operator}: wants D of 16, 32, 64 or 128 and H a multiple of KV",
    "one dimension": "ValueError: {operator}: wants x of shape (N, C, ...), got (5,)",
}
WRONG = {  # found after they were measured, and kept as they were; v9 packs a matrix of one column rightly
    "matmul": dict.fromkeys(("v5_edges", "v6_parts", "v7_shapes", "v8_packed"), "one term"),
}
SELECTS = {"topk"}  # its results are values of the input
AGREES = {"every second column", "transposed", "expanded", "empty batch"}


TOGETHER = 4  # neighbours of a ladder are interpreted in one go: they share imports, inputs and truth
pytestmark = pytest.mark.timeout(900)
Versions = Sequence[Version]
Ask = Callable[..., Request]
Told = Callable[[str, object], None]


def _groups() -> Iterator[Any]:
    for label, ladder in itertools.groupby(verified.every_version(), key=lambda one: one[0].label):
        (operator, *_), every = zip(*ladder, strict=True)
        for begin in range(0, len(every), TOGETHER):
            group = every[begin : begin + TOGETHER]
            yield pytest.param(operator, group, id=f"{label}-{'-'.join(version.name for version in group)}")


GROUPS = [*_groups()]


@pytest.fixture
def due(request: pytest.FixtureRequest, operator: Operator, group: Versions) -> Versions:
    """The versions of the group that are to be interpreted."""
    again = operator.versions[-1].name if request.config.getoption("--slow") else ""
    found = [version for version in group if version.name == again or not verified.verified(operator, version)]
    return found or pytest.skip("they passed as they stand")


def each(judge: Callable[[Versions], dict[str, str]], operator: Operator, due: Versions, told: Told) -> None:
    """Judge versions together, and each alone where one of them stops all; what passed is told to `make verified`."""
    try:
        faults = judge(due)
    except RoofliftError:
        faults = {}
        for version in due:
            try:
                faults |= judge([version])
            except RoofliftError as error:
                faults[version.name] = error.message
    for version in due:
        if not faults[version.name]:
            told(verified.PASSED, verified.version_id(operator, version))
    assert {name: fault for name, fault in faults.items() if fault} == {}


@pytest.mark.parametrize(("operator", "group"), GROUPS)
def test_versions_agree_with_the_reference_on_every_case_and_dtype(
    operator: Operator, due: Versions, ask: Callable[..., Request], record_property: Told
) -> None:
    def judge(versions: Versions) -> dict[str, str]:
        request = ask(operator, *(version.name for version in versions), timeout_s=240 * len(versions))
        assert request.cases
        once = replace(request, options=MeasureOptions(seeds=1))
        every = verify(once, request.cases, True, lambda text: None)
        return {
            version.name: fault_in([check for check in every if check.version == version.name], request, version.name)
            for version in versions
        }

    def fault_in(checks: list[CheckRecord], request: Request, name: str) -> str:
        wanted = [(name, case.name, dtype, 0) for case in request.cases for dtype in case.dtypes]
        if Counter((c.version, c.case, c.dtype, c.seed) for c in checks) != Counter(wanted):
            return "not every case was checked"
        if max(check.error_over_tolerance for check in checks) > 1:
            return "off by more than the tolerance"
        if max(check.max_abs_error for check in checks) == 0 and operator.name not in SELECTS:
            return "no error at all: 16-bit results are rounded where something is computed"
        return ""

    each(judge, operator, due, record_property)


@pytest.mark.parametrize(("operator", "group"), GROUPS)
def test_versions_take_any_layout_and_are_clear_about_what_they_refuse(
    operator: Operator, due: Versions, record_property: Told
) -> None:
    def judge(versions: Versions) -> dict[str, str]:
        program = Path(__file__).with_name("unusual_inputs.py")
        environment = {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(CHECKOUT / "profiling")}
        ended = subprocess.run(
            [sys.executable, program, operator.folder, *(version.path for version in versions)],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        if ended.returncode != 0:
            raise KernelFault(ended.stderr, "")
        found = json.loads(ended.stdout)
        return {version.name: fault_in(version.name, found[version.path.name]) for version in versions}

    def fault_in(name: str, found: dict[str, str]) -> str:
        known = WRONG.get(operator.name, {}).get(name, "")
        if known and found.pop(known) == "agrees":
            return f"{known}: it is right by now"
        refusals = {what: text.format(operator=operator.name) for what, text in REFUSED.items() if what in found}
        unserved = (f"ValueError: {operator.name}: serves ",) if operator.ladder else ()  # and then says what
        if missing := AGREES - found.keys() | {"float64"} - refusals.keys():
            return f"not tried: {', '.join(sorted(missing))}"
        wrong = [
            f"{what}: {said}"
            for what, said in found.items()
            if not said.startswith((refusals.get(what, "agrees"), *unserved))
        ]
        return "; ".join(wrong)

    each(judge, operator, due, record_property)

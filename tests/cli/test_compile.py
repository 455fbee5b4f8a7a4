"""`rooflift compile`, as typed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rooflift.project.operator import Operator

Rooflift = Callable[..., Any]
MakeFamily = Callable[..., Operator]


def test_compile_is_for_both_cards_without_spills(rooflift: Rooflift, project: Path) -> None:
    said = rooflift("compile", "depthwise_conv2d", "--json", folder=project)
    assert said.code == 0
    kernels = json.loads(said.out)
    assert {(kernel["version"], kernel["target"]) for kernel in kernels} == {
        (version, target) for version in ("v0_baseline", "v1_grid") for target in ("sm_89", "sm_90")
    }
    assert all(kernel["spill_instructions"] == kernel["stack_bytes"] == 0 < kernel["registers"] for kernel in kernels)


def test_compile_of_an_operator_without_cases_takes_the_shapes_of_its_own_inputs(
    rooflift: Rooflift, make_operator: MakeFamily, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "triton"))
    said = rooflift("compile", "twice", "--json", "-t", "90", folder=make_operator(cases=None).folder)
    assert said.code == 0, said.err
    (kernel,) = json.loads(said.out)
    assert (kernel["kernel"], kernel["target"], kernel["case"], kernel["grid"]) == ("twice", "sm_90", "main", [1])
    tables = rooflift("compile", "twice", "-t", "90", folder=tmp_path / "project")
    assert tables.code == 0
    for words in ("v0_probe", "sm_90", "not run", "Registers", "Instructions in the binary", "global load"):
        assert words in tables.out

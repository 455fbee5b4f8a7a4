"""`rooflift compile`, as typed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rooflift.measure import children
from rooflift.project.operator import Operator

Rooflift = Callable[..., Any]
MakeFamily = Callable[..., Operator]


def test_compile_is_for_both_cards_without_spills(
    rooflift: Rooflift, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)  # children that share the work
    said = rooflift("compile", "depthwise_conv2d", "--json", folder=project)
    assert said.code == 0
    kernels = json.loads(said.out)
    assert {(kernel["version"], kernel["target"]) for kernel in kernels} == {
        (version, target) for version in ("v0_baseline", "v1_grid") for target in ("sm_89", "sm_90")
    }
    assert all(kernel["spill_instructions"] == kernel["stack_bytes"] == 0 < kernel["registers"] for kernel in kernels)


def test_compile_for_an_unknown_target_starts_no_process(
    rooflift: Rooflift, make_operator: MakeFamily, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "stream", None)
    said = rooflift("compile", "twice", "-t", "77", folder=make_operator().folder)
    assert said.code == 2
    assert "No GPU spec stands for the compile target sm_77." in said.err
    assert "sm_90" in said.err


def test_compile_of_an_operator_without_cases_takes_the_shapes_of_its_own_inputs(
    rooflift: Rooflift, make_operator: MakeFamily, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "triton"))
    said = rooflift("compile", "twice", "--json", "-t", "90", folder=make_operator(cases=None).folder)
    assert said.code == 0, said.err
    (kernel,) = json.loads(said.out)
    assert (kernel["kernel"], kernel["target"], kernel["case"], kernel["grid"]) == ("twice", "sm_90", "main", [1])
    tables = rooflift("compile", "twice", "-t", "h100", folder=tmp_path / "project")
    assert tables.code == 0
    for words in ("v0_probe", "sm_90", "not run", "Registers", "Instructions in the binary", "global load"):
        assert words in tables.out


def test_versions_of_the_same_machine_code_share_a_row(
    rooflift: Rooflift,
    make_operator: MakeFamily,
    version_text: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "triton"))
    other = version_text(store="tl.store(y_ptr + at, y + y, mask=at < n)")
    folder = make_operator(version_text(), version_text(), other).folder
    said = rooflift("compile", "twice", "-t", "90", "-d", "float32", folder=folder)
    assert said.code == 0, said.err
    assert "v0 to v1: the same machine code" in said.out
    rows = [line.split("│")[1].strip() for line in said.out.splitlines() if "│" in line]
    assert rows == 2 * ["v0 to v1", "v2_probe"]  # of the kernels, and of their instructions
    found = json.loads(rooflift("compile", "twice", "-t", "90", "-d", "float32", "--json", folder=folder).out)
    assert [kernel["version"] for kernel in found] == ["v0_probe", "v1_probe", "v2_probe"]

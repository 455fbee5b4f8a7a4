"""From files to modules and tensors: a problem file as it stands, and equal parameters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from rooflift.compile.module import load_module
from rooflift.project.cases import Case
from rooflift.worker.inputs import describe, make_inputs
from rooflift.worker.tensors import make_reference, make_version

MATMUL = """
import torch
import torch.nn as nn


class Model(nn.Module):
    \"\"\"Simple model that performs a single matrix multiplication (C = A * B) with a large K dimension\"\"\"

    def __init__(self):
        super(Model, self).__init__()

    def forward(self, A: torch.Tensor, B: torch.Tensor) -> torch.Tensor:
        return torch.matmul(A, B)


M = 16
N = 24
K = 40


def get_inputs():
    A = torch.rand(M, K)
    B = torch.rand(K, N)
    return [A, B]


def get_init_inputs():
    return []  # No special initialization inputs needed
"""
OWN = Case("main", None, None, ("float32",))


class Linear(torch.nn.Module):
    """Has its parameters under the names weight and bias."""

    def __init__(self, wide: int, high: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(high, wide))
        self.bias = torch.nn.Parameter(torch.randn(high))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.linear(x, self.weight, self.bias)


def problem(model: type[torch.nn.Module], inputs: Callable[[], list[Any]], init: list[Any] | None = None) -> ModuleType:
    """A reference file in all but name."""
    return SimpleNamespace(Model=model, get_inputs=inputs, get_init_inputs=lambda: init or [])  # type: ignore[return-value]


def make_pair(reference: ModuleType, version: Any, case: Case, device: str, seed: int) -> tuple[Any, Any]:
    expected = make_reference(reference, case, device, seed)
    return expected, make_version(version, reference, expected, case, device, seed)[0]


@pytest.fixture
def matmul(tmp_path: Path) -> ModuleType:
    """A problem file in KernelBench's form as it stands."""
    path = tmp_path / "reference.py"
    path.write_text(MATMUL)
    return load_module(path)


def test_problem_file_gives_its_own_inputs_fresh_for_each_seed(matmul: ModuleType) -> None:
    a, b = make_inputs(matmul, OWN, "cpu", seed=1)
    assert [list(a.shape), list(b.shape)] == [[16, 40], [40, 24]]
    torch.testing.assert_close([a, b], make_inputs(matmul, OWN, "cpu", seed=1), rtol=0, atol=0)
    assert not torch.equal(a, make_inputs(matmul, OWN, "cpu", seed=2)[0])
    half = make_inputs(matmul, Case("main", None, None, ("float16",)), "cpu", seed=1)
    assert [x.dtype for x in half] == [torch.float16] * 2


def test_integers_and_plain_values_among_the_inputs_stay_what_they_are() -> None:
    reference = problem(torch.nn.Identity, lambda: [torch.rand(3), torch.arange(4), torch.tensor([True]), 5, "sum"])
    inputs = make_inputs(reference, Case("main", None, None, ("float16",)), "cpu", seed=0)
    assert [x.dtype for x in inputs[:3]] == [torch.float16, torch.int64, torch.bool]
    assert inputs[3:] == [5, "sum"]
    assert describe(inputs) == [[3], [4], [1]]


def test_parameters_are_copied_where_their_names_agree() -> None:
    """Although the version draws them in another order."""

    class Other(Linear):
        def __init__(self, wide: int, high: int) -> None:
            torch.nn.Module.__init__(self)
            self.bias = torch.nn.Parameter(torch.randn(high))
            self.weight = torch.nn.Parameter(torch.randn(high, wide))

    expected, model = make_pair(problem(Linear, list, [3, 5]), SimpleNamespace(ModelNew=Other), OWN, "cpu", seed=4)
    torch.testing.assert_close(model.state_dict(), expected.state_dict(), rtol=0, atol=0)


def test_parameters_are_equal_by_seed_where_their_names_differ() -> None:
    class Other(torch.nn.Module):
        def __init__(self, wide: int, high: int) -> None:
            super().__init__()
            self.inner = Linear(wide, high)

    reference, version = problem(Linear, list, [3, 5]), SimpleNamespace(ModelNew=Other)
    expected, model = make_pair(reference, version, OWN, "cpu", seed=4)
    assert torch.equal(model.inner.weight, expected.weight)
    assert torch.equal(model.inner.bias, expected.bias)
    another, _ = make_pair(reference, version, OWN, "cpu", seed=5)
    assert not torch.equal(another.weight, expected.weight)


def test_arguments_of_the_case_go_before_those_of_the_reference() -> None:
    case = Case("wide", {"wide": 2, "high": 7}, [[1, 2]], ("bfloat16",))
    reference = problem(Linear, list, [3, 5])
    expected, _ = make_pair(reference, SimpleNamespace(ModelNew=Linear), case, "cpu", seed=0)
    assert (expected.weight.shape, expected.weight.dtype) == ((7, 2), torch.bfloat16)
    (x,) = make_inputs(reference, case, "cpu", seed=0)
    assert (list(x.shape), x.dtype) == ([1, 2], torch.bfloat16)


def test_loaded_file_does_not_take_the_name_of_another_package(matmul: ModuleType) -> None:
    assert not matmul.__name__.startswith("kernels")
    assert matmul.M == 16


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_inputs_that_a_file_makes_on_a_gpu_are_made_where_they_are_wanted(tmp_path: Path, device: str) -> None:
    file = tmp_path / "reference.py"
    file.write_text(
        "import torch\n"
        "from torch.distributions import Pareto\n"
        "def get_inputs():\n"
        "    on_gpu = torch.rand(3, 4, device='cuda', dtype=torch.float16)\n"
        "    return [on_gpu, Pareto(0.01, 1.5).sample((5, 6))]\n"
    )
    case = Case("main", None, None, ("float32",))
    first, second = make_inputs(load_module(file), case, device, seed=0)
    assert (first.device.type, tuple(first.shape), tuple(second.shape)) == (device, (3, 4), (5, 6))

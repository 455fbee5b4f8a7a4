"""From files to modules and tensors: the traffic of a case, a problem file as it stands, and equal parameters."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from rooflift.compile.module import load_module
from rooflift.project.cases import Case
from rooflift.project.operator import load_operator
from rooflift.worker.tensors import (
    count_flop,
    in_channels_last,
    input_shapes,
    make_inputs,
    make_model,
    make_pair,
    traffic,
)

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


@pytest.fixture
def matmul(tmp_path: Path) -> ModuleType:
    """A problem file in KernelBench's form as it stands."""
    path = tmp_path / "reference.py"
    path.write_text(MATMUL)
    return load_module(path)


def reference_of(checkout: Path, operator: str) -> ModuleType:
    return load_module(checkout / "kernels" / operator / "reference.py")


def main_case(checkout: Path, operator: str, dtype: str = "float32") -> Case:
    case = load_operator(checkout, operator).cases["main"]
    return Case("main", case.init, case.inputs, (dtype,))


def moved(reference: ModuleType, plan: Case) -> tuple[int, int]:
    """Return the bytes that a case reads and writes, without holding them."""
    with torch.device("meta"):
        model = make_model(reference.Model, reference, plan, "meta", seed=0)
        inputs = make_inputs(reference, plan, "meta", seed=0)
        return traffic(inputs, model, model(*inputs))


def test_main_depthwise_case_moves_2_gb_and_computes_5_gflop(checkout: Path) -> None:
    reference, case = reference_of(checkout, "depthwise_conv2d"), main_case(checkout, "depthwise_conv2d")
    # input, 64 filters of 3 x 3, output; 4 bytes each
    read_bytes, written_bytes = moved(reference, case)
    assert (read_bytes, written_bytes) == (4 * (16 * 64 * 512 * 512 + 64 * 9), 4 * 16 * 64 * 510 * 510)
    assert read_bytes + written_bytes == 2139113728
    assert count_flop(reference, case) == 4794163200  # 2 x 9 an output
    started = time.monotonic()
    count_flop(reference, case)
    assert time.monotonic() - started < 1  # the first call imports torch's FLOP counter


def test_half_the_bytes_in_half_precision_and_as_many_flop(checkout: Path) -> None:
    reference = reference_of(checkout, "depthwise_conv2d")
    single, half = (main_case(checkout, "depthwise_conv2d", dtype) for dtype in ("float32", "float16"))
    assert [2 * size for size in moved(reference, half)] == list(moved(reference, single))
    assert count_flop(reference, half) == count_flop(reference, single)


def test_flop_of_a_case_that_no_machine_could_hold_are_counted_without_holding_it(checkout: Path) -> None:
    case = Case("huge", {"in_channels": 64, "kernel_size": 3}, [[2**20, 64, 512, 512]], ("float32",))
    assert count_flop(reference_of(checkout, "depthwise_conv2d"), case) == 2 * 9 * 2**20 * 64 * 510 * 510


def test_flop_of_an_operator_without_a_formula_are_unknown_and_not_zero(checkout: Path) -> None:
    reference, case = reference_of(checkout, "rms_norm"), main_case(checkout, "rms_norm")
    assert count_flop(reference, case) is None
    assert moved(reference, case) == (4 * 16 * 64 * 512 * 512,) * 2


def test_every_tensor_counts_once_with_its_own_size() -> None:
    inputs = [torch.zeros(3), torch.zeros(4, dtype=torch.int64), 5, "sum"]
    outputs = (torch.zeros(2, 2), torch.zeros(1, dtype=torch.bool))
    assert traffic(inputs, torch.nn.Linear(3, 7), outputs) == (12 + 32 + 4 * (21 + 7), 16 + 1)
    assert traffic([], torch.nn.Identity(), torch.zeros(5, dtype=torch.float16)) == (0, 10)
    assert input_shapes(inputs) == [[3], [4]]


def test_peer_in_channels_last_computes_the_same_in_another_layout() -> None:
    model = torch.nn.Conv2d(3, 3, 3, groups=3)
    inputs = [torch.rand(2, 3, 6, 5), 7, torch.rand(4)]
    turned = in_channels_last(model, inputs)
    assert turned is not None
    its_model, (x, number, vector) = turned
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert its_model.weight.is_contiguous(memory_format=torch.channels_last)
    assert (number, vector is inputs[2]) == (7, True)
    torch.testing.assert_close(its_model(x), model(inputs[0]))
    assert model.weight.is_contiguous()  # the model of the other baselines stays as it was
    assert inputs[0].is_contiguous()


def test_operator_without_a_4d_input_has_no_such_baseline() -> None:
    assert in_channels_last(torch.nn.Linear(5, 3), [torch.rand(4, 5)]) is None


def test_problem_file_gives_its_own_inputs_fresh_for_each_seed(matmul: ModuleType) -> None:
    a, b = make_inputs(matmul, OWN, "cpu", seed=1)
    assert [list(a.shape), list(b.shape)] == [[16, 40], [40, 24]]
    torch.testing.assert_close([a, b], make_inputs(matmul, OWN, "cpu", seed=1), rtol=0, atol=0)
    assert not torch.equal(a, make_inputs(matmul, OWN, "cpu", seed=2)[0])
    half = make_inputs(matmul, Case("main", None, None, ("float16",)), "cpu", seed=1)
    assert [x.dtype for x in half] == [torch.float16] * 2


def test_traffic_of_a_problem_file_is_that_of_its_own_inputs(matmul: ModuleType) -> None:
    assert sum(moved(matmul, OWN)) == 4 * (16 * 40 + 40 * 24 + 16 * 24)
    assert count_flop(matmul, OWN) == 2 * 16 * 24 * 40


def test_integers_and_plain_values_among_the_inputs_stay_what_they_are() -> None:
    reference = problem(torch.nn.Identity, lambda: [torch.rand(3), torch.arange(4), torch.tensor([True]), 5, "sum"])
    inputs = make_inputs(reference, Case("main", None, None, ("float16",)), "cpu", seed=0)
    assert [x.dtype for x in inputs[:3]] == [torch.float16, torch.int64, torch.bool]
    assert inputs[3:] == [5, "sum"]


class ByValue(torch.nn.Module):
    """Looks at values, which tensors on the meta device do not have."""

    def __init__(self, look: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.look = look

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * float(len(str(self.look(x))))


@pytest.mark.parametrize(
    "look",
    [lambda x: x.sum().item(), torch.nonzero, lambda x: x.tolist(), lambda x: x.numpy(), lambda x: bool(x.sum() > 0)],
    ids=["item", "nonzero", "tolist", "numpy", "branch"],
)
def test_flop_of_a_reference_that_looks_at_values_are_unknown(look: Callable[[torch.Tensor], Any]) -> None:
    """They are counted last: a fault here would cost the whole measurement."""
    assert count_flop(problem(ByValue, lambda: [torch.rand(6)], [look]), OWN) is None


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

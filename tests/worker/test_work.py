"""The work of a case: its compulsory bytes and its FLOP, counted without a GPU and without holding a tensor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from rooflift.compile.module import load_module
from rooflift.project.cases import Case
from rooflift.project.operator import load_operator
from rooflift.schema import STATED, TENSORS, ResolvedCase
from rooflift.worker.inputs import make_inputs
from rooflift.worker.tensors import make_model
from rooflift.worker.work import COUNTED, Flop, Traffic, count_flop, flop_of, stated_traffic, traffic

OWN = Case("main", None, None, ("float32",))


class Product(torch.nn.Module):
    """A matrix product."""

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a @ b


def problem(model: type[torch.nn.Module], inputs: Callable[[], list[Any]], init: list[Any] | None = None) -> ModuleType:
    """A reference file in all but name."""
    return SimpleNamespace(Model=model, get_inputs=inputs, get_init_inputs=lambda: init or [])  # type: ignore[return-value]


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
    assert count_flop(reference, case).flop == 4794163200  # 2 x 9 an output


def test_half_the_bytes_in_half_precision_and_as_many_flop(checkout: Path) -> None:
    reference = reference_of(checkout, "depthwise_conv2d")
    single, half = (main_case(checkout, "depthwise_conv2d", dtype) for dtype in ("float32", "float16"))
    assert [2 * size for size in moved(reference, half)] == list(moved(reference, single))
    assert count_flop(reference, half) == count_flop(reference, single)


def test_flop_of_a_case_that_no_machine_could_hold_are_counted_without_holding_it(checkout: Path) -> None:
    case = Case("huge", {"in_channels": 64, "kernel_size": 3}, [[2**20, 64, 512, 512]], ("float32",))
    assert count_flop(reference_of(checkout, "depthwise_conv2d"), case).flop == 2 * 9 * 2**20 * 64 * 510 * 510


def test_flop_of_an_operator_without_a_formula_are_unknown_and_not_zero(checkout: Path) -> None:
    reference, case = reference_of(checkout, "rms_norm"), main_case(checkout, "rms_norm")
    assert count_flop(reference, case) == (None, "knows no operation of it")
    assert moved(reference, case) == (4 * 16 * 64 * 512 * 512,) * 2


def test_every_tensor_counts_once_with_its_own_size() -> None:
    inputs = [torch.zeros(3), torch.zeros(4, dtype=torch.int64), 5, "sum"]
    outputs = (torch.zeros(2, 2), torch.zeros(1, dtype=torch.bool))
    assert traffic(inputs, torch.nn.Linear(3, 7), outputs) == (12 + 32 + 4 * (21 + 7), 16 + 1)
    assert traffic([], torch.nn.Identity(), torch.zeros(5, dtype=torch.float16)) == (0, 10)


def test_traffic_of_a_problem_file_is_that_of_its_own_inputs() -> None:
    matmul = problem(Product, lambda: [torch.rand(16, 40), torch.rand(40, 24)])
    assert sum(moved(matmul, OWN)) == 4 * (16 * 40 + 40 * 24 + 16 * 24)
    assert count_flop(matmul, OWN) == (2 * 16 * 24 * 40, "")


class ByValue(torch.nn.Module):
    """Looks at values, which tensors on the meta device do not have."""

    def __init__(self, look: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.look = look

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * float(len(str(self.look(x))))


class Broken(torch.nn.Module):
    """Raises what it was made with."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise self.error


@pytest.mark.parametrize(
    "look",
    [lambda x: x.sum().item(), torch.nonzero, lambda x: x.tolist(), lambda x: x.numpy(), lambda x: bool(x.sum() > 0)],
    ids=["item", "nonzero", "tolist", "numpy", "branch"],
)
def test_flop_of_a_reference_that_looks_at_values_are_unknown(look: Callable[[torch.Tensor], Any]) -> None:
    """They are counted last: a fault here would cost the whole measurement."""
    found = count_flop(problem(ByValue, lambda: [torch.rand(6)], [look]), OWN)
    assert found.flop is None
    assert found.missing.endswith("on tensors without values")


@pytest.mark.parametrize("error", [ValueError("odd"), AssertionError(), KeyError(1), SystemExit(3), ImportError("x")])
def test_whatever_a_reference_raises_while_it_is_counted_is_a_reason_and_no_fault(error: BaseException) -> None:
    found = flop_of(problem(Broken, lambda: [torch.rand(6)], [error]), OWN, [])
    assert (found.total, found.by_unit) == (None, {})
    assert type(error).__name__ in found.source


def test_a_reference_of_many_steps_is_given_up_when_the_budget_is_spent() -> None:
    recurrent = problem(torch.nn.LSTM, lambda: [torch.rand(20000, 10, 16)], [16, 16])
    found = count_flop(recurrent, OWN, budget_s=0.5)
    assert found == (None, "took longer than 0.5 s")


def test_a_tensor_counts_once_however_often_it_is_passed_or_shown() -> None:
    x = torch.zeros(8, 4)
    nothing = torch.nn.Identity()
    assert traffic([x, x], nothing, []) == (128, 0)
    assert traffic([x[:2], x[2:]], nothing, []) == (128, 0)
    assert traffic([x[:6], x[2:]], nothing, []) == (128, 0)  # no more than there is
    assert traffic([x[:, :1]], nothing, []) == (32, 0)
    assert traffic([torch.zeros(4).expand(1000, 4)], nothing, torch.zeros(1).expand(50)) == (16, 4)
    assert traffic([x.t()], nothing, []) == (128, 0)
    assert traffic([torch.zeros(0, 3).expand(5, 0, 3)], nothing, []) == (0, 0)


def test_nests_and_buffers_count() -> None:
    norm = torch.nn.BatchNorm1d(4)  # weight, bias, running mean and variance of 4 floats, and an int64
    nest = {"a": [torch.zeros(2), (torch.zeros(3), None)], "b": 5}
    assert traffic([nest], norm, {"y": torch.zeros(1), "z": (torch.zeros(1), [torch.zeros(2)])}) == (20 + 72, 16)


def case_of(**stated: Any) -> Case:
    return Case("main", {"S": 64, "D": 16}, [[64, 16]], ("bfloat16",), **stated)


def test_bytes_that_a_case_states_go_before_those_of_its_tensors() -> None:
    counted = Traffic(1000, 200)
    assert stated_traffic(case_of(), counted) == (counted, TENSORS)
    assert stated_traffic(case_of(bytes="S*D*itemsize"), counted) == ((2048 - 200, 200), STATED)
    assert stated_traffic(case_of(bytes=100), counted) == ((0, 100), STATED)
    assert stated_traffic(case_of(bytes={"read": "S", "write": 7}), counted) == ((64, 7), STATED)


def test_flop_that_a_case_states_go_before_every_count() -> None:
    reference = problem(Product, lambda: [torch.rand(16, 40), torch.rand(40, 24)])
    known = ResolvedCase("main", "bfloat16", {}, [], 1, 777, COUNTED)
    stated = case_of(flop={"tensor": "4*S*S*D/2", "special": "S*S/2"})
    units = {"BF16 tensor": 131072, "special functions": 2048}
    assert flop_of(reference, stated, [known]) == Flop(131072, units, STATED)
    assert flop_of(reference, case_of(flop={"special": "S"}), []) == Flop(None, {"special functions": 64}, STATED)
    assert flop_of(reference, case_of(), [known]) == Flop(777, {}, COUNTED)
    stale = ResolvedCase("main", "float32", {}, [], 1, 777, STATED)  # of a run when cases.toml said something else
    assert flop_of(reference, OWN, [stale]) == Flop(2 * 16 * 24 * 40, {}, COUNTED)

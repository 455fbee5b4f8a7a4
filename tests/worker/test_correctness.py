"""The comparison with the reference: what is right passes, and no wrong result does, whatever form it takes."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from rooflift.dtypes import STANDARD
from rooflift.project.cases import Case
from rooflift.schema import CheckRecord
from rooflift.worker.correctness import check_version
from rooflift.worker.inputs import each_tensor
from rooflift.worker.poison import poisoned_memory
from rooflift.worker.protocol import Mismatch

F32 = Case("small", {}, [[4, 8]], ("float32",))
# Numbers next to each other in a dtype at 1.0, where they lie farthest apart for their size.
STEP = {dtype: torch.finfo(getattr(torch, dtype)).eps for dtype in STANDARD}


class Twice(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * x


def check(forward: Callable[[torch.Tensor], Any], reference: type[torch.nn.Module] = Twice) -> CheckRecord | Mismatch:
    """Check a version that is no more than its forward."""

    class ModelNew(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> Any:
            return forward(x)

    version, plain = SimpleNamespace(ModelNew=ModelNew), SimpleNamespace(Model=reference)
    return check_version("v1_probe", version, plain, F32, "cpu", seed=7)  # type: ignore[arg-type]  # modules in all but name


def result_of(got: Any, expected: Any, dtype: str) -> CheckRecord | Mismatch:
    """Check a version that returns `got` where the reference, in float64, returns `expected`."""

    class Given(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> Any:
            return each_tensor(expected, lambda value: value.to(x.dtype) if value.is_floating_point() else value)

    class ModelNew(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> Any:
            return got

    version, plain = SimpleNamespace(ModelNew=ModelNew), SimpleNamespace(Model=Given)
    return check_version("v1_probe", version, plain, Case("small", {}, [[4]], (dtype,)), "cpu", 0)  # type: ignore[arg-type]


def wrong(got: Any, expected: Any, dtype: str = "float32") -> Mismatch:
    """Compare two results that must not agree."""
    found = result_of(got, expected, dtype)
    assert isinstance(found, Mismatch), found
    return found


def agrees(got: Any, expected: Any, dtype: str = "float32") -> CheckRecord:
    """Compare two results that must agree."""
    found = result_of(got, expected, dtype)
    assert isinstance(found, CheckRecord), found
    return found


def test_right_result_passes_with_its_error() -> None:
    found = check(lambda x: 2 * x * (1 + 1e-6))
    assert isinstance(found, CheckRecord)
    assert (found.version, found.case, found.dtype, found.seed) == ("v1_probe", "small", "float32", 7)
    assert 0 < found.error_over_tolerance < 1
    assert 0 < found.max_abs_error < 1e-4


def test_wrong_result_names_the_worst_element_and_how_far_off_it_is() -> None:
    expected = torch.ones(2, 3, 4, dtype=torch.float64)
    got = expected.float()
    got[0, 1, 2] += 0.25
    got[1, 2, 3] += 0.5
    found = wrong(got, expected)
    assert (found.index, found.expected, found.got) == ([1, 2, 3], "1", "1.5")
    assert found.error_over_tolerance == pytest.approx(0.5 / (1.1 * 16 * STEP["float32"]), rel=0.01)
    assert (found.wrong_elements, found.elements) == (2, 24)


def test_result_that_is_wrong_everywhere_says_so() -> None:
    found = check(lambda x: 3 * x)
    assert isinstance(found, Mismatch)
    assert (found.wrong_elements, found.elements) == (32, 32)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_element_that_is_no_number_fails(bad: float) -> None:
    got = torch.ones(5)
    got[3] = bad
    found = wrong(got, torch.ones(5, dtype=torch.float64))
    assert (found.index, found.got, found.wrong_elements) == ([3], str(bad), 1)


def test_infinity_where_the_reference_has_it_passes() -> None:
    """A mask of minus infinity, a logarithm of zero."""
    agrees(torch.tensor([1.0, -math.inf]), torch.tensor([1.0, -math.inf], dtype=torch.float64))


def test_infinity_in_the_reference_does_not_excuse_the_other_elements() -> None:
    found = wrong(torch.tensor([5.0, -math.inf]), torch.tensor([1.0, -math.inf], dtype=torch.float64))
    assert found.index == [0]


@pytest.mark.parametrize(
    "allocate",
    [
        torch.empty_like,
        lambda x: torch.empty(x.shape),
        lambda x: x.new_empty(x.shape),
        lambda x: torch.empty_strided(x.shape, x.stride()),
    ],
    ids=["empty_like", "empty", "new_empty", "empty_strided"],
)
def test_element_that_is_never_written_fails(allocate: Callable[[torch.Tensor], torch.Tensor]) -> None:
    def forget_the_last(x: torch.Tensor) -> torch.Tensor:
        y = allocate(x)
        y.view(-1)[:-1] = 2 * x.view(-1)[:-1]
        return y

    found = check(forget_the_last)
    assert isinstance(found, Mismatch)
    assert (found.index, found.got, found.wrong_elements) == ([3, 7], "nan", 1)


def test_version_that_spoils_its_input_is_told_so() -> None:
    found = check(lambda x: 2 * x.zero_())
    assert isinstance(found, Mismatch)
    assert found.got == "input 0 changed"


def test_another_shape_is_wrong_although_it_could_be_broadcast() -> None:
    found = check(lambda x: 2 * x[:1])
    assert isinstance(found, Mismatch)
    assert (found.index, found.expected, found.got) == ([], "(4, 8) float32", "(1, 8) float32")


def test_another_dtype_is_wrong_although_the_values_agree() -> None:
    found = check(lambda x: (2 * x).double())
    assert isinstance(found, Mismatch)
    assert (found.expected, found.got) == ("(4, 8) float32", "(4, 8) float64")


def test_result_that_is_no_tensor_is_wrong() -> None:
    found = check(lambda x: None)
    assert isinstance(found, Mismatch)
    assert found.got == "None"


def test_every_tensor_of_a_tuple_is_compared() -> None:
    expected = (torch.ones(3, dtype=torch.float64), torch.zeros(2, 2, dtype=torch.float64))
    agrees((torch.ones(3), torch.zeros(2, 2)), expected)
    found = wrong((torch.ones(3), torch.tensor([[0.0, 0.0], [1.0, 0.0]])), expected)
    assert found.index == [1, 0]
    assert wrong((torch.ones(3),), expected).expected == "(3,) float32, (2, 2) float32"


def test_integers_are_compared_exactly() -> None:
    """An index that is off by one is another index, however large it is."""
    expected = torch.tensor([1_000_000, 2_000_000])
    agrees(expected.clone(), expected)
    assert wrong(torch.tensor([1_000_000, 2_000_001]), expected).index == [1]


def test_result_without_elements_passes() -> None:
    found = agrees(torch.empty(0, 3), torch.empty(0, 3, dtype=torch.float64))
    assert (found.max_abs_error, found.error_over_tolerance) == (0, 0)


def test_single_number_that_is_wrong_is_told_with_its_value() -> None:
    found = wrong(torch.tensor(3.0), torch.tensor(2.0, dtype=torch.float64))
    assert (found.expected, found.got, found.elements) == ("2", "3", 1)


@pytest.mark.parametrize("dtype", STANDARD)
def test_exact_result_rounded_once_passes(dtype: str) -> None:
    torch.manual_seed(0)
    expected = torch.randn(100_000, dtype=torch.float64)
    assert agrees(expected.to(getattr(torch, dtype)), expected, dtype).error_over_tolerance <= 0.5


@pytest.mark.parametrize(
    ("dtype", "passes", "fails"),
    [("float16", 1, 3), ("bfloat16", 1, 3), ("float32", 16, 40)],  # float32: what the functions of GPUs are off by
)
def test_tolerance_is_a_few_units_in_the_last_place(dtype: str, passes: int, fails: int) -> None:
    expected = torch.ones(8, dtype=torch.float64)
    for steps, judge in ((passes, agrees), (-passes, agrees), (fails, wrong), (-2 * fails, wrong)):
        got = torch.ones(8, dtype=getattr(torch, dtype))
        got[5] += steps * STEP[dtype]
        judge(got, expected, dtype)


def test_small_elements_among_large_ones_are_held_to_their_own_size() -> None:
    expected = torch.tensor([1.0, 1e-9, 1e-9], dtype=torch.float64)
    agrees(torch.tensor([1.0, 1e-9, 1e-9]), expected)
    assert wrong(torch.tensor([1.0, 1e-9, 1.1e-9]), expected).index == [2]


def test_zero_that_should_be_zero_passes_and_anything_but_a_rounding_error_fails() -> None:
    expected = torch.zeros(4, dtype=torch.float64)
    agrees(torch.zeros(4), expected)
    assert wrong(torch.tensor([0.0, 0.0, 1e-6, 0.0]), expected).index == [2]


@pytest.mark.parametrize("mode", [0, 1, 2])
@pytest.mark.parametrize("filled", [True, False])
def test_deterministic_state_of_torch_is_what_it_was_before(
    monkeypatch: pytest.MonkeyPatch, mode: int, filled: bool
) -> None:
    def state() -> tuple[int, bool]:
        return torch.get_deterministic_debug_mode(), torch.utils.deterministic.fill_uninitialized_memory

    def fail() -> None:
        with poisoned_memory():
            assert torch.empty(3).isnan().all()
            raise ValueError("a version may raise anything")

    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", filled)
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode(mode)
    try:
        with pytest.raises(ValueError, match="a version may raise anything"):
            fail()
        assert state() == (mode, filled)
    finally:
        torch.set_deterministic_debug_mode(before)

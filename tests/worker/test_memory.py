"""Comparisons that do not fit into memory at once: in slices where rows are independent, else refused beforehand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from rooflift.errors import CatalogError
from rooflift.project.cases import Case
from rooflift.worker import memory, truth
from rooflift.worker.correctness import check_version
from rooflift.worker.inputs import make_inputs

CASE = Case("large", {}, [[64, 40]], ("float32",))


class Rows(nn.Module):
    """Each row by itself, with a weight of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(40)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.norm(x), x.argmax(-1)


class Batch(nn.Module):
    """Statistics of the whole batch."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(40)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x)


def truth_of(model: type[nn.Module]) -> truth.Truth:
    reference: Any = SimpleNamespace(Model=model, get_init_inputs=list)
    return truth.find_truth(reference, CASE, "cpu", 3, make_inputs(reference, CASE, "cpu", 4))


@pytest.fixture
def scarce(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let only some of what a comparison of CASE takes be free: 64 x 40 float64 twice, and 12 bytes an element kept."""
    monkeypatch.setattr(truth, "LEAST", 1)
    monkeypatch.setattr(memory, "free_bytes", lambda device: 64 * 40 * (12 + 16) * 9 // 10)


@pytest.mark.usefixtures("scarce")
def test_rows_that_are_independent_are_compared_in_slices_with_the_same_outcome(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sliced = truth_of(Rows)
    monkeypatch.setattr(memory, "free_bytes", lambda device: 1 << 40)
    whole = truth_of(Rows)
    for one, other in zip(sliced.results, whole.results, strict=True):
        torch.testing.assert_close(one.leaf.value, other.leaf.value, rtol=1e-14, atol=1e-14)
    # probes draw other signs for slices: the same scale but for chance
    assert float((sliced.results[0].scale / whole.results[0].scale).median()) == pytest.approx(1, abs=0.2)


@pytest.mark.usefixtures("scarce")
def test_a_version_is_checked_in_slices() -> None:
    reference: Any = SimpleNamespace(Model=Rows, get_init_inputs=list)
    version: Any = SimpleNamespace(ModelNew=Rows)
    assert check_version("v1", version, reference, CASE, "cpu", 3).error_over_tolerance <= 1


def test_rows_are_taken_in_slices_where_the_run_in_float64_takes_more_than_was_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Some algorithms of a GPU take more memory in float64 than twice what they take in float32."""
    monkeypatch.setattr(truth, "LEAST", 1)
    whole = truth_of(Rows)

    class Hungry(Rows):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            if x.dtype == torch.float64 and len(x) > 16:
                raise torch.OutOfMemoryError
            return super().forward(x)

    sliced = truth_of(Hungry)
    torch.testing.assert_close(sliced.results[0].leaf.value, whole.results[0].leaf.value, rtol=1e-14, atol=1e-14)

    class Whole(Batch):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x.dtype == torch.float64:
                raise torch.OutOfMemoryError
            return super().forward(x)

    with pytest.raises(CatalogError, match=r"needs more than the .* are free"):
        truth_of(Whole)


@pytest.mark.usefixtures("scarce")
def test_what_does_not_fit_is_refused_with_what_it_needs() -> None:
    with pytest.raises(CatalogError, match=r"large float32: .* needs about 7.17e-05 GB, .* are free\nMake"):
        truth_of(Batch)

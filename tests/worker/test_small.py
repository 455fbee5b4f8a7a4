"""Small cases of references whose sizes are module constants."""

from __future__ import annotations

from pathlib import Path

import pytest

from rooflift.worker.small import find_small

GROUPED = """
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, channels, num_groups):
        super().__init__()
        self.norm = nn.GroupNorm(num_groups, channels)
        self.mix = nn.Conv2d(channels, channels, kernel_size, groups=num_groups)

    def forward(self, x):
        return self.mix(self.norm(x))


batch_size = 512
channels = 96
num_groups = 24
kernel_size = 5
depth, height = 3, 1024
width = height
shape = (batch_size, channels)


def get_inputs():
    return [torch.rand(*shape, height, width)]


def get_init_inputs():
    return [channels, num_groups]
"""


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "reference.py"
    file.write_text(text)
    return file


def test_sizes_shrink_as_far_as_groups_and_kernels_allow_and_formulas_follow(tmp_path: Path) -> None:
    found = find_small(write(tmp_path, GROUPED))
    assert found.fault == ""
    assert found.constants["channels"] % 24 == 0
    assert found.constants["batch_size"] <= 16
    assert 5 <= found.constants["height"] <= 16
    assert not {"kernel_size", "num_groups", "depth", "width", "shape"} & set(found.constants)


def test_sizes_that_must_be_equal_shrink_together(tmp_path: Path) -> None:
    text = """
import torch


class Model(torch.nn.Module):
    def forward(self, x, w):
        assert x.shape[1] >= 300
        return x @ w


rows = 4096
inner = 2048
same = 2048
columns = 512


def get_inputs():
    return [torch.rand(rows, inner), torch.rand(same, columns)]


def get_init_inputs():
    return []
"""
    found = find_small(write(tmp_path, text))
    assert found.constants["inner"] == found.constants["same"] == 512
    assert found.constants["rows"] == found.constants["columns"] == 16


def test_a_reference_that_looks_at_values_is_run_to_see_what_it_takes(tmp_path: Path) -> None:
    text = """
import torch
from torch.distributions import Pareto


class Model(torch.nn.Module):
    def forward(self, x):
        return x * x.max().item()


shape = (8192,)


def get_inputs():
    return [Pareto(0.01, 1.5).sample((4096, *shape))]


def get_init_inputs():
    return []
"""
    assert find_small(write(tmp_path, text)).constants == {"shape": (16,)}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import nothing_of_that_name\n", "nothing_of_that_name"),
        (GROUPED.replace("self.mix(", "self.none("), "none"),
    ],
)
def test_a_reference_that_does_not_run_says_why(tmp_path: Path, text: str, why: str) -> None:
    found = find_small(write(tmp_path, text))
    assert "does not run" in found.fault
    assert why in found.fault


def test_a_reference_without_constants_that_is_large_has_no_small_case(tmp_path: Path) -> None:
    text = """
import torch


class Model(torch.nn.Module):
    def forward(self, x):
        return x + 1


def get_inputs():
    return [torch.rand(32768, 32768)]


def get_init_inputs():
    return []
"""
    assert "2.1e+09 elements" in find_small(write(tmp_path, text)).fault

"""Kernel files imported with other values for their module constants."""

from __future__ import annotations

from pathlib import Path

import pytest

from rooflift.compile.module import load_module, own_constants
from rooflift.errors import CatalogError

TEXT = """
N = 2048 * 2
height = width = 256
depth, rows = 16, 32
shape = (N,)
kept: int = 3
both = (N, height)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "reference.py"
    path.write_text(TEXT)
    return path


def test_constants_of_any_form_are_replaced_and_what_is_made_of_them_follows(file: Path) -> None:
    module = load_module(file, constants={"N": 8, "height": 4, "rows": 2, "kept": 5})
    assert (module.N, module.height, module.width) == (8, 4, 256)
    assert (module.depth, module.rows, module.kept) == (16, 2, 5)
    assert (module.shape, module.both) == ((8,), (8, 4))


def test_a_list_of_toml_becomes_the_tuple_that_the_file_has(file: Path) -> None:
    assert load_module(file, constants={"shape": [3, 5]}).shape == (3, 5)


def test_a_constant_that_the_file_lacks_is_an_error_in_the_reference_alone(file: Path) -> None:
    with pytest.raises(CatalogError, match="no module constant 'M'"):
        load_module(file, constants={"M": 3})
    assert own_constants(file, {"M": 3, "N": 4}) == {"N": 4}

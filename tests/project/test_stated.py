"""What a case states of its work in cases.toml: by unit and direction, with errors that name the key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rooflift.errors import CatalogError
from rooflift.project.cases import read_cases
from rooflift.project.stated import bytes_by_direction, flop_by_unit

CASES = """
[main]
init = {{ S = 64, D = 16, mode = "causal" }}
inputs = [[64, 16]]
use = ["bench"]
dtypes = ["float32", "bfloat16"]
{}
"""


def test_flop_without_a_unit_are_products_of_the_dtype() -> None:
    assert flop_by_unit("2*S", {"S": 5}, "float16") == {"FP16 tensor": 10}
    assert flop_by_unit(10, {}, "float32") == {"FP32": 10}
    assert flop_by_unit(10, {}, "float32", allow_tf32=True) == {"TF32 tensor": 10}
    assert flop_by_unit(None, {}, "float32") == {}


def test_units_that_are_the_same_for_a_dtype_add_up() -> None:
    stated = {"tensor": 100, "fp32": 20, "fp64": 3, "special": 4}
    assert flop_by_unit(stated, {}, "float32") == {"FP32": 120, "FP64": 3, "special functions": 4}
    assert flop_by_unit(stated, {}, "bfloat16")["BF16 tensor"] == 100


def test_bytes_know_the_size_of_an_element() -> None:
    assert bytes_by_direction("S*itemsize", {"S": 5}, "float64") == {"": 40}
    assert bytes_by_direction({"read": "S", "write": "2*S"}, {"S": 5}, "int8") == {"read": 5, "write": 10}


def test_a_file_that_states_its_work_is_read(tmp_path: Path) -> None:
    path = tmp_path / "cases.toml"
    path.write_text(CASES.format('flop = { tensor = "2*S*D", special = "S" }\nbytes = "S*D*itemsize"'))
    case = read_cases(path)["main"].with_dtype("bfloat16")
    assert flop_by_unit(case.flop, case.names, case.dtype) == {"BF16 tensor": 2048, "special functions": 64}
    assert bytes_by_direction(case.bytes, case.names, case.dtype) == {"": 2048}


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('flop = "2*T"', "flop: '2*T'"),
        ('flop = "S*mode"', "flop: 'S*mode'"),
        ('flop = { tensor = "2*S", cuda = 5 }', "flop.cuda: no unit 'cuda'"),
        ('flop = { special = "S/3" }', "flop.special: 'S/3'"),
        ("flop = 2.5", "flop"),
        ('bytes = "S -"', "bytes: 'S -' is no formula"),
        ('bytes = "D - S"', "bytes: 'D - S' is -48"),
        ("bytes = { read = 5 }", "bytes: read"),
        ('bytes = { read = 5, write = "__import__" }', "bytes.write: '__import__'"),
    ],
)
def test_an_error_names_file_case_and_key(tmp_path: Path, line: str, key: str) -> None:
    path = tmp_path / "cases.toml"
    path.write_text(CASES.format(line))
    with pytest.raises(CatalogError) as fault:
        read_cases(path)
    assert fault.value.message.startswith(f"{path}: [main]: ")
    assert key in fault.value.message


def test_the_cases_of_the_documentation_are_read(checkout: Path, tmp_path: Path) -> None:
    text = (checkout / "docs" / "sol.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```toml\n(.*?)```", text, flags=re.DOTALL)
    path = tmp_path / "cases.toml"
    path.write_text("\n".join(blocks).replace("[causal]", "[main]"))
    cases = read_cases(path)
    assert list(cases) == ["embedding", "main"]
    causal, embedding = (cases[name].with_dtype("bfloat16") for name in ("main", "embedding"))
    assert (
        flop_by_unit(causal.flop, causal.names, "bfloat16")["BF16 tensor"] == 549_755_813_888
    )  # torch counts twice that
    assert bytes_by_direction(embedding.bytes, embedding.names, "bfloat16")["read"] == 4096 * (8 + 2 * 1024)

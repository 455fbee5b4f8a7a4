"""cases.toml: what a case says, and that every slip is named with its file and field."""

from __future__ import annotations

from pathlib import Path

import pytest

from rooflift.dtypes import STANDARD
from rooflift.errors import CatalogError
from rooflift.project.cases import Case, read_cases

GOOD = """
[main]
init = { in_channels = 64, kernel_size = 3 }
inputs = [[16, 64, 512, 512], [64]]
dtypes = ["float32"]
use = ["bench"]

[empty_batch]
init = {}
inputs = [[0, 4]]
use = ["test", "bench"]
"""


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "cases.toml"
    path.write_text(GOOD)
    return path


def test_cases_say_init_inputs_dtypes_and_use(written: Path) -> None:
    init = {"in_channels": 64, "kernel_size": 3}
    assert read_cases(written) == {
        "main": Case("main", init, [[16, 64, 512, 512], [64]], ("float32",), frozenset({"bench"}), ("float32",)),
        "empty_batch": Case("empty_batch", {}, [[0, 4]], STANDARD, frozenset({"test", "bench"})),
    }


def test_without_the_file_the_reference_brings_its_own_inputs(tmp_path: Path) -> None:
    assert read_cases(tmp_path / "cases.toml") == {
        "main": Case("main", None, None, dtypes=("float32",), use=frozenset({"bench"}), metrics=("float32",))
    }


FAULTS = [
    pytest.param("use = ", "usage = ", "usage", id="unknown field"),
    pytest.param("inputs = [[0, 4]]\n", "", "inputs", id="missing inputs"),
    pytest.param('use = ["test", "bench"]\n', "", "use", id="missing use"),
    pytest.param("[[0, 4]]", "[[0, -4]]", "inputs[0][1]", id="negative size"),
    pytest.param("[[0, 4]]", "[[0, 4.0]]", "inputs[0][1]", id="fractional size"),
    pytest.param("[[0, 4]]", '["x"]', "inputs[0]", id="a string alone"),
    pytest.param("[[0, 4]]", '[["N"]]', "inputs[0][0]: 'N'", id="a size without its number"),
    pytest.param("[[0, 4]]", "[{ shape = [4], dtype = 'int4' }]", "inputs[0]: ", id="no dtype of torch"),
    pytest.param("[[0, 4]]", "[{ shape = [4], dtype = 'int64' }]", "inputs[0]: integers need `high`", id="no range"),
    pytest.param("[[0, 4]]", "[{ shape = [4], values = 'symmetric' }]", "square", id="no square"),
    pytest.param("[[0, 4]]", "[{ shape = [4], value = 3 }]", "inputs[0]: one of shape, value", id="two kinds"),
    pytest.param("[[0, 4]]", "[{ items = [[4], [-1]] }]", "inputs[0].items[1][0]", id="in a list"),
    pytest.param("[[0, 4]]", "[]", "inputs", id="no input"),
    pytest.param("init = {}", "init = 4", "init", id="init is neither table nor list"),
    pytest.param('use = ["test"', 'dtypes = ["int4"]\nuse = ["test"', "dtypes[0]", id="wrong dtype"),
    pytest.param('use = ["test"', 'dtypes = []\nuse = ["test"', "dtypes", id="no dtype"),
    pytest.param('use = ["test", "bench"]', 'use = ["tset"]', "use[0]", id="wrong use"),
    pytest.param('use = ["test", "bench"]', "use = []", "use", id="no use"),
    pytest.param('use = ["test"', 'metrics = []\nuse = ["test"', "metrics", id="no metrics"),
    pytest.param('use = ["test"', 'metrics = ["int4"]\nuse = ["test"', "metrics[0]", id="metrics of no dtype"),
    pytest.param(
        'use = ["test"', 'dtypes = ["float16"]\nmetrics = ["float32"]\nuse = ["test"', "metrics: float32", id="other"
    ),
]


@pytest.mark.parametrize(("right", "wrong", "field"), FAULTS)
def test_malformed_case_names_file_and_field(written: Path, right: str, wrong: str, field: str) -> None:
    before, after = GOOD.split("[empty_batch]")
    written.write_text(f"{before}[empty_batch]{after.replace(right, wrong)}")
    with pytest.raises(CatalogError) as caught:
        read_cases(written)
    assert caught.value.message.startswith(f"{written}: ")
    assert field in caught.value.message.removeprefix(f"{written}: ")
    assert caught.value.remedy


def test_metrics_of_a_case_that_is_not_for_the_bench_are_refused(written: Path) -> None:
    written.write_text(GOOD.replace('use = ["test", "bench"]', 'metrics = ["float16"]\nuse = ["test"]'))
    with pytest.raises(CatalogError, match=r"\[empty_batch\]: metrics.*\n.*'bench'"):
        read_cases(written)


def test_metrics_are_those_of_main_in_its_first_dtype_or_those_that_a_case_names(written: Path) -> None:
    more = 'metrics = ["float16", "float32"]\nuse = ["test", "bench"]'
    written.write_text(GOOD.replace('dtypes = ["float32"]\n', "").replace('use = ["test", "bench"]', more))
    assert {case.name: case.metrics for case in read_cases(written).values()} == {
        "main": ("float32",),
        "empty_batch": ("float16", "float32"),
    }


def test_malformed_case_is_named(written: Path) -> None:
    written.write_text(GOOD.replace("[[0, 4]]", "[[0, -4]]"))
    with pytest.raises(CatalogError, match="empty_batch"):
        read_cases(written)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty file"),
        pytest.param(GOOD.replace("[main]", "[large]"), id="another name"),
        pytest.param(GOOD.replace('use = ["bench"]', 'use = ["test"]'), id="main that is not for the bench"),
    ],
)
def test_a_family_without_a_main_bench_case_is_refused(written: Path, text: str) -> None:
    written.write_text(text)
    with pytest.raises(CatalogError, match=r"cases\.toml: no case `main`\n.*use = \['bench'\]"):
        read_cases(written)


def test_file_that_is_no_toml_is_named_with_the_line(written: Path) -> None:
    written.write_text(GOOD.replace("[empty_batch]", "[empty_batch"))
    with pytest.raises(CatalogError, match=r"cases\.toml: .*line 8"):
        read_cases(written)


def test_value_where_a_table_belongs_is_named(written: Path) -> None:
    written.write_text("main = 3\n" + GOOD.replace("[main]", "[large]"))
    with pytest.raises(CatalogError, match=r"cases\.toml: .*Expected `object`, got `int`"):
        read_cases(written)


def test_file_that_is_not_utf8_is_named(written: Path) -> None:
    written.write_bytes(GOOD.encode() + b"# caf\xe9\n")
    with pytest.raises(CatalogError, match=r"cases\.toml: "):
        read_cases(written)


def test_a_case_that_is_work_to_do_has_one_dtype() -> None:
    case = Case("main", {}, [[4]], ("float32", "float16"))
    assert case.with_dtype("float16").dtype == "float16"
    with pytest.raises(ValueError, match="too many values"):
        _ = case.dtype

"""Operators are found from file names and read without being imported; every fault has its file, line and remedy."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from rooflift.analysis.summary import summarize
from rooflift.errors import CatalogError
from rooflift.ncu.metrics import BY_NAME
from rooflift.project.operator import Operator, find_root, load_operator, operator_names
from rooflift.runs.run import read_run

MakeFamily = Callable[..., Operator]
PROJECT = Path(__file__).parents[2]
OWN_FAMILIES = operator_names(PROJECT)


def again(operator: Operator) -> Operator:
    """The same operator, after its folder was altered."""
    return load_operator(operator.folder.parents[1], operator.name)


@pytest.fixture(scope="session")
def twice(version_text: Callable[..., str]) -> str:
    """A right version, to be spoiled with str.replace."""
    return version_text()


# --- what is found


def test_family_holds_its_versions_cases_and_reference(make_operator: MakeFamily, twice: str) -> None:
    operator = make_operator(twice, twice.replace("Twice: the", "Again: the"))
    assert [(v.number, v.name, v.path.name) for v in operator.versions] == [
        (0, "v0_probe", "v0_probe.py"),
        (1, "v1_probe", "v1_probe.py"),
    ]
    assert operator.versions[1].header.title == "Again: the smallest kernel that can be right."
    assert list(operator.cases) == ["main", "small"]
    assert operator.reference == operator.folder / "reference.py"


def test_version_10_comes_after_version_9(make_operator: MakeFamily, twice: str) -> None:
    operator = make_operator(*[twice] * 12)
    assert [version.number for version in operator.versions] == list(range(12))


def test_files_beside_the_versions_are_no_versions(make_operator: MakeFamily, twice: str) -> None:
    operator = make_operator()
    for name in ("notes.md", "volume.py", "v1_probe.py.orig", "_v1_probe.py"):
        (operator.folder / name).write_text("not Python, and not a header")
    assert [version.name for version in again(operator).versions] == ["v0_probe"]


def test_nothing_is_imported(make_operator: MakeFamily, twice: str, tmp_path: Path) -> None:
    marker = tmp_path / "imported"
    effect = f"\nopen({str(marker)!r}, 'w').close()\nraise SystemExit('imported')\n"
    reference = "def get_inputs(): ...\ndef get_init_inputs(): ...\nclass Model: ...\n" + effect
    before = set(sys.modules)
    operator = make_operator(twice + effect, reference=reference)
    assert operator.versions[0].header.title.startswith("Twice")
    assert not marker.exists()
    assert not {name for name in set(sys.modules) - before if "probe" in name or "reference" in name}


def test_kernelbench_reference_as_it_stands_is_a_case_with_its_own_inputs(make_operator: MakeFamily) -> None:
    reference = """import torch
import torch.nn as nn

class Model(nn.Module):
    \"\"\"
    Simple model that performs a ReLU activation.
    \"\"\"
    def __init__(self):
        super(Model, self).__init__()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x)

batch_size = 16
dim = 16384

def get_inputs():
    x = torch.randn(batch_size, dim)
    return [x]

def get_init_inputs():
    return []  # No special initialization inputs needed
"""
    operator = make_operator(reference=reference, cases=None)
    (main,) = operator.select_cases([], "bench")
    assert (main.name, main.init, main.inputs, main.dtypes) == ("main", None, None, ("float32",))
    assert operator.select_cases([], "test") == []


def test_root_is_the_nearest_folder_with_kernels(make_operator: MakeFamily, tmp_path: Path) -> None:
    operator = make_operator()
    assert find_root(operator.folder) == tmp_path / "project"
    assert find_root(tmp_path / "project") == tmp_path / "project"


def test_folder_outside_any_project_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"no project here or above\n.*--root"):
        find_root(tmp_path)


def test_folders_without_a_reference_are_no_operators(make_operator: MakeFamily, tmp_path: Path) -> None:
    operator = make_operator()
    (operator.folder.parent / "drafts").mkdir()
    assert operator_names(tmp_path / "project") == ["twice"]
    assert operator_names(tmp_path / "nowhere") == []


# --- what is chosen


@pytest.fixture
def ladder(make_operator: MakeFamily, twice: str) -> Operator:
    """Versions v0_baseline, v1_grid and v2_tiling."""
    operator = make_operator()
    (operator.folder / "v0_probe.py").rename(operator.folder / "v0_baseline.py")
    for name in ("v1_grid.py", "v2_tiling.py"):
        (operator.folder / name).write_text(twice)
    return again(operator)


@pytest.mark.parametrize("wanted", ["v1_grid", "v1", "1"])
def test_version_is_found_by_stem_and_by_number(ladder: Operator, wanted: str) -> None:
    assert [version.name for version in ladder.select_versions([wanted])] == ["v1_grid"]


def test_versions_come_once_and_in_order(ladder: Operator) -> None:
    chosen = ladder.select_versions(["2", "v0_baseline", "v2_tiling", "v2"])
    assert [version.name for version in chosen] == ["v0_baseline", "v2_tiling"]


def test_no_name_chooses_all_versions(ladder: Operator) -> None:
    assert ladder.select_versions([]) == list(ladder.versions)


def test_cases_are_chosen_by_name_or_by_use(ladder: Operator) -> None:
    assert [case.name for case in ladder.select_cases([], "bench")] == ["main"]
    assert [case.name for case in ladder.select_cases([], "test")] == ["small"]
    assert [case.name for case in ladder.select_cases(["small"], "bench")] == ["small"]


def test_unknown_family_suggests_the_near_name(ladder: Operator, tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"no operator 'twcie' in .*kernels\nDid you mean twice\?"):
        load_operator(tmp_path / "project", "twcie")


def test_unknown_version_suggests_the_near_name(ladder: Operator) -> None:
    with pytest.raises(CatalogError, match=r"twice: no version 'v1_gird'\nDid you mean v1_grid"):
        ladder.select_versions(["v0", "v1_gird"])


def test_unknown_version_number_lists_the_known_ones(ladder: Operator) -> None:
    with pytest.raises(CatalogError, match=r"no version '7'\nKnown: v0_baseline, v1_grid, v2_tiling"):
        ladder.select_versions(["7"])


def test_unknown_case_suggests_the_near_name(ladder: Operator) -> None:
    with pytest.raises(CatalogError, match=r"twice: no case 'smal'\nDid you mean small"):
        ladder.select_cases(["smal"], "test")


@pytest.mark.parametrize("name", ["../twice", "", ".", "twice/"])
def test_path_is_no_name_of_a_operator(ladder: Operator, tmp_path: Path, name: str) -> None:
    with pytest.raises(CatalogError, match="no operator"):
        load_operator(tmp_path / "project", name)


# --- what is refused


def test_gap_in_the_numbers_is_named(make_operator: MakeFamily, twice: str) -> None:
    operator = make_operator()
    (operator.folder / "v2_tiling.py").write_text(twice)
    with pytest.raises(CatalogError, match=r"v2_tiling\.py:1: version number 2 stands here but v1 is missing\n"):
        again(operator)


def test_ladder_without_version_0_is_refused(make_operator: MakeFamily) -> None:
    operator = make_operator()
    (operator.folder / "v0_probe.py").rename(operator.folder / "v1_probe.py")
    with pytest.raises(CatalogError, match=r"v1_probe\.py:1: .* but v0 is missing"):
        again(operator)


def test_number_that_stands_twice_is_named(make_operator: MakeFamily, twice: str) -> None:
    operator = make_operator(twice, twice)
    (operator.folder / "v1_again.py").write_text(twice)
    with pytest.raises(CatalogError, match=r"v1_(again|probe)\.py:1: version number 1 stands here twice\n"):
        again(operator)


@pytest.mark.parametrize("name", ["v1.py", "v1_.py", "v01_grid.py", "v1-grid.py", "v1_Grid.py", "v1grid.py"])
def test_bad_file_name_is_named(make_operator: MakeFamily, twice: str, name: str) -> None:
    operator = make_operator()
    (operator.folder / name).write_text(twice)
    with pytest.raises(CatalogError) as caught:
        again(operator)
    assert caught.value.message == f"{operator.folder / name}:1: not a version's file name"
    assert "v2_tiling.py" in caught.value.remedy


def test_family_without_a_version_is_refused(make_operator: MakeFamily) -> None:
    operator = make_operator()
    (operator.folder / "v0_probe.py").unlink()
    with pytest.raises(CatalogError, match=r"twice: no version\nAdd v0_baseline\.py"):
        again(operator)


def test_malformed_header_is_named_by_the_whole_path(make_operator: MakeFamily, twice: str, tmp_path: Path) -> None:
    with pytest.raises(CatalogError) as caught:
        make_operator(twice.replace("Expect:  none", "Expect:  fast"))
    assert caught.value.message.startswith(f"{tmp_path / 'project/kernels/twice/v0_probe.py'}:6: Expect: 'fast'")


def test_missing_model_new_is_named_at_the_end_of_the_file(make_operator: MakeFamily, twice: str) -> None:
    text = twice.replace("class ModelNew", "class Model")
    last = len(text.splitlines())
    with pytest.raises(
        CatalogError, match=rf"v0_probe\.py:{last}: the file ends without the class ModelNew or the function run\n"
    ):
        make_operator(text)


@pytest.mark.parametrize(
    ("name", "kind"), [("Model", "class"), ("get_inputs", "function"), ("get_init_inputs", "function")]
)
def test_reference_without_a_part_is_named_at_its_end(make_operator: MakeFamily, name: str, kind: str) -> None:
    parts = ["class Model: ...", "def get_inputs(): ...", "def get_init_inputs(): ..."]
    reference = "\n".join(part for part in parts if f" {name}:" not in part and f" {name}(" not in part)
    with pytest.raises(CatalogError, match=rf"reference\.py:2: the file ends without the {kind} {name}\n"):
        make_operator(reference=reference)


def test_part_inside_another_does_not_count(make_operator: MakeFamily, twice: str) -> None:
    nested = twice.replace("class ModelNew(torch.nn.Module):", "class Other:\n  class ModelNew:")
    with pytest.raises(CatalogError, match="without the class ModelNew"):
        make_operator(nested)


def test_empty_reference_is_named_at_its_first_line(make_operator: MakeFamily) -> None:
    with pytest.raises(CatalogError, match=r"reference\.py:1: the file ends without the class Model\n"):
        make_operator(reference="")


def test_syntax_error_is_named_with_its_line(make_operator: MakeFamily, twice: str) -> None:
    before = twice.index("@triton.jit")
    text = twice.replace("@triton.jit", "@triton.jit)")
    line = twice[:before].count("\n") + 1
    with pytest.raises(CatalogError, match=rf"v0_probe\.py:{line}: unmatched '\)'"):
        make_operator(text)


def test_null_byte_is_a_fault_with_a_line(make_operator: MakeFamily, twice: str) -> None:
    with pytest.raises(CatalogError, match=r"v0_probe\.py:\d+: .*null byte"):
        make_operator(twice + "\0")


@pytest.mark.parametrize("name", ["v0_probe.py", "reference.py"])
def test_file_that_is_not_utf8_is_named_with_its_line(make_operator: MakeFamily, name: str) -> None:
    path = make_operator().folder / name
    first, rest = path.read_bytes().split(b"\n", 1)
    path.write_bytes(first + b"\n\n# caf\xe9\n" + rest)
    with pytest.raises(CatalogError) as caught:
        load_operator(path.parents[2], "twice")
    assert caught.value.message.startswith(f"{path}:3: not UTF-8 text")


# --- ladders

LADDER = """
[ladder.large]
case = "main"
dtypes = ["float16"]
serves = ["main"]
"""


@pytest.fixture
def with_ladder(make_operator: MakeFamily, twice: str) -> Operator:
    """Return the general ladder of an operator that has another one, too."""
    operator = make_operator(twice)
    with (operator.folder / "cases.toml").open("a") as cases:
        cases.write(LADDER)
    (operator.folder / "large").mkdir()
    for number in range(3):
        (operator.folder / "large" / f"v{number}_other.py").write_text(twice)
    return operator


def test_folder_with_versions_is_a_ladder_of_its_own(with_ladder: Operator) -> None:
    root = with_ladder.folder.parents[1]
    assert operator_names(root) == ["twice", "twice/large"]
    ladder = load_operator(root, "twice/large")
    assert (ladder.name, ladder.ladder, ladder.label, ladder.main) == ("twice", "large", "twice/large", "main")
    assert [version.name for version in ladder.versions] == ["v0_other", "v1_other", "v2_other"]
    assert (ladder.folder, ladder.reference) == (with_ladder.folder, with_ladder.reference)
    assert ladder.file_name(ladder.versions[0].path) == "kernels/twice/large/v0_other.py"
    assert [version.name for version in again(with_ladder).versions] == ["v0_probe"]


def test_ladder_serves_its_cases_in_its_dtypes(with_ladder: Operator) -> None:
    ladder = load_operator(with_ladder.folder.parents[1], "twice/large")
    assert list(ladder.cases) == ["main"]
    assert (ladder.cases["main"].dtypes, ladder.cases["main"].metrics) == (("float16",), ("float16",))


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("", r"cases\.toml: no table \[ladder\.large\] for the versions in large/"),
        (LADDER.replace('["main"]', '["mian"]'), r"\[ladder\.large\]: no case 'mian'\nDid you mean main"),
        (LADDER.replace('["main"]', '["small"]'), "small has no float16"),
        (
            LADDER.replace('["main"]', '["small"]').replace("float16", "float32"),
            "main is not a bench case that it serves",
        ),
        (LADDER.replace("float16", "float8"), r"float32\|float16\|bfloat16"),
        (LADDER.replace("case =", "about ="), r"unknown field `about`|missing required field `case`"),
    ],
)
def test_ladder_without_a_right_table_is_refused(with_ladder: Operator, table: str, said: str) -> None:
    path = with_ladder.folder / "cases.toml"
    path.write_text(path.read_text().replace(LADDER, table))
    with pytest.raises(CatalogError, match=said):
        load_operator(with_ladder.folder.parents[1], "twice/large")


def test_stage_that_no_table_knows_is_refused(make_operator: MakeFamily, twice: str) -> None:
    with pytest.raises(CatalogError, match=r"v0_probe\.py:1: Stage: no stage 'luck' in stages\.toml\nName one of"):
        make_operator(twice.replace("Stage:   tiling", "Stage:   luck"))


def test_the_first_version_of_a_ladder_may_be_the_baseline_and_no_other(make_operator: MakeFamily, twice: str) -> None:
    baseline = twice.replace("Stage:   tiling", "Stage:   baseline")
    with pytest.raises(CatalogError, match=r"v1_probe\.py:1: Stage: no stage 'baseline'"):
        make_operator(baseline, baseline)


def test_prediction_for_a_case_that_the_ladder_lacks_is_refused(make_operator: MakeFamily, twice: str) -> None:
    with pytest.raises(CatalogError, match=r"Expect: k7_56/float16: time_x 0.6..0.8: the ladder has no such case"):
        make_operator(twice.replace("Expect:  none", "Expect:  k7_56/float16: time_x 0.6..0.8"))


# --- the project's own


@pytest.mark.parametrize("name", OWN_FAMILIES)
def test_own_family_loads_with_a_main_case_for_the_bench_and_cases_to_test(name: str) -> None:
    operator = load_operator(PROJECT, name)
    assert operator.versions[0].header.stage == "baseline"
    assert operator.main in {case.name for case in operator.select_cases([], "bench")}
    assert operator.cases[operator.main].metrics
    assert operator.select_cases([], "test")


@pytest.mark.parametrize("name", OWN_FAMILIES)
def test_own_predictions_speak_of_figures_that_exist(name: str, h100_run: Path) -> None:
    run = read_run(h100_run)
    summary = summarize(run.manifest, run.metrics, run.timings)
    figures = set(summary.select_dtypes("number").columns) | set(BY_NAME)
    figures |= {f"{name}_x" for name in figures}  # relative to the version before
    for version in load_operator(PROJECT, name).versions:
        assert {prediction.metric for prediction in version.header.expect} <= figures, version.name


def test_own_families_are_found() -> None:
    assert {"depthwise_conv2d", "rms_norm"} <= set(OWN_FAMILIES)


def code(path: Path) -> str:
    """A file without its docstrings, whose examples run on the project's own operators."""
    text = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)) if path.suffix == ".py" else ():
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            text = text.replace(ast.get_docstring(node, clean=False) or "\0", "")
    return text


def test_no_file_of_the_package_knows_an_operator(checkout: Path) -> None:
    words = " ".join([*dir(torch), *dir(torch.nn.functional)])  # what torch calls so, such as attention, is no operator
    names = [name for name in operator_names(checkout) if name not in words]
    assert names
    sources = {
        path: code(path) for path in (checkout / "profiling").rglob("*.*") if path.is_file() and path.suffix != ".pyc"
    }
    assert [(path.name, name) for path, text in sources.items() for name in names if name in text] == []

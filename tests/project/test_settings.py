"""[tool.rooflift]: folders, defaults and gates of a project, and what is said of a key that is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rooflift.errors import CatalogError
from rooflift.project.operator import find_root, operator_names
from rooflift.project.settings import read_settings, reports_folder


def project(folder: Path, table: str) -> Path:
    (folder / "pyproject.toml").write_text(table)
    return folder


def test_a_project_without_the_table_has_the_default_folders(tmp_path: Path) -> None:
    assert reports_folder(project(tmp_path, "[project]\nname = 'mine'\n")) == tmp_path / "reports"


def test_the_folders_of_the_table_are_where_operators_are_found(tmp_path: Path) -> None:
    project(tmp_path, '[tool.rooflift]\nkernels = "src/kernels"\n')
    operator = tmp_path / "src" / "kernels" / "softmax"
    operator.mkdir(parents=True)
    (operator / "reference.py").write_text("")
    assert find_root(operator) == tmp_path  # and not src, which holds a folder kernels
    assert operator_names(tmp_path) == ["softmax"]


def test_a_loops_folder_below_a_project_is_a_project_of_its_own(tmp_path: Path) -> None:
    project(tmp_path, "[tool.rooflift]\n")
    loop = tmp_path / "build" / "optimize" / "softmax"
    (loop / "kernels").mkdir(parents=True)
    assert find_root(loop) == loop


def test_a_table_that_changes_is_read_again(tmp_path: Path) -> None:
    project(tmp_path, '[tool.rooflift]\nreports = "runs"\n')
    assert read_settings(tmp_path).reports == "runs"
    project(tmp_path, '[tool.rooflift]\nreports = "measured"\n')
    assert read_settings(tmp_path).reports == "measured"


@pytest.mark.parametrize(
    ("table", "message", "remedy"),
    [
        ('[tool.rooflift]\nkernel = "x"', "kernel", "kernels"),
        ("[tool.rooflift]\nreports = 3", r"\$\.reports", "defaults"),
        ('[tool.rooflift]\nreports = "../elsewhere"', "reports: '../elsewhere' lies outside", "relative to pyproject"),
        ('[tool.rooflift.defaults]\nmetric = "full"', "metric", "metrics"),
        ('[tool.rooflift.defaults]\nbudget = "long"', r"\$\.defaults\.budget", "defaults"),
        ("[tool.rooflift", "not TOML", "Correct"),
    ],
)
def test_a_wrong_key_is_named_with_its_file_and_a_remedy(tmp_path: Path, table: str, message: str, remedy: str) -> None:
    project(tmp_path, table)
    with pytest.raises(CatalogError, match=re.escape(str(tmp_path / "pyproject.toml"))) as fault:
        read_settings(tmp_path)
    assert re.search(message, fault.value.message)
    assert remedy in fault.value.remedy

"""The notebooks run from the committed runs, and their committed outputs are what they give."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest

from rooflift.compile.module import load_module

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def notebooks() -> ModuleType:
    return load_module(ROOT / "scripts" / "notebooks.py")


def texts(notebook: Any) -> list[str]:
    """Return what the cells print and show as text; pictures differ with the fonts, compiled kernels with triton."""
    cells = [cell for cell in notebook.cells if "compiles" not in cell.metadata.get("tags", [])]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return [output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs]


@pytest.mark.slow
@pytest.mark.parametrize("name", [path.name for path in NOTEBOOKS])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of jupyter's own packages
def test_notebook_runs_and_gives_its_committed_outputs(notebooks: ModuleType, name: str) -> None:
    committed = nbformat.read(ROOT / "notebooks" / name, as_version=4)
    assert texts(notebooks.execute(ROOT / "notebooks" / name)) == texts(committed)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of jupyter's own packages
def test_what_is_kept_is_neither_in_pieces_nor_a_widget(notebooks: ModuleType, tmp_path: Path) -> None:
    cells = ["import time\nprint('a', flush=True)\ntime.sleep(1)\nprint('b')"]
    cells += ["import rooflift as rl\nrl.latest('rms_norm').pick()"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, tmp_path / "made.ipynb")
    (printed,), (shown,) = (cell.outputs for cell in notebooks.execute(tmp_path / "made.ipynb").cells)
    assert printed["text"] == "a\nb\n"
    assert sorted(shown["data"]) == ["text/html", "text/plain"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_is_short_and_calls_the_public_api_alone(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    assert len(cells) < 25
    code = "\n".join(cell.source.replace("%matplotlib inline", "") for cell in cells if cell.cell_type == "code")
    nodes = list(ast.walk(ast.parse(code)))
    assert [node.lineno for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Lambda)] == []
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    assert "rooflift" in imported
    assert [name for name in imported if name.startswith("rooflift.")] == []


FIXTURES = ROOT / "tests" / "fixtures"
REPORTS = [FIXTURES / "h100_flat_depthwise.ncu-rep", *sorted((FIXTURES / "foreign").glob("r05*.ncu-rep.gz"))]


@pytest.mark.parametrize("report", REPORTS, ids=lambda path: path.name)
def test_the_first_four_cells_make_a_roofline_of_any_report(report: Path) -> None:
    cells = nbformat.read(ROOT / "notebooks" / "00_start_here.ipynb", as_version=4).cells
    first = [cell.source for cell in cells if cell.cell_type == "code"][:4]
    own, replaced = re.subn(r"REPORT = .*", f"REPORT = {str(report)!r}", "\n".join(first))
    assert replaced == 1
    *statements, last = ast.parse(own).body
    names: dict[str, Any] = {}
    exec(compile(ast.Module(statements, []), "cells", "exec"), names)
    assert isinstance(last, ast.Expr)
    shown = eval(compile(ast.Expression(last.value), "cells", "eval"), names)
    assert shown._repr_png_().startswith(b"\x89PNG")


def test_committed_outputs_need_no_kernel_and_the_picker_shows_its_version() -> None:
    notebooks = [nbformat.read(path, as_version=4) for path in NOTEBOOKS]
    shown = [
        output["data"]
        for one in notebooks
        for cell in one.cells
        for output in cell.get("outputs", [])
        if "data" in output
    ]
    assert {kind for data in shown for kind in data} == {"text/plain", "text/html", "image/png"}
    pickers = [data for data in shown if data["text/plain"].startswith("<Picker")]
    assert len(pickers) >= 2
    assert all("Predictions" in data["text/html"] for data in pickers)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_tables_have_the_versions_in_their_order(path: Path) -> None:
    """By name v10 comes before v2; a figure drawn over such a table says of v2 what is true of v10."""
    parts = [part for text in texts(nbformat.read(path, as_version=4)) for part in text.split("\n\n")]
    numbers = [[int(number) for number in re.findall(r"^v(\d+)_", part, re.MULTILINE)] for part in parts]
    assert [found for found in numbers if found != sorted(found)] == []


def test_committed_notebooks_name_no_path_of_a_machine() -> None:
    named = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert named
    private = ("/home/", "/root/", str(ROOT))
    assert [(name, text) for name, content in named.items() for text in private if text in content] == []

"""The notebooks run from the committed runs, and their committed outputs are what they give."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest

from rooflift.compile.module import load_module

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def notebooks() -> ModuleType:
    return load_module(ROOT / "scripts" / "notebooks.py")


def texts(notebook: Any) -> list[str]:
    """Return what the cells print and show as text; pictures differ with the fonts, compiled kernels with triton."""
    cells = [cell for cell in notebook.cells if "compiles" not in cell.metadata.get("tags", [])]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return [output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs]


@pytest.mark.parametrize("name", [path.name for path in sorted((ROOT / "notebooks").glob("*.ipynb"))])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of jupyter's own packages
def test_notebook_runs_and_gives_its_committed_outputs(notebooks: ModuleType, name: str) -> None:
    committed = nbformat.read(ROOT / "notebooks" / name, as_version=4)
    assert texts(notebooks.execute(ROOT / "notebooks" / name)) == texts(committed)


def test_committed_notebooks_name_no_path_of_a_machine() -> None:
    named = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert named
    private = ("/home/", "/root/", str(ROOT))
    assert [(name, text) for name, content in named.items() for text in private if text in content] == []

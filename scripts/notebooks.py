"""Run the notebooks and write them, with their outputs, into a folder: `python scripts/notebooks.py FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
WIDGET = "application/vnd.jupyter.widget-view+json"
SOURCES = sorted((ROOT / "notebooks").glob("*.ipynb"))


def execute(source: Path) -> nbformat.NotebookNode:
    """Run every cell in a fresh kernel and return the notebook; a cell that raises stops it.

    What differs from one machine or moment to the next (times of execution, the interpreter's version, the pieces that
    prints came in) is left out, and so are widgets, which end with their kernel: what they showed first stays.
    """
    notebook = nbformat.read(source, as_version=4)
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        resources={"metadata": {"path": str(ROOT)}},
        record_timing=False,
        coalesce_streams=True,
        timeout=300,
    )
    client.execute()
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET, None)
    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"], "language_info": {"name": "python"}}
    return notebook


def main(folder: Path) -> None:
    """Run all notebooks."""
    folder.mkdir(parents=True, exist_ok=True)
    for source in SOURCES:
        nbformat.write(execute(source), folder / source.name)
        print(f"{source.name} ran")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""An operator as one module that needs torch and triton alone: its dispatch with the kernels that it chooses from."""

from __future__ import annotations

from pathlib import Path

from rooflift.project.inline import inline
from rooflift.project.operator import Operator


def export_module(operator: Operator, licence: Path | None = None) -> str:
    """Return the text of a module with the class ModelNew: of dispatch.py, or of the ladder's newest version.

    The text of the file `licence` stands at its head as a comment.

    Raises:
        CatalogError: the dispatch imports something that can be neither inlined nor expected beside torch and triton.
    """
    source = operator.dispatch or operator.versions[-1].path
    head = f"# {operator.label}, made by rooflift from {operator.file_name(source)}\n"
    if licence is not None and licence.exists():
        lines = licence.read_text(encoding="utf-8").splitlines()
        head += "#\n" + "".join(f"# {line}".rstrip() + "\n" for line in lines)
    return f"{head}\n{inline(source)}"

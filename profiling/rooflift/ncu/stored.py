"""The instructions that a run folder keeps, and the source files that they stand for. Opens no report."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from rooflift.errors import RunFault
from rooflift.ncu.instructions import COLUMNS, TEXTS
from rooflift.project.git import text_at
from rooflift.project.settings import kernels_folder
from rooflift.runs.parquet import read_parquet
from rooflift.runs.run import SOURCE_TABLE, Run
from rooflift.runs.verify import KERNELS, sha256

if TYPE_CHECKING:
    import pandas as pd
MOST = 1e18  # of a count of one instruction


def stored_instructions(run: Run) -> pd.DataFrame | None:
    """Return source.parquet, columns as `rooflift.ncu.instructions`; None where the run has none.

    Raises:
        RunFault: it cannot be read, lacks a column, or holds what is no count.
    """
    path = run.folder / SOURCE_TABLE
    if not path.exists() and not path.is_symlink():
        return None
    columns = dict.fromkeys(COLUMNS, "number") | dict.fromkeys((*TEXTS, "sass", "ptx"), "text")
    frame = read_parquet(path, columns | dict.fromkeys(("launch", "line", "offset"), "whole"))
    numbers = frame[[name for name in COLUMNS if columns[name] == "number"]]
    if not ((numbers >= 0) & (numbers <= MOST)).all(axis=None):
        raise RunFault(f"{path}: a count is negative, not finite or too large", "Restore the file.")
    return frame.astype(dict.fromkeys(TEXTS, "category"))


def source_texts(run: Run) -> dict[str, str]:
    """Return the texts of the kernel files that were measured, by base name.

    They are the project's files with the sha256 in run.json, as they are now or were at the run's commit. What is
    neither has no text.
    """
    if run.root is None:
        return {}
    texts = {}
    for name, digest in run.manifest.sha256.items():
        if not name.startswith(KERNELS):
            continue
        path = kernels_folder(run.root) / name.removeprefix(KERNELS)
        if path.is_file() and sha256(path) == digest:
            texts[path.name] = path.read_text(encoding="utf-8")
        elif run.manifest.commit:
            where = f"{kernels_folder(run.root).relative_to(run.root).as_posix()}/{name.removeprefix(KERNELS)}"
            text = text_at(run.root, run.manifest.commit, where)
            if text is not None and hashlib.sha256(text.encode()).hexdigest() == digest:
                texts[path.name] = text
    return texts

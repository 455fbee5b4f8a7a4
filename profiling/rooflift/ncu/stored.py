"""The instructions that a run folder keeps, and the source files that they stand for. Opens no report."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from rooflift.errors import RunFault
from rooflift.ncu.instructions import COLUMNS
from rooflift.project.git import text_at
from rooflift.project.settings import kernels_folder
from rooflift.runs.run import SOURCE_TABLE, Run
from rooflift.runs.verify import KERNELS, sha256

if TYPE_CHECKING:
    import pandas as pd


def stored_instructions(run: Run) -> pd.DataFrame | None:
    """Return source.parquet, columns as `rooflift.ncu.instructions`; None where the run has none.

    Raises:
        RunFault: it cannot be read, or lacks a column.
    """
    import pandas as pd

    path = run.folder / SOURCE_TABLE
    if not path.exists():
        return None
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
        raise RunFault(f"{path}: cannot be read: {error}", "Restore the file.") from None
    lacking = [column for column in COLUMNS if column not in frame]
    if lacking:
        raise RunFault(f"{path}: it has no column {', '.join(lacking)}", "Restore the file.")
    return frame


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

"""Versions whose kernels are the same machine code on a case: one thing measured several times. No files, no GPU."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from rooflift.schema import Manifest, ResolvedCase

if TYPE_CHECKING:
    import pandas as pd


def groups(manifest: Manifest, case: ResolvedCase) -> list[list[str]]:
    """Return a run's versions in order; one that is the machine code of the one before it shares its group.

    A version without a record, as in runs from before it was made, is a group of its own.
    """
    code = {m.version: m.sha256 for m in manifest.machine_code if (m.case, m.dtype) == (case.case, case.dtype)}
    return _grouped((record.version for record in manifest.versions), code)


def compiled_groups(kernels: pd.DataFrame) -> list[list[str]]:
    """Return the versions of compiled kernels as `groups`: those of a group are the same on every case and target."""
    where = ["case", "dtype", "target", "launch", "config", "code_sha256"]
    code = {version: frozenset(map(tuple, own[where].to_numpy())) for version, own in kernels.groupby("version")}
    return _grouped(dict.fromkeys(kernels["version"]), code)


def _grouped(versions: Iterable[str], code: Mapping[str, object]) -> list[list[str]]:
    found: list[list[str]] = []
    for version in versions:
        same = bool(found) and version in code and code.get(found[-1][-1]) == code[version]
        found[-1].append(version) if same else found.append([version])
    return found


def one_row_a_group(main: pd.DataFrame, found: list[list[str]]) -> pd.DataFrame:
    """Return the rows of the groups' first versions with a column `versions`: whom the row stands for.

    The first version stands for its group because it is the first, not because it was measured the fastest.
    """
    texts = {
        group[0]: group[0] if len(group) == 1 else f"{group[0]} to {group[-1]} (same machine code)" for group in found
    }
    rows = main[main["version"].isin(texts)]
    return rows.assign(versions=rows["version"].map(texts))

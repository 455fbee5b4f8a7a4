"""What is the same in two runs, and what its times differ by: the drift between them. No files, no GPU.

Two runs are two processes, often two cards of one kind, on two days. What did not change between them shows what that
alone makes of a time: PyTorch's own providers, the device copy, and the versions whose file is the same. `stream` and
`torch_compile` are left out: their kernels are chosen anew in each run.
"""

from __future__ import annotations

import math
from pathlib import PurePosixPath
from statistics import NormalDist
from typing import TYPE_CHECKING

from rooflift.schema import Manifest

if TYPE_CHECKING:
    import pandas as pd

TUNED_ANEW = ("stream", "torch_compile")
COVERS = 0.95  # of unchanged providers, what they differ by
FEW = 3  # unchanged times below which nothing is said of how they scatter
KEY_OF_TIMES = ["provider", "case", "dtype"]

Key = tuple[str, str]  # case, dtype


def drift(base: Manifest, base_samples: pd.DataFrame, head: Manifest, head_samples: pd.DataFrame) -> dict[Key, float]:
    """Return for each case and dtype of two runs the change of a time, as a share, that is none.

    It is the larger of two: the farthest that an unchanged provider is from its other time on this case and dtype, and
    what 95 of 100 unchanged providers are within over all cases, taken as normal around no change (Student's t for
    their number). Leaving out one unchanged version after the other of the recorded runs, it finds 5 % of 100 in 98,
    and a change where there is none in 1 (tests/analysis/test_drift.py).
    """
    import numpy as np

    names = same_versions(base, head)
    medians = []
    for manifest, samples, place in ((base, base_samples, 0), (head, head_samples, 1)):
        versions = {version.version for version in manifest.versions}
        kept = {pair[place]: pair[0] for pair in names}  # under base's name
        kept |= {name: name for name in samples["provider"].unique() if name not in (*versions, *TUNED_ANEW)}
        own = samples[samples["provider"].isin(kept) & (samples["repeat"] == 0)]
        own = own.assign(provider=own["provider"].map(kept))
        medians.append(own.groupby(KEY_OF_TIMES)["time_us"].median())
    change: pd.Series = np.log((medians[1] / medians[0]).astype(float)).abs().dropna()
    if change.empty:
        return {}
    scatter = math.sqrt(float((change**2).mean())) if len(change) >= FEW else 0.0
    usual = scatter * student_t((1 + COVERS) / 2, len(change))
    farthest = change.groupby(["case", "dtype"]).max()
    keys = {(c.case, c.dtype) for c in (*base.cases, *head.cases)}
    return {key: math.expm1(max(usual, float(farthest.get(key, 0.0)))) for key in keys}


def same_versions(base: Manifest, head: Manifest) -> list[tuple[str, str]]:
    """Return the versions of two runs whose files are the same, byte for byte, each as base and head name it."""
    hashes = [_files(manifest) for manifest in (base, head)]
    there = {digest: name for name, digest in hashes[1].items()}
    return [(name, there[digest]) for name, digest in hashes[0].items() if digest in there]


def same_code(base: Manifest, one: str, head: Manifest, other: str, key: Key) -> bool:
    """Tell whether two versions launch the same machine code on a case, or are one file in two runs."""
    code = [_machine_code(manifest, version, key) for manifest, version in ((base, one), (head, other))]
    if all(code):
        return code[0] == code[1]
    return (one, other) in same_versions(base, head) and base.machine.triton == head.machine.triton


def _files(manifest: Manifest) -> dict[str, str]:
    """Return the hash of each version's file; a run that was imported has none."""
    versions = {version.version for version in manifest.versions}
    files = {PurePosixPath(name).stem: digest for name, digest in manifest.sha256.items() if name.endswith(".py")}
    return {name: digest for name, digest in files.items() if name in versions}


def _machine_code(manifest: Manifest, version: str, key: Key) -> str:
    found = (m.sha256 for m in manifest.machine_code if (m.version, m.case, m.dtype) == (version, *key))
    return next(found, "")


def student_t(p: float, freedom: int) -> float:
    """Return a quantile of Student's t distribution (Abramowitz and Stegun, 26.7.5: within 2 % from 3 on).

    >>> round(student_t(0.975, 10), 2)
    2.23
    """
    z = NormalDist().inv_cdf(p)
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3

"""Runs that were never measured: frames and manifests with just the figures that a test is about."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import pandas as pd
import pytest

from rooflift.runs.run import read_run, to_frame
from rooflift.schema import Manifest, MetricRow, ResolvedCase, TimingRow, VersionRecord

Key = tuple[str, str, str]


@pytest.fixture(scope="session")
def metrics_of() -> Callable[[Mapping[Key, Sequence[Mapping[str, float | None]]]], pd.DataFrame]:
    """Return a function: (version, case, dtype) -> its launches, each metric -> value (None: missing); as a frame."""

    def frame(measured: Mapping[Key, Sequence[Mapping[str, float | None]]]) -> pd.DataFrame:
        rows = [
            MetricRow(*key, "kernel", launch, name, value, "", "", "", "" if value is not None else "not collected")
            for key, launches in measured.items()
            for launch, values in enumerate(launches)
            for name, value in values.items()
        ]
        return to_frame(rows, MetricRow)

    return frame


@pytest.fixture(scope="session")
def timings_of() -> Callable[[Mapping[Key, float]], pd.DataFrame]:
    """Return a function: (provider, case, dtype) -> median in microseconds, as a frame."""

    def frame(medians: Mapping[Key, float]) -> pd.DataFrame:
        rows = [TimingRow(*key, 50, time, 0.9 * time, 1.1 * time, 0.8 * time) for key, time in medians.items()]
        return to_frame(rows, TimingRow)

    return frame


@pytest.fixture(scope="session")
def manifest_of(h100_run: Path) -> Callable[..., Manifest]:
    """Return a function: version -> expectations, and cases (name, dtype, FLOP) of 1000 compulsory bytes each."""
    measured = read_run(h100_run).manifest

    def manifest(
        versions: Mapping[str, Sequence[str]],
        cases: Sequence[tuple[str, str, int | None]] = (("main", "float32", 500),),
        gpu: str = "NVIDIA H100 80GB HBM3",
    ) -> Manifest:
        return msgspec.structs.replace(
            measured,
            machine=msgspec.structs.replace(measured.machine, gpu=gpu),
            versions=[VersionRecord(name, "", "", "", "", list(expect)) for name, expect in versions.items()],
            cases=[ResolvedCase(name, dtype, {}, [[250]], 1000, flop, "") for name, dtype, flop in cases],
        )

    return manifest

"""The H100 run as report and tables tell it, and ways to tell it otherwise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pytest

from rooflift.report.data import ReportData, report_data
from rooflift.runs.run import Run, read_run


@pytest.fixture(scope="session")
def h100(h100_run: Path) -> Run:
    return read_run(h100_run)


@pytest.fixture(scope="session")
def story(h100: Run) -> ReportData:
    return report_data(h100.manifest, h100.metrics, h100.timings, h100.compiled)


@pytest.fixture(scope="session")
def told_with(h100: Run) -> Callable[..., ReportData]:
    """Return a function: the H100 run, with other tables or other fields of its manifest."""

    def retold(
        metrics: pd.DataFrame | None = None,
        timings: pd.DataFrame | None = None,
        compiled: pd.DataFrame | None = None,
        **fields: Any,
    ) -> ReportData:
        return report_data(
            msgspec.structs.replace(h100.manifest, **fields),
            h100.metrics if metrics is None else metrics,
            h100.timings if timings is None else timings,
            h100.compiled if compiled is None else compiled,
        )

    return retold

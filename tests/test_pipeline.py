"""The rooms in a row: an old run told again, its tables against its reports, and where a new run goes."""

from __future__ import annotations

import datetime
import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest

from rooflift.errors import ReportFault, RunFault
from rooflift.measure.children import Measurement
from rooflift.measure.request import Request
from rooflift.ncu.report import read_reports
from rooflift.pipeline import default_folder, timing_tables
from rooflift.project.operator import Operator
from rooflift.rerender import disagreement, rerender
from rooflift.runs.roofs import write_roofs
from rooflift.runs.run import Run, read_run
from rooflift.schema import Roofs, TimingRow
from rooflift.worker.protocol import Device, Samples

STARTED = datetime.datetime(2026, 11, 22, 8, 40, 49, tzinfo=datetime.UTC)
COMMIT = "8d0b822853bcdf3e7b70c736b6410dd736b297bf"
DEVICE = Device("NVIDIA H100 80GB HBM3", "9.0", 132, 52_428_800, 85_017_493_504, "13.0", "2.11.0", "3.6.0", "3.12.3")


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file of a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# --- an old run told again


def test_run_is_told_into_another_folder_and_stays_as_it_is(h100_run: Path, tmp_path: Path) -> None:
    before = digests(h100_run)
    told = rerender(read_run(h100_run), tmp_path / "build" / "again")
    assert digests(h100_run) == before
    names = {"report.md", *(f"{name}.svg" for name in ("progress", "roofline", "bottleneck", "stalls"))}
    assert set(told.written) == {tmp_path / "build" / "again" / name for name in names}
    assert all(path.stat().st_size > 1000 for path in told.written)
    assert told.folder == h100_run
    assert told.data.manifest == read_run(h100_run).manifest
    assert list(told.data.summary["bottleneck"]) == ["Issue Slots", "Issue Slots"]


def test_old_run_is_drawn_under_the_roofs_that_were_measured_since(
    h100_run: Path, tmp_path: Path, h100_roofs: Callable[..., Roofs]
) -> None:
    folder = Path(shutil.copytree(h100_run, tmp_path / "reports" / "depthwise_conv2d" / "old"))
    write_roofs(tmp_path / "reports" / "roofs" / "h100.json", h100_roofs())
    before = digests(folder)
    rerender(read_run(folder), tmp_path / "out")
    assert "L2 read 5.70 TB/s" in (tmp_path / "out" / "roofline.svg").read_text()
    assert digests(folder) == before


@pytest.fixture
def run_copy(h100_run: Path, tmp_path: Path) -> Path:
    """A copy of the H100 run that a test may alter."""
    return Path(shutil.copytree(h100_run, tmp_path / "run"))


def test_altered_value_of_the_table_is_found_and_named(run_copy: Path, tmp_path: Path) -> None:
    table = run_copy / "metrics.csv"
    table.write_text(table.read_text().replace("86.31942425962781", "56.31942425962781"))
    with pytest.raises(RunFault) as caught:
        rerender(read_run(run_copy), tmp_path / "out")
    assert caught.value.message == (
        f"{run_copy}: its reports and metrics.csv disagree: "
        "v1_grid sm_pct is 86.31942425962781 in the report and 56.31942425962781 in the table"
    )
    assert not (tmp_path / "out").exists()


def test_report_of_another_run_is_found(run_copy: Path, tmp_path: Path) -> None:
    foreign = Path(__file__).parent / "fixtures" / "h100_flat_depthwise.ncu-rep"
    shutil.copy(foreign, run_copy / "ncu" / "depthwise_conv2d.ncu-rep")
    with pytest.raises(RunFault, match=r"disagree: 0 of \d+ rows are in both"):
        rerender(read_run(run_copy), tmp_path / "out")


def test_broken_report_of_a_run_is_named(run_copy: Path, tmp_path: Path) -> None:
    (run_copy / "ncu" / "depthwise_conv2d.ncu-rep").write_bytes(b"")
    with pytest.raises(ReportFault, match=r"depthwise_conv2d\.ncu-rep: an empty file"):
        rerender(read_run(run_copy), tmp_path / "out")


def test_run_whose_reports_were_not_kept_is_told_from_its_table(
    run_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rooflift.rerender.draw", lambda *_, **__: [])  # drawing takes seconds
    shutil.rmtree(run_copy / "ncu")
    again = rerender(read_run(run_copy), tmp_path / "out")
    assert list(again.data.summary["sm_pct"].round(2)) == [82.14, 86.32]


# --- tables against reports


@pytest.fixture(scope="module")
def run(h100_run: Path) -> Run:
    return read_run(h100_run)


@pytest.fixture(scope="module")
def reported(run: Run) -> pd.DataFrame:
    return read_reports(run.reports, run.folder)


def altered(table: pd.DataFrame, metric: str, value: float | None) -> pd.DataFrame:
    """The table with another value of a metric of v1."""
    own = (table["version"] == "v1_grid") & (table["metric"] == metric)
    assert own.sum() == 1
    return table.assign(value=table["value"].mask(own, value))


def test_report_and_its_table_agree(run: Run, reported: pd.DataFrame) -> None:
    assert disagreement(reported, run.metrics) == ""


@pytest.mark.parametrize(
    ("metric", "value", "shown"),
    [("tensor_pct", 0.5, "0.5"), ("dram_pct", 0.0, "0.0"), ("registers", np.nan, "nan"), ("waves", 331.0, "331.0")],
)
def test_every_altered_value_is_named(run: Run, reported: pd.DataFrame, metric: str, value: float, shown: str) -> None:
    difference = disagreement(reported, altered(run.metrics, metric, value))
    assert difference.startswith(f"v1_grid {metric} is ")
    assert difference.endswith(f" in the report and {shown} in the table")


def test_last_bit_counts(run: Run, reported: pd.DataFrame) -> None:
    value = run.metrics.set_index(["version", "metric"]).loc[("v1_grid", "sm_pct"), "value"]
    assert "v1_grid sm_pct" in disagreement(reported, altered(run.metrics, "sm_pct", np.nextafter(value, 100)))


def test_value_that_only_the_table_has_is_named(run: Run, reported: pd.DataFrame) -> None:
    assert "v1_grid sm_pct is nan in the report" in disagreement(altered(reported, "sm_pct", np.nan), run.metrics)


def test_values_missing_on_both_sides_agree(run: Run, reported: pd.DataFrame) -> None:
    both = [altered(frame, "sm_pct", np.nan) for frame in (reported, run.metrics)]
    assert disagreement(*both) == ""


def test_row_that_was_taken_away_or_added_is_counted(run: Run, reported: pd.DataFrame) -> None:
    rows = len(run.metrics)
    assert disagreement(reported, run.metrics.iloc[1:]) == f"{rows - 1} of {rows} rows are in both"
    another = run.metrics.iloc[:1].assign(launch=1)
    more = pd.concat([run.metrics, another], ignore_index=True)
    assert disagreement(reported, more) == f"{rows} of {rows + 1} rows are in both"


def test_metric_that_one_registry_does_not_know_does_not_count(run: Run, reported: pd.DataFrame) -> None:
    assert disagreement(reported[reported["metric"] != "waves"], run.metrics) == ""
    assert disagreement(reported, run.metrics[run.metrics["metric"] != "waves"]) == ""


# --- times


def test_timings_are_quantiles_of_the_samples() -> None:
    times = [float(time) for time in range(1, 12)]  # 1 to 11 microseconds
    seen = Measurement(
        samples=[
            Samples("v0_a", 0, "main", "float32", times[::-1], [0, 1] * 5 + [1]),
            Samples("copy", 0, "main", "float32", [0.12345, 0.12345], [1, 0]),
            Samples("v0_a", 1, "main", "float32", [2.0, 2.0], [2, 2]),
        ]
    )
    timings, samples = timing_tables(seen)
    assert [TimingRow(**row) for row in timings.to_dict("records")] == [
        TimingRow("v0_a", "main", "float32", n=11, median_us=6.0, q20_us=3.0, q80_us=9.0, min_us=1.0),
        TimingRow("copy", "main", "float32", n=2, median_us=0.123, q20_us=0.123, q80_us=0.123, min_us=0.123),
    ]
    assert list(samples.columns) == ["provider", "repeat", "case", "dtype", "round", "position", "time_us"]
    assert list(samples["round"]) == [*range(11), 0, 1, 0, 1]
    assert list(samples["position"]) == [*([0, 1] * 5), 1, 1, 0, 2, 2]
    assert list(samples["time_us"]) == [*times[::-1], 0.12345, 0.12345, 2.0, 2.0]


# --- where a run goes


@pytest.fixture
def folder_for(make_operator: Callable[..., Operator], tmp_path: Path) -> Callable[..., Path]:
    """Return a function that names the folder of a run, by GPU, commit and state of the checkout."""
    operator = make_operator()
    request = Request(tmp_path, operator, operator.versions, [], [], "standard", 60, ["rooflift", "profile", "twice"])

    def folder(gpu: str = DEVICE.gpu, commit: str | None = COMMIT, dirty: bool = False) -> Path:
        seen = Measurement(device=msgspec.structs.replace(DEVICE, gpu=gpu))
        return default_folder(request, seen, STARTED, commit, dirty)

    return folder


@pytest.mark.parametrize(
    ("gpu", "card"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H100 PCIe", "h100"),
        ("NVIDIA GeForce RTX 4090", "rtx4090"),
        ("NVIDIA RTX 6000 Ada Generation", "rtx6000"),
        ("NVIDIA RTX A6000", "rtxa6000"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA GH200 480GB", "gh200"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA B200", "b200"),
        ("Tesla T4", "t4"),
        ("NVIDIA TITAN V", "nvidiatitanv"),
    ],
)
def test_folder_is_named_by_date_card_and_commit(folder_for: Callable[..., Path], gpu: str, card: str) -> None:
    assert folder_for(gpu).name == f"2026-11-22-{card}-8d0b822"


def test_folder_lies_below_the_reports_of_its_operator(folder_for: Callable[..., Path], tmp_path: Path) -> None:
    assert folder_for().parent == tmp_path / "reports" / "twice"
    assert not (tmp_path / "reports").exists()


def test_uncommitted_changes_show_in_the_name(folder_for: Callable[..., Path]) -> None:
    assert folder_for(dirty=True).name == "2026-11-22-h100-8d0b822-dirty"


def test_checkout_without_git_shows_in_the_name(folder_for: Callable[..., Path]) -> None:
    assert folder_for(commit=None).name == "2026-11-22-h100-nocommit"

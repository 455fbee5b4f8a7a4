"""Reports become rows: every value is NVIDIA's own, and a value that is absent says why and is never 0."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import ncu_report
import pandas as pd
import pytest

from rooflift.errors import EnvironmentFault, ReportFault
from rooflift.ncu import reader
from rooflift.ncu import report as reports
from rooflift.ncu.metrics import BY_NAME, DEVICE_NAME, METRICS
from rooflift.ncu.report import read_reports, read_rules, report_device, report_gpu
from rooflift.project.gpus import GpuSpec, overruled, spec_for_name
from rooflift.schema import MetricRow

# made by ncu alone with a dozen metrics: no section, no NVTX range
FOREIGN = Path(__file__).parents[1] / "fixtures" / "h100_flat_depthwise.ncu-rep"
NOT_COLLECTED = "not collected in this report"


# --- real reports


@pytest.fixture(params=["own", "foreign"])
def report(request: pytest.FixtureRequest, h100_report: Path) -> Path:
    return h100_report if request.param == "own" else FOREIGN


def launches(path: Path) -> list[Any]:
    """The launches of a report with nothing of rooflift in between."""
    launch_range = ncu_report.load_report(str(path)).range_by_idx(0)
    return [launch_range.action_by_idx(index) for index in range(launch_range.num_actions())]


def value_of(action: Any) -> Callable[[re.Match[str]], str]:
    """Return what puts an action's value in the place of an ncu name."""
    return lambda name: repr(float(action.metric_by_name(name[0]).value()))


def test_frame_holds_what_ncu_report_gives(report: Path) -> None:
    frame = read_reports([report], report.parent)
    actions = launches(report)
    assert len(frame) == len(actions) * len(METRICS)
    for index, row in enumerate(frame.itertuples()):
        action = actions[index // len(METRICS)]
        assert row.kernel == action.name()
        if row.missing:
            assert math.isnan(row.value)
            assert not set(BY_NAME[row.metric].ncu) & set(action.metric_names()), row.metric
        elif " x " in row.ncu_name or " + " in row.ncu_name:
            assert eval(re.sub(r"[a-z]\w+__[\w.]+", value_of(action), row.ncu_name).replace(" x ", " * ")) == row.value
        else:
            metric = action.metric_by_name(row.ncu_name)
            assert metric.has_value(), row.metric
            assert row.value == metric.value(), row.metric
            assert row.unit == (metric.unit() or BY_NAME[row.metric].unit), row.metric


def test_frame_has_a_row_for_every_metric_of_the_registry(report: Path) -> None:
    frame = read_reports([report], report.parent)
    assert tuple(frame.columns) == MetricRow.__struct_fields__
    for _, launch in frame.groupby(["version", "launch"], sort=False):
        assert list(launch["metric"]) == list(BY_NAME)


def test_own_report_says_version_case_and_dtype(h100_report: Path, h100_run: Path) -> None:
    frame = read_reports([h100_report], h100_run)
    measured = frame[["version", "case", "dtype", "kernel", "launch", "source"]].drop_duplicates()
    assert list(measured.itertuples(index=False, name=None)) == [
        (version, "main", "float32", "depthwise_conv2d_kernel", 0, "ncu/depthwise_conv2d.ncu-rep")
        for version in ("v0_baseline", "v1_grid")
    ]


def test_foreign_report_says_neither_version_nor_case_nor_dtype() -> None:
    frame = read_reports([FOREIGN], FOREIGN.parent)
    assert (frame[["version", "case", "dtype"]] == "").all(axis=None)
    assert set(frame["launch"]) == {0}


def test_metric_that_was_not_collected_says_so_and_is_not_0() -> None:
    frame = read_reports([FOREIGN], FOREIGN.parent).set_index("metric")
    absent = frame.loc["stall_long_scoreboard"]
    assert math.isnan(absent["value"])
    assert absent["missing"] == NOT_COLLECTED
    assert absent["unit"] == BY_NAME["stall_long_scoreboard"].unit
    assert absent["ncu_name"] == BY_NAME["stall_long_scoreboard"].ncu[0]
    assert not (frame.loc[frame["missing"] != "", "value"] == 0).any()


def test_source_is_relative_to_the_run_and_a_bare_name_outside_it(h100_report: Path, tmp_path: Path) -> None:
    assert set(read_reports([h100_report], tmp_path)["source"]) == {"depthwise_conv2d.ncu-rep"}


def test_report_names_its_gpu(report: Path) -> None:
    assert report_gpu(report) == "NVIDIA H100 80GB HBM3"


# --- no reports


@pytest.fixture(params=["empty", "text", "cut off", "folder", "missing"])
def no_report(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "report.ncu-rep"
    if request.param == "folder":
        path.mkdir()
    elif request.param != "missing":
        data = {"empty": b"", "text": b"time,value\n" * 99, "cut off": FOREIGN.read_bytes()[:25_000]}
        path.write_bytes(data[request.param])
    return path


@pytest.mark.parametrize("read", [lambda path: read_reports([path], path.parent), report_gpu])
def test_file_that_is_no_report_is_named(no_report: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(ReportFault) as caught:
        read(no_report)
    assert caught.value.message.startswith(f"{no_report}: ")
    assert caught.value.remedy


def test_empty_file_is_called_empty(tmp_path: Path) -> None:
    (tmp_path / "report.ncu-rep").touch()
    with pytest.raises(ReportFault, match="an empty file"):
        read_reports([tmp_path / "report.ncu-rep"], tmp_path)


def test_one_bad_report_among_good_ones_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.ncu-rep").write_text("text")
    with pytest.raises(ReportFault, match=r"bad\.ncu-rep: no Nsight Compute report"):
        read_reports([FOREIGN, tmp_path / "bad.ncu-rep"], tmp_path)


def test_reader_that_is_not_installed_is_a_fault_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "ncu_report.py").write_text("raise ImportError('libcuda.so is not here')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EnvironmentFault, match=r"ncu_report cannot be imported: .*\n.*pip install ncu-report"):
        read_reports([FOREIGN], FOREIGN.parent)


# --- launches that no report of the fixtures holds


@dataclass
class StandInMetric:
    """An IMetric. Its value is None where ncu has none; IMetric.value() says 0.0 then."""

    held: float | str | None
    unit_text: str = ""

    def has_value(self) -> bool:
        return self.held is not None

    def value(self) -> float | str:
        return 0.0 if self.held is None else self.held

    def unit(self) -> str:
        return self.unit_text


@dataclass
class StandInLaunch:
    """An IAction; `ranges` are the NVTX ranges around it, by domain, the outermost first."""

    metrics: dict[str, StandInMetric] = field(default_factory=dict)
    ranges: list[tuple[str, ...]] | None = None
    kernel: str = "kernel"
    NameBase_DEMANGLED = 1

    def name(self, base: int = 0) -> str:  # all that ncu calls a kernel is the same here
        return self.kernel

    def metric_names(self) -> tuple[str, ...]:
        return tuple(self.metrics)

    def metric_by_name(self, name: str) -> StandInMetric | None:
        return self.metrics.get(name)

    def nvtx_state(self) -> StandInLaunch | None:
        return None if self.ranges is None else self

    def domains(self) -> Sequence[int]:
        return range(len(self.ranges or []))

    def domain_by_id(self, domain: int) -> StandInDomain:
        assert self.ranges is not None
        return StandInDomain(self.ranges[domain])


@dataclass
class StandInDomain:
    names: tuple[str, ...]

    def push_pop_ranges(self) -> tuple[str, ...]:
        return self.names


def answer_with(monkeypatch: pytest.MonkeyPatch, *actions: StandInLaunch) -> None:
    """Let every report hold these launches, for the reading program as for what becomes of its answers."""

    def answer(path: Path, question: str, record: type[Any]) -> list[Any]:
        return [
            msgspec.json.decode(msgspec.json.encode(said), type=record) for said in reader.ANSWERS[question](actions)
        ]

    monkeypatch.setattr(reports, "_ask", answer)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Callable[..., pd.DataFrame]:
    """Return a function that reads stand-in launches as if they lay in a report."""

    def of(*actions: StandInLaunch) -> pd.DataFrame:
        answer_with(monkeypatch, *actions)
        return read_reports([Path("run/ncu/a.ncu-rep")], Path("run"))

    return of


Read = Callable[..., pd.DataFrame]


def row_of(frame: pd.DataFrame, metric: str) -> pd.Series[Any]:
    return frame.set_index("metric").loc[metric]


def test_metric_without_a_value_is_missing_and_not_0(read: Read) -> None:
    name = BY_NAME["l2_hit_pct"].ncu[0]
    row = row_of(read(StandInLaunch({name: StandInMetric(None)})), "l2_hit_pct")
    assert row["value"] is None or math.isnan(row["value"])
    assert row["missing"] == "collected, but this GPU gives no value"


def test_value_of_0_is_a_value(read: Read) -> None:
    row = row_of(read(StandInLaunch({BY_NAME["l2_hit_pct"].ncu[0]: StandInMetric(0.0, "%")})), "l2_hit_pct")
    assert (row["value"], row["missing"]) == (0.0, "")


@pytest.mark.parametrize("held", [math.nan, math.inf, "n/a"])
def test_value_that_is_no_number_is_missing(read: Read, held: float | str) -> None:
    row = row_of(read(StandInLaunch({BY_NAME["sm_pct"].ncu[0]: StandInMetric(held)})), "sm_pct")
    assert row["value"] is None or math.isnan(row["value"])
    assert row["missing"] == f"not a number: {held}"


@pytest.mark.parametrize("metric", [metric.name for metric in METRICS if len(metric.ncu) > 1 and not metric.sol])
def test_later_name_supplies_the_value_of_a_section_report(read: Read, metric: str) -> None:
    *_, later = BY_NAME[metric].ncu
    row = row_of(read(StandInLaunch({later: StandInMetric(42.5, "%")})), metric)
    assert (row["value"], row["ncu_name"], row["missing"]) == (42.5, later, "")


def test_preferred_name_goes_before_a_later_one(read: Read) -> None:
    first, later = BY_NAME["dram_pct"].ncu
    frame = read(StandInLaunch({later: StandInMetric(1.0), first: StandInMetric(2.0)}))
    assert (row_of(frame, "dram_pct")["value"], row_of(frame, "dram_pct")["ncu_name"]) == (2.0, first)


@pytest.mark.parametrize("held", [None, math.nan])
def test_later_name_supplies_the_value_when_the_preferred_one_has_none(read: Read, held: float | None) -> None:
    first, later = BY_NAME["dram_pct"].ncu
    row = row_of(read(StandInLaunch({first: StandInMetric(held), later: StandInMetric(31.5)})), "dram_pct")
    assert (row["value"], row["ncu_name"], row["missing"]) == (31.5, later, "")


def test_unit_is_the_reports_or_else_the_registrys(read: Read) -> None:
    names = {metric: BY_NAME[metric].ncu[0] for metric in ("sm_pct", "l2_hit_pct")}
    frame = read(StandInLaunch({names["sm_pct"]: StandInMetric(1, "percent"), names["l2_hit_pct"]: StandInMetric(1)}))
    assert (row_of(frame, "sm_pct")["unit"], row_of(frame, "l2_hit_pct")["unit"]) == ("percent", "%")


def test_whole_numbers_become_floats(read: Read) -> None:
    row = row_of(read(StandInLaunch({BY_NAME["grid_size"].ncu[0]: StandInMetric(1_040_400)})), "grid_size")
    assert isinstance(row["value"], float)
    assert row["value"] == 1_040_400


OWN = ("rooflift", "v1_grid|main|float16")


@pytest.mark.parametrize(
    ("ranges", "measured"),
    [
        pytest.param([OWN], ("v1_grid", "main", "float16"), id="own"),
        pytest.param([("other",), (*OWN, "aten::conv2d")], ("v1_grid", "main", "float16"), id="second domain"),
        pytest.param([("training", *OWN)], ("v1_grid", "main", "float16"), id="inside another range"),
        pytest.param(None, ("", "", ""), id="no NVTX"),
        pytest.param([], ("", "", ""), id="no domain"),
        pytest.param([("rooflift",)], ("", "", ""), id="outer range alone"),
        pytest.param([("rooflift", "warm-up")], ("", "", ""), id="inner range without parts"),
        pytest.param([("training", "a|b|c")], ("", "", ""), id="parts under a foreign range"),
    ],
)
def test_nvtx_range_says_what_was_measured(
    read: Read, ranges: list[tuple[str, ...]] | None, measured: tuple[str, str, str]
) -> None:
    row = read(StandInLaunch(ranges=ranges)).iloc[0]
    assert (row["version"], row["case"], row["dtype"]) == measured


def test_launches_of_a_range_count_up_from_0(read: Read) -> None:
    first, second = [("rooflift", "v0_a|main|float32")], [("rooflift", "v1_b|main|float32")]
    frame = read(
        StandInLaunch(ranges=first, kernel="reduce"),
        StandInLaunch(ranges=second, kernel="fused"),
        StandInLaunch(ranges=first, kernel="scale"),
        StandInLaunch(ranges=first, kernel="scale"),
    )
    measured = frame[["version", "kernel", "launch"]].drop_duplicates()
    assert list(measured.itertuples(index=False, name=None)) == [
        ("v0_a", "reduce", 0),
        ("v1_b", "fused", 0),
        ("v0_a", "scale", 1),
        ("v0_a", "scale", 2),
    ]


def test_launches_count_on_from_one_report_to_the_next() -> None:
    frame = read_reports([FOREIGN, FOREIGN], FOREIGN.parent)
    assert not frame.duplicated(["version", "case", "dtype", "launch", "metric"]).any()


def test_report_that_does_not_name_its_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for metrics in ({}, {DEVICE_NAME: StandInMetric(None)}):
        answer_with(monkeypatch, StandInLaunch(metrics))
        assert report_gpu(Path("a.ncu-rep")) == ""


# --- the GPU, and ncu's own rules


def test_report_says_what_its_gpu_is(report: Path) -> None:
    device = report_device(report)
    assert (device.gpu, device.memory_bytes) == ("NVIDIA H100 80GB HBM3", 85017493504)
    assert set(device.figures) <= set(GpuSpec.__struct_fields__)
    assert (device.figures["compute_capability"], device.figures["sm_count"]) == ("9.0", 132)
    assert device.figures["dram_bytes_per_s"] == pytest.approx(3352.32e9)


def test_sheet_and_report_of_the_h100_agree(report: Path) -> None:
    spec = spec_for_name(report_device(report).gpu)
    assert spec is not None
    assert overruled(spec, report_device(report).figures, report.name)[1] == []


def test_report_without_attributes_says_nothing_of_its_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, StandInLaunch({}))
    device = report_device(Path("a.ncu-rep"))
    assert (device.gpu, device.memory_bytes, device.figures) == ("", None, {})


def test_rules_are_those_of_ncu_with_their_estimates(h100_report: Path) -> None:
    found = read_rules([h100_report])
    given = [rule for action in launches(h100_report) for rule in action.rule_results_as_dicts()]
    assert [(r.rule, r.section) for r in found] == [(g["rule_identifier"], g["section_identifier"]) for g in given]
    estimates = [g["speedup_estimation"]["speedup"] if "speedup_estimation" in g else None for g in given]
    assert [r.speedup_pct for r in found] == estimates
    assert {r.version for r in found} == {"v0_baseline", "v1_grid"}
    assert {r.scope for r in found if r.speedup_pct is not None} <= {"local", "global"}
    assert all(r.title and r.message and "@" not in r.message for r in found)
    assert {r.kind for r in found} <= {"ok", "optimization", "warning", "error", "none"}


def test_report_made_with_metrics_alone_has_no_rules() -> None:
    assert read_rules([FOREIGN]) == []

"""Reports and exports of other people: each launch is judged as ncu judges it, each text form is read or named."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import ncu_report
import pytest

import rooflift as rl
from rooflift.analysis.bottleneck import BUSY_PCT, find_bottleneck, resource_of
from rooflift.analysis.launches import kernels, launches, pick
from rooflift.errors import CatalogError, ReportFault, RunFault
from rooflift.ncu.files import read_file
from rooflift.ncu.metrics import BY_NAME, SOL_BREAKDOWNS
from rooflift.ncu.report import read_rules, read_values, report_device

FOREIGN = Path(__file__).parents[1] / "fixtures" / "foreign"
REPORTS = sorted(FOREIGN.glob("r*.gz"))
RECORDED = sorted((Path(__file__).parents[2] / "reports").glob("**/ncu/*"))
SOURCE = FOREIGN.parent / "h100_source" / "ncu" / "depthwise_conv2d.ncu-rep.gz"


def case(name: str) -> Path:
    (found,) = FOREIGN.glob(f"{name}*")
    return found


def values(path: Path, **more: Any) -> dict[str, float]:
    """The values of a file with one launch, by metric or ncu name."""
    frame = read_file(path, **more).frame
    return dict(frame[frame["missing"] == ""].set_index("metric")["value"])


@pytest.mark.parametrize("path", [*REPORTS, *RECORDED, SOURCE], ids=lambda path: path.name[:24])
def test_bottleneck_of_every_launch_is_ncus_own_speed_of_light_unit(path: Path, tmp_path: Path) -> None:
    """The largest entry of the breakdown, as it stands in the report, without anything of rooflift in between."""
    plain = tmp_path / "plain.ncu-rep"
    plain.write_bytes(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())
    context = ncu_report.load_report(str(plain))
    actions = [
        context.range_by_idx(r).action_by_idx(a)
        for r in range(context.num_ranges())
        for a in range(context.range_by_idx(r).num_actions())
    ]
    found = launches(read_file(path).frame)
    assert len(found) == len(actions)
    for action, row in zip(actions, found.to_dict("records"), strict=True):
        held = [action.metric_by_name(name) for name in SOL_BREAKDOWNS]
        entries = {name.strip() for metric in held if metric is not None for name in metric.value().split(",")}
        shares = {name: action.metric_by_name(name).value() for name in entries if action.metric_by_name(name)}
        most = max(shares.values(), default=0.0)
        limit = find_bottleneck(row)
        if not most >= BUSY_PCT:
            assert limit.resource in ("latency", "too few programs", "unknown")
            continue
        metric, share = limit.evidence.split(",")[0].split()
        assert resource_of(metric) == limit.resource
        assert float(share) == pytest.approx(most, abs=0.5)  # it is printed without decimals


def test_kernel_that_is_bound_by_l1_in_a_basic_report() -> None:
    limit = kernels(launches(read_file(case("r01")).frame)).iloc[0]
    assert (limit["bottleneck"], limit["evidence"]) == ("L1", "l1_sol_pct 100")
    assert "benchmark_collocation" in limit["kernel"]


def test_launches_stand_by_share_of_time_and_repeats_as_medians() -> None:
    found = kernels(launches(read_file(case("r03")).frame))
    assert len(found) == 10
    assert list(found["share_pct"]) == sorted(found["share_pct"], reverse=True)
    assert (found["kernel"].iloc[0].partition("(")[0], found["memory_pct"].iloc[0]) == (
        "basic",
        pytest.approx(97.5, abs=0.01),
    )
    (repeated,) = found[found["count"] == 2].to_dict("records")
    assert repeated["numbers"] == (9, 10)
    assert repeated["low_us"] < repeated["time_us"] < repeated["high_us"]


def test_launch_whose_values_are_no_numbers_spoils_only_itself() -> None:
    found = kernels(launches(read_file(case("r05")).frame))
    assert list(found["bottleneck"]) == ["Issue Slots", "too few programs", "unknown"]
    assert found["evidence"].iloc[2] == "the values are not numbers: ncu could not collect them"
    assert found["count"].sum() == 5


def test_report_of_nothing_but_nan_says_so_with_ncus_own_error() -> None:
    (found,) = kernels(launches(read_file(case("r10")).frame)).to_dict("records")
    assert found["evidence"] == "the values are not numbers: ncu could not collect them"
    rules = read_rules([case("r10")])
    assert {rule.kind for rule in rules if "not found" in rule.message} == {"error"}


def test_impossible_value_is_marked_and_left_out_of_the_median() -> None:
    found = launches(read_file(case("r15")).frame)
    doubtful = [
        row["missing"]["warps_active_pct"] for row in found.to_dict("records") if "warps_active_pct" in row["missing"]
    ]
    assert len(doubtful) == 2
    assert doubtful[0].startswith("104.7 is more than there can be")
    assert kernels(found)["warps_active_pct"].max() <= 101


def test_gpu_and_ncu_of_a_report_are_told() -> None:
    device = report_device(case("r03"))
    assert (device.gpu, device.ncu, device.figures["sm_count"]) == ("NVIDIA A10G", "2023.1.1.0", 80)


def test_launches_are_picked_by_name_number_and_order() -> None:
    found = launches(read_file(case("r03")).frame)
    assert list(pick(found, "tiling")["number"]) == [3, 4, 5, 7, 8]
    assert list(pick(found, "tiling", skip=3)["number"]) == [7, 8]
    assert list(pick(found, "tiling", last=True)["number"]) == [8]
    assert list(pick(found, launch=9)["number"]) == [9]
    for wrong in ({"kernel": "nothing"}, {"kernel": "("}, {"launch": 11}, {"skip": 99}):
        with pytest.raises(CatalogError):
            pick(found, **wrong)


def test_any_metric_of_a_report_is_found_by_pattern() -> None:
    found = read_values(case("r01"), "^dram__cycles_elapsed.avg.per_second$")
    assert [(value.value, value.unit) for value in found] == [(pytest.approx(2.619e9, rel=1e-3), "hz")]


# --- FLOP and bytes from rates, sectors and other names


def test_flop_of_a_full_report_are_counted_from_rates() -> None:
    """A normal distribution: the same launch has the same number of multiply-adds, whatever its clock."""
    frame = read_file(case("r05")).frame
    counted = frame[(frame["metric"] == "inst_ffma") & (frame["missing"] == "")]
    assert (counted["value"].round(3) % 1 < 0.01).all()  # a count is a whole number
    assert counted["ncu_name"].str.contains(" x gpu__time_duration.sum x 1e-09").all()
    l2 = frame[(frame["metric"] == "l2_bytes") & (frame["missing"] == "")]
    assert set(l2["ncu_name"]) == {"lts__t_sectors.sum x 32"}


# --- other forms


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("j01", {"ncu_time_ns": 17380, "dram_pct": 83.1}),
        ("j02", {"ncu_time_ns": 17376, "dram_pct": 83.1}),
        ("j07", {"ncu_time_ns": 17380, "memory_pct": 83.1, "sm_pct": 21, "l2_hit_pct": 50.1, "registers": 32}),
        ("j18", {"ncu_time_ns": 5}),
        ("j19", {"dram_pct": 83, "sm_pct": 20}),
        ("raw_page", {"ncu_time_ns": 151580, "dram_read_bytes": 268.45e6, "dram_pct": 84.2, "grid_size": 4096}),
        ("details_page", {"ncu_time_ns": 21058944, "memory_pct": 61.84, "sm_pct": 1.3, "grid_size": 1024}),
    ],
)
def test_text_forms_give_values_in_base_units(name: str, expected: dict[str, float]) -> None:
    assert values(case(name)).items() >= {metric: pytest.approx(value) for metric, value in expected.items()}.items()


def test_lists_are_launches_and_so_is_a_kernel_that_stands_twice() -> None:
    for name, times in (("j03", [17376, 17440]), ("j09", [10776576, 148736])):
        assert list(launches(read_file(case(name)).frame)["ncu_time_ns"]) == times


def test_not_a_number_in_json_is_missing_with_the_reason() -> None:
    frame = read_file(case("j06")).frame.set_index("metric")
    assert (frame.loc["ncu_time_ns", "missing"], frame.loc["sm_pct", "value"]) == ("not a number: nan", 21)
    told = [part for part in rl.launches(case("j06")).parts() if isinstance(part, str)]
    assert "Launch 0: no number, ncu could not collect it: Duration." in told


def test_unit_that_cannot_be_told_is_asked_for() -> None:
    with pytest.raises(RunFault, match="has no unit") as fault:
        read_file(case("j05"))
    assert "base means 17.38 ns, display, as ncu prints it, 17380 ns" in fault.value.remedy
    assert values(case("j05"), units="base")["ncu_time_ns"] == 17.38
    assert values(case("j05"), units="display") == pytest.approx(
        {"ncu_time_ns": 17380, "dram_read_bytes": 67.1e6, "dram_write_bytes": 67e6, "dram_pct": 83.1, "sm_pct": 21}
    )


@pytest.mark.parametrize(("name", "resource"), [("j12", "L1"), ("j13", "FP64 pipe"), ("j08", "unknown")])
def test_bottleneck_of_json(name: str, resource: str) -> None:
    assert kernels(launches(read_file(case(name)).frame))["bottleneck"].iloc[0] == resource


@pytest.mark.parametrize(
    ("name", "words"),
    [("j15", "timing results of KernelBench"), ("j17", "no kernel in it"), ("lfs", "Git LFS pointer")],
)
def test_what_holds_no_metrics_is_named(name: str, words: str) -> None:
    with pytest.raises(RunFault if name[0] == "j" else ReportFault, match=words):
        read_file(case(name))


DRAM = BY_NAME["dram_pct"].ncu[0]
FORMS = {
    "by kernel, launches as a list": {"k": [{DRAM: 80}]},
    "records": [{"kernel": "k", DRAM: 80}],
    "records with metrics inside": [{"name": "k", "metrics": {DRAM: {"value": "80", "unit": "%"}}}],
    "wrapped": {"kernels": [{"Kernel Name": "k", DRAM: "80 %"}]},
    "lines of a CSV": [{"ID": 0, "Kernel Name": "k", "Metric Name": DRAM, "Metric Unit": "%", "Metric Value": "80.0"}],
    "named values": {"k": [{"name": DRAM, "value": 80, "unit": "%"}]},
    "with a note": {"k": {DRAM: {"value": 80, "note": "replayed twice"}}},
}


@pytest.mark.parametrize("form", FORMS)
def test_json_of_other_forms(tmp_path: Path, form: str) -> None:
    (tmp_path / "a").write_text(json.dumps(FORMS[form]))
    found = read_file(tmp_path / "a").frame
    assert set(found["kernel"]) == {"k"}
    assert found.set_index("metric").loc["dram_pct", "value"] == 80


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"k": {"m": true}}', "kernel 'k', metric 'm': expected a number, got true or false"),
        ('{"k": {"m": {"unit": "us"}}}', "kernel 'k', metric 'm': an object with unit, and no value"),
        ('{"k": {"m": [[1]]}}', "kernel 'k', metric 'm': expected a number, got a list"),
        ('{"k": 3}', "kernel 'k': expected its metrics, got a number"),
        ('[{"m": 1}]', "record 0 names no kernel"),
        ("[" * 100_000, "malformed"),
        ('{"k": {"m": 1}', "malformed"),
    ],
)
def test_fault_in_json_names_kernel_and_metric(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(RunFault) as fault:
        read_file(tmp_path / "a.json")
    assert words in fault.value.message
    assert fault.value.message.startswith(f"{tmp_path / 'a.json'}: ")


LONG = f"""==PROF== Connected to process 1
"ID","Process ID","Kernel Name","Metric Name","Metric Unit","Metric Value"
"0","7","k","{DRAM}","%","80"
"1","7","k","{DRAM}","%","70"
"1","7","k","gpu__time_duration.sum","usecond","1,234.5"
==PROF== Disconnected
"""


def test_long_csv_is_told_by_launch(tmp_path: Path) -> None:
    for text in (LONG, LONG.replace(",", ";").replace("1;234", "1,234")):
        (tmp_path / "out.txt").write_text(text)
        found = launches(read_file(tmp_path / "out.txt").frame)
        assert list(found["dram_pct"]) == [80, 70]
        assert found["ncu_time_ns"].iloc[1] == 1_234_500


@pytest.mark.parametrize("line", ['"0","7","k","m","%","1","more","and more"', '"0","7","k"'])
def test_csv_that_is_damaged_or_empty_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.csv").write_text(LONG.splitlines()[1] + "\n" + line + "\n")
    with pytest.raises(RunFault, match=r"line 2 of the table|no kernel launch"):
        read_file(tmp_path / "a.csv")


def test_metric_that_is_marked_is_not_called_absent() -> None:
    told = " ".join(part for part in rl.launches(case("j08")).parts() if isinstance(part, str))
    assert "Doubtful: SM Throughput (sm_pct) 250" in told
    assert "86 of rooflift's 91 metrics are not in it: L2 Throughput," in told

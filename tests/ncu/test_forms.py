"""Metrics as text, as other countries, programs and releases write the same: one reading, or a reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import rooflift as rl
from rooflift.analysis.bottleneck import find_bottleneck
from rooflift.analysis.launches import launches
from rooflift.errors import RunFault
from rooflift.ncu.files import read_file
from rooflift.ncu.metrics import BY_NAME, DEVICE_ATTRIBUTES

DRAM = BY_NAME["dram_pct"].ncu[0]
SM = BY_NAME["sm_pct"].ncu[0]
TIME = BY_NAME["ncu_time_ns"].ncu[0]
HEAD = f'"ID","Kernel Name","Block Size","Grid Size","dram__bytes_read.sum","{DRAM}","{TIME}"'
UNITS = '"","","","","{}","%","{}"'
LINE = '"0","k","(128, 1, 1)","(4096, 1, 1)","{}","{}","{}"'


def raw_page(*values: str, units: tuple[str, str] = ("Mbyte", "us"), between: str = "") -> str:
    return "\n".join([HEAD, UNITS.format(*units), *filter(None, [between]), LINE.format(*values), ""])


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(raw_page("268,450.5", "84.20", "1,151.58", units=("Kbyte", "us")), id="English"),
        pytest.param(raw_page("268.450,5", "84,20", "1.151,58", units=("Kbyte", "us")), id="German"),
        pytest.param(raw_page("268,4505", "84,20", "1,15158", units=("Mbyte", "ms")), id="German without groups"),
        pytest.param(raw_page("268\u202f450,5", "84,20", "1\u202f151,58", units=("Kbyte", "us")), id="French"),
        pytest.param(raw_page("268\u00a0450,5", "84,20", "1151,58", units=("Kbyte", "us")), id="Russian"),
        pytest.param(raw_page("268\u2019450.5", "84.20", "1'151.58", units=("Kbyte", "us")), id="Swiss"),
        pytest.param(raw_page("268.4505", "84.2", "1151.58").replace('","', '";"'), id="semicolons"),
        pytest.param(raw_page("268,4505", "84,2", "1151,58").replace('","', '"\t"'), id="tabs"),
        pytest.param(raw_page("268.4505", "84.2", "1151.58", units=("MB", "\u03bcs")), id="Greek mu"),
        pytest.param(raw_page("262,158.6914", "84.2", "1.15158", units=("KiB", "msecond")), id="binary prefix"),
        pytest.param(raw_page("268.4505", "84.2", "1151.58", between="loss: 0.3"), id="the program's own lines"),
        pytest.param(raw_page("268.4505", "84.2", "1151.58") + "\nsteps, 3, done, 1\n", id="the program's last words"),
        pytest.param(2 * raw_page("268.4505", "84.2", "1151.58"), id="two outputs in one file"),
    ],
)  # fmt: skip
def test_csv_gives_the_same_values_however_its_numbers_are_written(tmp_path: Path, text: str) -> None:
    (tmp_path / "raw.csv").write_text(text)
    found = launches(read_file(tmp_path / "raw.csv").frame)
    assert set(found["kernel"]) == {"k"}
    for metric, value in (("dram_read_bytes", 268_450_500), ("dram_pct", 84.2), ("ncu_time_ns", 1_151_580)):
        assert found[metric].iloc[0] == pytest.approx(value)


@pytest.mark.parametrize(("value", "unit"), [("12,3", "%"), ("1 2", "%"), ("12", "furlong")])
def test_value_that_can_be_read_in_no_way_is_missing_with_the_reason(tmp_path: Path, value: str, unit: str) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"k": {TIME: {"value": value, "unit": unit}, SM: "10.25", DRAM: 3}}))
    frame = read_file(tmp_path / "a.json").frame.set_index("metric")
    assert frame.loc["ncu_time_ns", "missing"].startswith(f"not a number: {value}")


def test_line_that_is_cut_off_is_refused_and_never_half_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(raw_page("268.45", "84.20", "151.58")[:-12])
    with pytest.raises(RunFault, match="line 3 of the table ends after 6 fields: cut off"):
        read_file(tmp_path / "a.csv")


OTHER_TABLES = {
    "as Nsight Compute's window exports it": (
        '"ID","Function Name","Demangled Name","Duration [us]","Compute Throughput [%]","Memory Throughput [%]",'
        '"# Registers"\n'
        '"0","f","void f<4>(int)","151.58","12.3","84.2","32"\n'
    ),
    "a summary of launches": (
        '"Process ID","Kernel Name","Block Size","Grid Size","Invocations","Section Name","Metric Name","Metric Unit",'
        '"Minimum","Maximum","Average"\n'
        + "".join(
            f'"1","void f<4>(int)","(1, 1, 1)","(1, 1, 1)","3","s","{name}","{unit}","0","999","{value}"\n'
            for name, unit, value in (
                ("Duration", "us", "151.58"),
                ("Compute (SM) Throughput", "%", "12.3"),
                ("Memory Throughput", "%", "84.2"),
                ("Registers Per Thread", "register/thr", "32"),
            )
        )
    ),
}


def test_point_between_thousands_of_bytes_is_no_decimal_point(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(raw_page("2.508", "84", "4.750", units=("byte", "ns")))
    (row,) = launches(read_file(tmp_path / "a.csv").frame).to_dict("records")
    assert (row["dram_read_bytes"], row["ncu_time_ns"]) == (2508, 4750)


@pytest.mark.parametrize("form", OTHER_TABLES)
def test_other_tables_of_ncu(tmp_path: Path, form: str) -> None:
    (tmp_path / "a.csv").write_text(OTHER_TABLES[form])
    found = read_file(tmp_path / "a.csv")
    (row,) = launches(found.frame).to_dict("records")
    assert (row["kernel"], row["ncu_time_ns"], row["sm_pct"]) == ("void f<4>(int)", pytest.approx(151_580), 12.3)
    assert (row["memory_pct"], row["registers"]) == (84.2, 32)
    assert found.notes == (("Values are averages of 3 launches, as ncu prints a summary.",) * ("summary" in form))


OLD_DETAILS = '"ID","Kernel Name","Section Name","Metric Name","Metric Unit","Metric Value"\n' + "".join(
    f'"0","k","GPU Speed Of Light","{name}","{unit}","{value}"\n'
    for name, unit, value in (
        ("SM Frequency", "cycle/usecond", "951.2"),
        ("Memory [%]", "%", "83.96"),
        ("SOL FB", "%", "83.96"),
        ("Duration", "usecond", "25.34"),
        ("SM [%]", "%", "21.3"),
    )
)


def test_names_and_units_of_old_releases(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(OLD_DETAILS)
    (row,) = launches(read_file(tmp_path / "a.csv").frame).to_dict("records")
    assert (row["sm_clock_hz"], row["ncu_time_ns"]) == (pytest.approx(951.2e6), pytest.approx(25_340))
    assert find_bottleneck(row).resource == "DRAM"


TABLES = {
    "by column": {"Kernel Name": {"0": "k", "1": "l"}, DRAM: {"0": 80, "1": 70}},
    "lists": {"Kernel Name": ["k", "l"], DRAM: [80, 70]},
    "split": {"columns": ["Kernel Name", DRAM], "index": [0, 1], "data": [["k", 80], ["l", 70]]},
    "by metric": {DRAM: {"k": 80, "l": 70}},
    "by number": {"0": {"Kernel Name": "k", DRAM: 80}, "1": {"Kernel Name": "l", DRAM: 70}},
    "beside words of the file": {"device": "NVIDIA H100", "k": {DRAM: 80}, "l": {DRAM: 70}},
    "names with units": {"k": {"DRAM Throughput (%)": 80}, "l": {f"{DRAM} [%]": "70"}},
    "metrics as records": [
        {"kernel": "k", "metrics": [{"metric": DRAM, "value": 80, "unit": "%"}]},
        {"kernel": "l", "metrics": [{"metric": DRAM, "value": 70, "unit": "%"}]},
    ],
}


@pytest.mark.parametrize("form", [*TABLES, "a line each"])
def test_json_of_tables(tmp_path: Path, form: str) -> None:
    lines = "\n".join(json.dumps({"kernel": name, DRAM: value}) for name, value in (("k", 80), ("l", 70)))
    (tmp_path / "a.json").write_text(json.dumps(TABLES[form]) if form in TABLES else lines)
    found = launches(read_file(tmp_path / "a.json").frame)
    assert dict(zip(found["kernel"], found["dram_pct"], strict=True)) == {"k": 80, "l": 70}


def test_decimal_comma_in_json(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"k": {TIME: "1.151,5 us", SM: "12,3 %", DRAM: "84,2"}}))
    (row,) = launches(read_file(tmp_path / "a.json").frame).to_dict("records")
    assert (row["ncu_time_ns"], row["sm_pct"], row["dram_pct"]) == (1_151_500, 12.3, 84.2)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([{"configuration": {"x": 3}, "measurements": [], "invalidity": "correct"}], "tuning results"),
        ([{"ph": "X", "cat": "kernel", "name": "k", "ts": 0, "dur": 5}], "a trace of a timeline"),
        ([{"children": [], "frame": {"name": "ROOT"}, "metrics": {}}], "a tree of Proton"),
        (
            {"context": {"date": "x"}, "benchmarks": [{"name": "b", "iterations": 3}]},
            "no metric of ncu in it, but date",
        ),
    ],
)
def test_json_of_other_programs_is_named(tmp_path: Path, data: object, words: str) -> None:
    (tmp_path / "a.json").write_text(json.dumps(data))
    with pytest.raises(RunFault, match=words):
        read_file(tmp_path / "a.json")


ELAPSED = ".avg.pct_of_peak_sustained_elapsed"
QUIET = {SM: 30, "gpu__compute_memory_throughput" + ELAPSED: 20, DRAM: 10}
MEMORY = list(QUIET)[1]


@pytest.mark.parametrize(
    ("whole", "unit", "resource"),
    [
        (SM, "sm__pipe_tc_cycles_active", "Tensor pipe"),  # tcgen05 of compute capability 10.x
        (SM, "sm__pipe_tensor_subpipe_hmma_cycles_active", "Tensor pipe"),
        (SM, "sm__inst_executed_pipe_tensor_op_imma", "Tensor pipe"),
        (SM, "sm__inst_issued", "Issue Slots"),
        (SM, "sm__pipe_of_next_year_cycles_active", "SM"),
        (MEMORY, "ltc__lts2xbar_cycles_active", "L2"),
        (MEMORY, "lts__d_sectors", "L2"),
        (MEMORY, "fbp__dram_read_sectors", "DRAM"),
        (MEMORY, "l1tex__f_wavefronts", "L1"),
        (MEMORY, "pcie__of_next_year", "memory"),
    ],
)
@pytest.mark.parametrize("others", [{}, {f"sm__inst_executed_pipe_xu{ELAPSED}": 5}], ids=["alone", "in a breakdown"])
def test_busy_unit_of_any_generation_is_found_and_an_unknown_one_is_no_latency(
    tmp_path: Path, whole: str, unit: str, resource: str, others: dict[str, float]
) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"k": QUIET | others | {whole: 86, f"{unit}{ELAPSED}": 86}}))
    (row,) = launches(read_file(tmp_path / "a.json").frame).to_dict("records")
    assert find_bottleneck(row).resource == resource


def test_text_that_names_its_gpu_has_one(tmp_path: Path) -> None:
    """As the raw page prints the attributes of a device, some with a unit and some without."""
    about = {
        "display_name": ("", "NVIDIA A10G"),
        "multiprocessor_count": ("", "80"),
        "clock_rate": ("Khz", "1,710,000"),
        "memory_clock_rate": ("", "6251000"),
        "global_memory_bus_width": ("bit", "384"),
        "compute_capability_major": ("", "8"),
        "compute_capability_minor": ("", "6"),
        "total_memory": ("Gbyte", "23.5"),
    }
    head = HEAD + "".join(f',"device__attribute_{name}"' for name in about)
    units = UNITS.format("Mbyte", "us") + "".join(f',"{unit}"' for unit, _ in about.values())
    line = LINE.format("1", "2", "3") + "".join(f',"{value}"' for _, value in about.values())
    (tmp_path / "raw.csv").write_text(f"{head}\n{units}\n{line}\n")
    device = read_file(tmp_path / "raw.csv").device
    assert (device.gpu, device.memory_bytes) == ("NVIDIA A10G", 23_500_000_000)
    assert (device.figures["sm_count"], device.figures["compute_capability"]) == (80, "8.6")
    assert device.figures["boost_clock_hz"] == 1.71e9
    assert device.figures["dram_bytes_per_s"] == pytest.approx(600.1e9, rel=1e-3)


@pytest.mark.parametrize("value", [0, -5, 1e300, "x", 2**62])
def test_attributes_of_a_gpu_that_cannot_be_are_left_out_and_the_import_is_whole(tmp_path: Path, value: object) -> None:
    names = [name for name, _ in DEVICE_ATTRIBUTES.values()]
    (tmp_path / "a.json").write_text(json.dumps({"k": {TIME: 1000, SM: 20, DRAM: 80} | dict.fromkeys(names, value)}))
    run = rl.Run.imported(tmp_path / "a.json", out=tmp_path / "run", root=tmp_path)
    assert (run.manifest.machine.sm_count, run.manifest.machine.compute_capability) == (None, "unknown")
    assert run.advice().bottleneck.startswith("DRAM")


@pytest.mark.parametrize("figure", [{TIME: 10**24}, {TIME: 1e-6}, {TIME: 1e29}])
def test_import_of_a_figure_that_cannot_be_leaves_no_run_that_nobody_opens(
    tmp_path: Path, figure: dict[str, float]
) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"k": {TIME: 1000, SM: 20, DRAM: 80} | figure}))
    with pytest.raises(RunFault, match=r"^a\.json: a figure that cannot be: timings\.csv"):
        rl.Run.imported(tmp_path / "a.json", out=tmp_path / "run", units="base", root=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]

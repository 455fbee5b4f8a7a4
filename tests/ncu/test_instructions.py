"""What a report holds of each instruction: held against ncu_report read directly, and speed and refusals."""

from __future__ import annotations

import gzip
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rooflift.errors import ReportFault
from rooflift.ncu.instructions import COLUMNS, frame, read_source
from rooflift.ncu.metrics import INSTRUCTION_METRICS, STALL_REASONS
from rooflift.ncu.source import Instructions, instructions
from rooflift.pipeline import instructions_or_note

FIXTURES = Path(__file__).parents[1] / "fixtures"
REPORT = FIXTURES / "h100_source" / "ncu" / "depthwise_conv2d.ncu-rep.gz"
STALLS = [f"stall_{reason}" for reason in STALL_REASONS]


@pytest.fixture(scope="module")
def read() -> pd.DataFrame:
    return read_source([REPORT])[0]


def test_each_line_has_what_ncus_own_reader_gives_its_addresses(read: pd.DataFrame, tmp_path: Path) -> None:
    import ncu_report

    path = tmp_path / "plain.ncu-rep"
    path.write_bytes(gzip.decompress(REPORT.read_bytes()))
    context = ncu_report.load_report(str(path))
    actions = [one for part in context for one in part]
    assert len(actions) == read.groupby(["version", "launch"], observed=True).ngroups
    for action, (_, rows) in zip(actions, read.groupby(["version", "launch"], sort=False, observed=True), strict=True):
        for column, (name, *_) in INSTRUCTION_METRICS.items():
            metric, truth = action.metric_by_name(name), Counter[int]()
            for place in range(metric.num_instances() if metric is not None else 0):
                about = action.source_info(metric.correlation_ids().as_uint64(place))
                truth[about.line() if about else 0] += int(metric.as_double(place))
            ours = rows.groupby("line")[column].sum()
            assert {line: n for line, n in ours.items() if n} == {line: n for line, n in truth.items() if n}, column


def test_the_stall_reasons_add_up_to_the_samples(read: pd.DataFrame) -> None:
    assert (read[STALLS].sum(axis=1) == read["samples"]).all()
    assert read["samples"].sum() > 300_000


def test_files_are_base_names_and_offsets_are_those_of_16_byte_instructions(read: pd.DataFrame) -> None:
    assert set(read["file"]) == {"v1_grid.py", "v7_sectors.py", "v10_shapes.py"}
    first = read.groupby("version", observed=True)["offset"].min()
    assert (first == 0).all()
    assert (read["offset"] % 16 == 0).all()
    assert {"FFMA", "LDG.E"} <= set(read["opcode"])


def test_a_report_without_samples_says_what_to_pass_to_ncu() -> None:
    with pytest.raises(ReportFault, match=r"h100_flat_depthwise\.ncu-rep: no samples") as caught:
        read_source([FIXTURES / "h100_flat_depthwise.ncu-rep"])
    assert "--section SourceCounters --import-source yes" in caught.value.remedy
    assert "-lineinfo" in caught.value.remedy


def made(count: int, **values: list[float]) -> Instructions:
    """A launch of so many instructions, every tenth of them a spill."""
    sass = ["@!P0 STL [R1+0x8], R2" if not n % 10 else "FFMA R2, R0, R2, RZ" for n in range(count)]
    offsets, lines = [16 * n for n in range(count)], [1 + n // 20 for n in range(count)]
    files, ptx = ["v0_a.py"] * count, [""] * count
    return Instructions(("v0_a", "main", "float32"), "k", True, {}, offsets, files, lines, sass, ptx, values)


def test_spills_are_the_executed_accesses_of_local_memory() -> None:
    found = frame([made(20, instructions=[3.0] * 20)])
    assert found["spills"].sum() == 2 * 3
    assert set(found["opcode"]) == {"STL", "FFMA"}
    assert tuple(found.columns) == COLUMNS


def test_the_frame_of_50_000_instructions_is_made_written_and_read_within_2_seconds(tmp_path: Path) -> None:
    launch = made(50_000, **{name: [1.0] * 50_000 for name in INSTRUCTION_METRICS})
    begin = time.process_time()  # of this process: the machine may be busy with others
    frame([launch]).to_parquet(tmp_path / "source.parquet", index=False)
    again = pd.read_parquet(tmp_path / "source.parquet")
    assert time.process_time() - begin < 2.0  # s, what a user of `rooflift hotspots` should wait at most
    assert len(again) == 50_000


class Numbers:
    """Numbers by place, as ncu_report gives correlation ids and metrics with instances."""

    def __init__(self, values: list[int], addresses: Numbers | None = None) -> None:
        self.values, self.addresses = values, addresses

    def as_uint64(self, place: int) -> int:
        return self.values[place]

    as_double = as_uint64

    def num_instances(self) -> int:
        return len(self.values)

    def has_correlation_ids(self) -> bool:
        return True

    def correlation_ids(self) -> Numbers | None:
        return self.addresses

    def value(self) -> int:
        return sum(self.values)


class Foreign:
    """A launch compiled on somebody's machine, on one line of an embedded file; no line stands behind the second."""

    def metric_by_name(self, name: str) -> Numbers | None:
        return Numbers([7, 5], Numbers([256, 272])) if name in ("inst_executed", "smsp__pcsamp_sample_count") else None

    def sass_by_pc(self, pc: int) -> str:
        return f"  NOP {pc}"

    ptx_by_pc = sass_by_pc

    def source_files(self) -> dict[str, str]:
        return {"C:\\Users\\somebody\\secret\\k.cu": "__global__ void k() {}", "/home/somebody/empty.py": ""}

    def source_info(self, pc: int) -> Any:
        class Place:
            def file_name(self) -> str:
                return "/home/somebody/secret/k.cu"

            def line(self) -> int:
                return 1

        return Place() if pc == 256 else None


def test_no_path_of_the_machine_that_compiled_is_kept() -> None:
    found = instructions(Foreign(), ("", "", ""), "k")
    assert found.files == ["k.cu", ""]
    assert found.lines == [1, 0]
    assert found.texts == {"k.cu": "__global__ void k() {}"}
    assert found.offsets == [0, 16]


def test_a_profile_without_samples_keeps_its_run_and_says_so_in_a_note() -> None:
    found, note = instructions_or_note(FIXTURES / "h100_flat_depthwise.ncu-rep", {})
    assert found is None
    assert note.startswith("No source.parquet: h100_flat_depthwise.ncu-rep: no samples")


def test_a_profile_with_samples_finds_the_functions_of_its_version_files() -> None:
    text = "def all_of_it():\n" + "    pass\n" * 300
    found, note = instructions_or_note(REPORT, {"v7_sectors.py": text})
    assert found is not None
    assert note == ""
    assert set(found.loc[found["version"] == "v7_sectors", "function"]) == {"all_of_it"}

"""The frame of instructions against what ncu prints of the same report: `ncu --import FILE --page source --csv`."""

from __future__ import annotations

import csv
import gzip
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from rooflift.errors import NcuFault
from rooflift.ncu.command import find_ncu
from rooflift.ncu.instructions import read_source

REPORTS = [
    *sorted((Path(__file__).parents[2] / "reports").glob("*/*/ncu/*.gz")),
    Path(__file__).parents[1] / "fixtures" / "h100_source" / "ncu" / "depthwise_conv2d.ncu-rep.gz",
]
COLUMNS = {  # of the frame -> what ncu's page calls it, in newer and older releases
    "samples": ("Warp Stall Sampling (All Samples)", "Warp Stall Sampling (All Cycles)", "# Samples"),
    "instructions": ("Instructions Executed",),
    "thread_instructions": ("Predicated-On Thread Instructions Executed",),
    "sectors": ("L2 Theoretical Sectors Global",),
    "sectors_ideal": ("L2 Theoretical Sectors Global Ideal",),
    "wavefronts": ("L1 Wavefronts Shared",),
    "wavefronts_ideal": ("L1 Wavefronts Shared Ideal",),
}


def launches(printed: str) -> Iterator[pd.DataFrame]:
    """Yield the table of each launch: a line names the kernel, the next are the head and the instructions."""
    head, rows = list[str](), list[list[str]]()
    for row in csv.reader(line for line in printed.splitlines() if not line.startswith("==")):
        if {"Address", "Source"} <= set(row):
            head = row
        elif row and row[0] == "Kernel Name":
            yield from [pd.DataFrame(rows, columns=head)] if rows else []
            rows = []
        elif head and len(row) == len(head):
            rows.append(row)
    yield from [pd.DataFrame(rows, columns=head)] if rows else []


def numbers(table: pd.DataFrame, names: tuple[str, ...]) -> list[float] | None:
    """Return the first column that has one of the names, None where the page has none of them."""
    place = next((list(table.columns).index(name) for name in names if name in table.columns), None)
    if place is None:
        return None
    return [float(text.replace(",", "") or 0) if text else 0.0 for text in table.iloc[:, place]]


def test_a_page_of_two_launches_is_taken_apart() -> None:
    """The form in which ncu prints its page, written by hand: the comparison below needs an ncu."""
    page = (
        '==PROF== x\n"Kernel Name","k(int)"\n"#","Address","Source","# Samples","Instructions Executed"\n'
        '"1","0x10","MOV R1, R2","1,234","8"\n"2","0x20","EXIT","","8"\n'
        '"Kernel Name","l(int)"\n"#","Address","Source","# Samples","Instructions Executed"\n'
        '"1","0x30","EXIT","5","1"\n'
    )
    first, second = launches(page)
    assert numbers(first, COLUMNS["samples"]) == [1234, 0]
    assert numbers(second, COLUMNS["instructions"]) == [1]
    assert numbers(first, COLUMNS["sectors"]) is None


@pytest.mark.parametrize("report", REPORTS, ids=lambda path: path.name.partition(".")[0])
def test_each_instruction_has_the_numbers_of_ncus_own_page(report: Path, tmp_path: Path) -> None:
    try:
        ncu = find_ncu()
    except NcuFault:
        pytest.skip("no ncu here")  # it reads a report without a GPU
    plain = tmp_path / "plain.ncu-rep"
    plain.write_bytes(gzip.decompress(report.read_bytes()))
    command = [str(ncu), "--import", str(plain), "--page", "source", "--csv"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    frame, _ = read_source([report])
    ours = frame.groupby(["version", "case", "dtype", "launch"], sort=False, observed=True)
    theirs = list(launches(ended.stdout))
    assert len(theirs) == ours.ngroups
    compared = 0
    for table, (_, rows) in zip(theirs, ours, strict=True):
        own = rows.sort_values("offset")
        assert [text.strip() for text in table["Source"]][: len(own)] == list(own["sass"])
        for column, names in COLUMNS.items():
            printed = numbers(table, names)
            if printed is not None:
                assert printed[: len(own)] == list(own[column]), column
                compared += 1
    assert compared >= 2 * len(theirs), f"ncu names its columns otherwise: {list(theirs[0].columns)}"

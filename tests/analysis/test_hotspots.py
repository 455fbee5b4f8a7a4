"""Source lines by their samples: shares, stalls, what changed, which function; on an H100 run and on made frames."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from rooflift.analysis.hotspots import changes, evidence, lines, with_functions
from rooflift.ncu.instructions import COLUMNS

SOURCE = pd.read_parquet(Path(__file__).parents[1] / "fixtures" / "h100_source" / "source.parquet")
TEXT = """\
@jit
def helper(x):
    return load(x)


@jit
def kernel(x):
    a = helper(x)
    store(a)
"""


def made(samples: dict[int, int], version: str = "v0", file: str = "v0.py") -> pd.DataFrame:
    """A row an instruction: line to samples, all of them long scoreboard."""
    frame = pd.DataFrame(dict.fromkeys(COLUMNS, 0.0), index=range(len(samples)))
    texts = {"version": version, "case": "main", "dtype": "float32", "kernel": "k", "file": file, "function": ""}
    return frame.assign(
        **texts, opcode="LDG", sass="LDG", ptx="", line=list(samples), samples=list(samples.values())
    ).assign(stall_long_scoreboard=list(samples.values()))


def test_the_line_that_waits_for_rows_is_the_hottest_of_v7_on_the_h100() -> None:
    found = lines(SOURCE[SOURCE["version"] == "v7_sectors"], {})
    assert found["share"].sum() == pytest.approx(1.0)  # every sample has a line; rounding of a sum of doubles
    assert found.iloc[0]["line"] == 94
    assert found.iloc[0]["function"] == "add_row"  # a helper, inlined
    assert found.iloc[0]["stalls"] == "long scoreboard 95 %, short scoreboard 1 %"
    loads = found[found["line"] == 60].iloc[0]
    assert loads["sectors_x"] == pytest.approx(1.36, abs=0.005)  # two decimals of the measured figure
    assert evidence(found, "long_scoreboard").startswith("long scoreboard: 99 % of it on line 94")


def test_without_sectors_there_is_no_ratio_and_without_a_stall_no_evidence() -> None:
    found = lines(made({3: 5}), {})
    assert found["sectors_x"].isna().all()
    assert evidence(found, "barrier") == ""


def test_a_line_belongs_to_the_innermost_function_and_none_in_another_language() -> None:
    frame = made({3: 5, 8: 3, 40: 1}, file="a.py")
    assert with_functions(frame, {"a.py": TEXT})["function"].tolist() == ["helper", "kernel", ""]
    assert with_functions(frame, {"a.py": "__global__ void k() {"})["function"].tolist() == ["", "", ""]


def test_a_line_is_the_same_where_its_text_is_though_its_number_moved() -> None:
    before = lines(made({3: 50, 8: 50}), {"v0.py": TEXT})
    after = lines(made({4: 80, 9: 20}, file="v1.py"), {"v1.py": "# one more line\n" + TEXT})
    assert changes(before, after) == {0: "hotter +30 points", 1: "cooler -30 points"}


def test_a_line_that_was_not_there_is_new_and_one_that_hardly_moved_is_not_told() -> None:
    before = lines(made({3: 100}), {"v0.py": TEXT})
    after = lines(made({3: 98, 8: 2}), {"v0.py": TEXT})
    assert changes(before, after) == {}
    assert changes(before, lines(made({9: 60, 3: 40}), {"v0.py": TEXT}))[0] == "new"


def test_without_the_texts_nothing_is_said_to_be_new() -> None:
    assert changes(lines(made({3: 100}), {}), lines(made({9: 100}), {})) == {}

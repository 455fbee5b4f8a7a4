"""Two versions down to the instruction: on an H100 run, and on made lines that moved, came and went."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import rooflift as rl
from rooflift.analysis.kernels import changed_lines, mixes, normal, stalls
from rooflift.ncu.instructions import COLUMNS

ROOT = Path(__file__).parents[2]
RUN = ROOT / "tests" / "fixtures" / "h100_source"
SOURCE = pd.read_parquet(RUN / "source.parquet")
V7, V10 = (SOURCE[SOURCE["version"] == name] for name in ("v7_sectors", "v10_shapes"))


def made(lines: dict[int, list[str]]) -> pd.DataFrame:
    """Source line to its SASS, in a file a.py."""
    rows = [(line, sass) for line, instructions in lines.items() for sass in instructions]
    frame = pd.DataFrame(dict.fromkeys(COLUMNS, 0.0), index=range(len(rows)))
    numbers, sass = zip(*rows, strict=True)
    return frame.assign(
        kernel="k",
        file="a.py",
        line=numbers,
        sass=sass,
        opcode=[s.split()[0] for s in sass],
        offset=[16 * n for n in range(len(rows))],
    )


def test_registers_predicates_and_addresses_are_no_change() -> None:
    assert normal("@!P0 LDG.E.128 R12, desc[UR4][R2.64+0x200]") == normal("@!P3 LDG.E.128 R40, desc[UR6][R8.64+0x1000]")
    assert normal("FFMA R2, R0, R2, RZ") != normal("FADD R2, R0, R2")
    assert normal("SHF.L.U32 R1, R2, 0x3, RZ") != normal("SHF.L.U32 R1, R2, 0x7, RZ")


def test_a_line_that_only_moved_is_no_change_and_one_that_came_or_went_is() -> None:
    base = made({1: ["FADD R1, R2, R3"], 2: ["FMUL R1, R2, R3"]})
    head = made({2: ["FADD R7, R8, R9"], 3: ["MUFU.EX2 R1, R2"]})
    (new, gone) = sorted(
        changed_lines(base, head, {"a.py": "x = a + b\ny = c * d"}, {"a.py": "# more\nx = a + b\nz = exp(x)"}),
        key=lambda change: change.base is not None,
    )
    assert (new.text, new.base, new.head, new.added) == ("z = exp(x)", None, ("a.py", 3), ("MUFU.EX2 R, R",))
    assert (gone.text, gone.head, gone.removed) == ("y = c * d", None, ("FMUL R, R, R",))


def test_the_order_of_instructions_is_the_schedulers_and_no_change() -> None:
    base, head = (made({1: order}) for order in (["FADD R1, R2, R3", "MOV R1, R2"], ["MOV R5, R6", "FADD R7, R8, R9"]))
    assert changed_lines(base, head, {}, {}) == []


def test_a_version_has_no_change_against_itself() -> None:
    assert changed_lines(V7, V7, {}, {}) == []


def test_mixes_and_stalls_of_the_h100_run_add_up_to_its_instructions_and_samples() -> None:
    found = mixes(V7, V10)
    assert found["base"].sum() == len(V7)
    assert found["head_executed"].sum() == V10["instructions"].sum() == 153_329_664  # what the counter says of v10
    assert stalls(V7, V10)["head_pct"].sum() == pytest.approx(100)  # a sum of doubles
    assert stalls(V7, V10).iloc[0].to_dict() == {
        "reason": "long scoreboard",
        "base_pct": pytest.approx(62.7, abs=0.05),  # one decimal of the measured figure
        "head_pct": pytest.approx(46.8, abs=0.05),
    }


def test_the_command_prints_text_and_folded_markdown(rooflift: Callable[..., Any]) -> None:
    said = rooflift("compare", f"{RUN}:v7", ":v10", "--kernel", "--root", ROOT)
    assert said.code == 0
    for word in ("Registers", "80", "56", "fp32", "long scoreboard", "FFMA R, R, R, R"):
        assert word in said.out
    told = rooflift("compare", f"{RUN}:v7", ":v10", "--kernel", "--markdown", "--root", ROOT).out
    assert told.count("<details>") == told.count("</details>") > 1
    assert "| Registers | 80 | 56 |" in told


def test_revisions_are_refused_with_what_does_compare_them(rooflift: Callable[..., Any]) -> None:
    said = rooflift("compare", "main..HEAD", "depthwise_conv2d", "--kernel", "--root", ROOT)
    assert said.code == 2
    assert "--compile-only" in said.err


def test_a_run_without_samples_says_how_to_get_them(h100_run: Path) -> None:
    from rooflift.errors import ReportFault

    with pytest.raises(ReportFault) as caught:
        rl.open(h100_run, root=ROOT).compare_kernels("v0", "v1")
    assert "--metrics source" in caught.value.remedy

"""`rooflift hotspots`, as typed, on a run from an H100 and on its report alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Rooflift = Callable[..., Any]


def test_the_hottest_lines_stand_with_their_text_and_what_they_wait_for(rooflift: Rooflift, checkout: Path) -> None:
    said = rooflift("hotspots", checkout / "tests" / "fixtures" / "h100_source", "v7", "--root", checkout).out
    for word in ("91 074 samples", "v7_sectors.py:94", "64.7 %", "long scoreboard 95 %", "1.36x"):
        assert word in said


def test_a_line_opens_into_its_instructions_for_a_program(rooflift: Rooflift, checkout: Path) -> None:
    run = checkout / "tests" / "fixtures" / "h100_source"
    said = rooflift("hotspots", run, "v7", "--json", "--sass", "--top", "1", "--root", checkout).out
    (line,) = json.loads(said)["lines"]
    assert line["line"] == 94
    assert sum(one["samples"] for one in line["opened"]) == line["samples"]
    assert all(one["sass"].split()[0].startswith(one["opcode"].split(".")[0]) for one in line["opened"][:5])


def test_a_report_alone_is_read_and_its_last_version_shown(rooflift: Rooflift, checkout: Path) -> None:
    report = checkout / "tests" / "fixtures" / "h100_source" / "ncu" / "depthwise_conv2d.ncu-rep.gz"
    said = rooflift("hotspots", report, "--json", "--top", "1").out
    found = json.loads(said)
    assert "v10_shapes" in found["of"]
    assert (found["lines"][0]["file"], found["lines"][0]["line"]) == ("v10_shapes.py", 120)


def test_a_report_without_samples_says_what_to_pass_to_ncu(rooflift: Rooflift, checkout: Path) -> None:
    done = rooflift("hotspots", checkout / "tests" / "fixtures" / "h100_flat_depthwise.ncu-rep")
    assert "--section SourceCounters" in " ".join((done.out + done.err).split())


def test_lines_of_several_kernels_name_theirs_and_open_alone(rooflift: Rooflift, checkout: Path) -> None:
    said = rooflift("hotspots", "softmax", "v2", "--json", "--sass").out
    found = json.loads(said)["lines"]
    assert len({line["kernel"] for line in found}) == 2
    for line in found:
        assert sum(one["samples"] for one in line["opened"]) == line["samples"]
    told = rooflift("hotspots", "softmax", "v2").out
    assert all(name in told for name in ("long_rows_kernel", "tiles_kernel"))


def test_launches_of_one_kernel_are_one_listing(rooflift: Rooflift, checkout: Path) -> None:
    foreign = checkout / "tests" / "fixtures" / "foreign" / "r05_h800_flash_fwd_nan.ncu-rep.gz"
    said = rooflift("hotspots", foreign, "distribution", "--json", "--sass", "--top", "1").out
    (line,) = json.loads(said)["lines"]
    offsets = [one["offset"] for one in line["opened"]]
    assert len(set(offsets)) == len(offsets)
    assert sum(one["samples"] for one in line["opened"]) == line["samples"]
    told = " ".join(rooflift("hotspots", foreign, "distribution").out.split())
    assert "compile CUDA C++ with -lineinfo" in told  # it has no line information

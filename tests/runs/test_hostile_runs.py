"""Run folders from anybody: one thing is wrong with each, and each ends in a sentence with exit code 2."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rooflift.runs.run import read_run
from rooflift.runs.verify import write_manifest

Damage = Callable[[Path], object]
HUGE = 10**400


@pytest.fixture(scope="module")
def small_run(h100_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run without its report, which takes longest to read."""
    folder = tmp_path_factory.mktemp("hostile") / "run"
    shutil.copytree(h100_run, folder, ignore=shutil.ignore_patterns("ncu"))
    write_manifest(folder, read_run(folder).manifest)
    return folder


@pytest.fixture
def run(small_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_run, tmp_path / "run"))


def field(*path: str | int, to: object) -> Damage:
    """Return what sets a field of run.json."""

    def damage(folder: Path) -> None:
        manifest: Any = json.loads((folder / "run.json").read_bytes())
        place = manifest
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = to
        (folder / "run.json").write_text(json.dumps(manifest))

    return damage


def named(name: str) -> Damage:
    """Return what adds a file's name to run.json."""

    def damage(folder: Path) -> None:
        manifest: Any = json.loads((folder / "run.json").read_bytes())
        manifest["sha256"][name] = "0" * 64
        (folder / "run.json").write_text(json.dumps(manifest))

    return damage


def nested(depth: int) -> Damage:
    """Return what nests a table in itself."""

    def damage(folder: Path) -> None:
        field("cases", 0, "init", to="HERE")(folder)
        text = (folder / "run.json").read_text()
        (folder / "run.json").write_text(text.replace('"HERE"', '{"a":' * depth + "1" + "}" * depth))

    return damage


def cell(table: str, column: str, to: str) -> Damage:
    """Return what sets a cell in the first row of a table."""

    def damage(folder: Path) -> None:
        names, first, *rest = (folder / table).read_text().splitlines()
        cells = first.split(",")
        cells[names.split(",").index(column)] = to
        (folder / table).write_text("\n".join([names, ",".join(cells), *rest]) + "\n")

    return damage


def twice(table: str) -> Damage:
    """Return what repeats a table's first row."""

    def damage(folder: Path) -> None:
        text = (folder / table).read_text()
        (folder / table).write_text(text + text.splitlines()[1] + "\n")

    return damage


def instead(name: str, make: Callable[[Path], object]) -> Damage:
    """Return what puts something else in the place of a file."""

    def damage(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        make(folder / name)

    return damage


def samples(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Damage:
    """Return what changes the samples."""

    def damage(folder: Path) -> None:
        path = folder / "samples.parquet"
        change(pd.read_parquet(path)).to_parquet(path, index=False)

    return damage


def sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 2**40)


PIPE, ZEROS, FOLDER, ELSEWHERE = (
    os.mkfifo,
    lambda path: path.symlink_to("/dev/zero"),
    Path.mkdir,
    lambda path: path.symlink_to("/etc/passwd"),
)
KINDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a pipe": (PIPE, "no regular file"),
    "a device": (ZEROS, "a link to what lies elsewhere"),
    "a folder": (FOLDER, "no regular file"),
    "a link to another place": (ELSEWHERE, "a link to what lies elsewhere"),
    "a terabyte": (sparse, "bytes, of at most"),
}
TABLES = ("run.json", "timings.csv", "metrics.csv", "samples.parquet", "source.parquet", "compiled.csv")
NO_NAME, NO_PATH = "Expected a name of a f", "Expected a path below the run folder"
FAULTS: dict[str, tuple[Damage, str]] = {
    **{
        f"{name} is {kind}": (instead(name, make), sentence)
        for name in TABLES
        for kind, (make, sentence) in KINDS.items()
    },
    "no compulsory bytes": (field("cases", 0, "compulsory_bytes", to=0), ">= 1 - at `$.cases[0].compulsory_bytes`"),
    "negative bytes": (field("cases", 0, "compulsory_bytes", to=-1), ">= 1 - at `$.cases[0].compulsory_bytes`"),
    "a truth for a number": (field("cases", 0, "compulsory_bytes", to=True), "got `bool`"),
    "a text for a number": (field("cases", 0, "flop", to="many"), "got `str`"),
    "too many FLOP": (field("cases", 0, "flop", to=HUGE), "$.cases[0].flop"),
    "negative FLOP of a unit": (field("cases", 0, "flop_by_unit", to={"FP32": -1}), "$.cases[0].flop_by_unit"),
    "FLOP of no unit": (field("cases", 0, "flop_by_unit", to={"abacus": 1}), "flop_by_unit names no unit: abacus"),
    "a shape below 0": (field("cases", 0, "inputs", to=[[-1]]), "$.cases[0].inputs[0][0]"),
    "no case": (field("cases", to=[]), "cases: there is none"),
    "no version": (field("versions", to=[]), "versions: there is none"),
    "tables in tables": (nested(30), "more than 20 tables in each other"),
    "many tables in tables": (nested(5000), "too many in each other"),
    "a GPU without SMs": (field("machine", "sm_count", to=0), "$.machine.sm_count"),
    "a capability that is none": (field("machine", "compute_capability", to="9.0; rm"), "a compute capability such as"),
    "a time that is none": (field("created", to="yesterday"), "a time such as 2026-11-22T08:40:49Z"),
    "a schema that is no whole number": (field("schema", to=2.0), "schema is 2.0"),
    "a way up": (field("operator", to="../.."), f"{NO_NAME}ile"),
    "a way in the name": (field("name", to="a/b"), f"{NO_NAME}ile"),
    "an absolute ladder": (field("ladder", to="/tmp"), f"{NO_NAME}older"),  # it is refused
    "an empty name": (field("name", to=""), f"{NO_NAME}ile"),
    "a name that clears the screen": (field("operator", to="a\x1b[2J"), f"{NO_NAME}ile"),
    "a long name": (field("operator", to="x" * 5000), f"{NO_NAME}ile"),
    "a file elsewhere": (named("../../secret"), NO_PATH),
    "an absolute file": (named("/etc/passwd"), NO_PATH),
    "a kernel far above": (named("kernels/../../x.py"), NO_PATH),
    "a file of 5,000 letters": (named("x" * 5000), "length <= 1000"),
    "a sum that is none": (field("sha256", "timings.csv", to="x"), "64 hexadecimal digits"),
    "no time": (cell("timings.csv", "median_us", "0"), "$[0].median_us"),
    "a negative time": (cell("timings.csv", "median_us", "-5"), "$[0].median_us"),
    "the smallest time": (cell("timings.csv", "q20_us", "1e-320"), "$[0].q20_us"),
    "the longest time": (cell("timings.csv", "q80_us", "1e308"), "$[0].q80_us"),
    "a time that is no number": (cell("timings.csv", "min_us", "nan"), "$[0].min_us"),
    "an infinite time": (cell("timings.csv", "min_us", "inf"), "$[0].min_us"),
    "no samples of a time": (cell("timings.csv", "n", "0"), "$[0].n"),
    "a row of times twice": (twice("timings.csv"), "is a second one of v0_baseline main float32"),
    "a metric twice": (twice("metrics.csv"), "is a second one of v0_baseline main float32 0 sm_pct"),
    "a metric beyond all": (cell("metrics.csv", "value", "1e308"), "$[0].value"),
    "a metric that is no number": (cell("metrics.csv", "value", "nan"), "$[0].value"),
    "a launch below 0": (cell("metrics.csv", "launch", "-1"), "$[0].launch"),
    "texts for times": (samples(lambda all_: all_.assign(time_us="fast")), "not a number"),
    "dates for times": (samples(lambda all_: all_.assign(time_us=pd.Timestamp(0))), "not a number"),
    "lists for times": (samples(lambda all_: all_.assign(time_us=[[1.0]] * len(all_))), "not a number"),
    "samples below 0": (samples(lambda all_: all_.assign(time_us=-1.0)), "time_us of row 0 is -1.0"),
    "rounds that are no numbers": (samples(lambda all_: all_.assign(round="first")), "not a whole number"),
    "samples of nobody": (samples(lambda all_: all_.assign(provider=None)), "not a text"),
    "other medians": (samples(lambda all_: all_.assign(time_us=2 * all_["time_us"])), "in timings.csv"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_hostile_run_ends_in_a_sentence(run: Path, rooflift: Callable[..., Any], name: str) -> None:
    damage, sentence = FAULTS[name]
    damage(run)
    words = ("hotspots", run) if name.startswith("source.parquet") else ("report", run, "--terminal")
    said = rooflift(*words)
    assert (said.code, said.out) == (2, "")
    assert sentence in said.err
    assert "a fault of rooflift itself" not in said.err
    assert said.err.count("\n") < 5


def test_small_run_is_whole(run: Path, rooflift: Callable[..., Any]) -> None:
    assert rooflift("report", run, "--terminal").code == 0
    assert rooflift("runs", run, "--verify").code == 0


def test_prediction_that_cannot_be_read_is_not_judged(run: Path) -> None:
    from rooflift.analysis.predictions import judge
    from rooflift.analysis.summary import summarize

    field("versions", 0, "expect", to=["it will be fast"])(run)
    read = read_run(run)
    found = judge(read.manifest, summarize(read.manifest, read.metrics, read.timings))
    assert found["verdict"].iloc[0] == "not judged: no prediction that can be read"


def test_names_that_write_to_the_terminal_are_shown_clean(run: Path, rooflift: Callable[..., Any]) -> None:
    (run / "\x1b]0;owned\x07\x1b[2J.txt").touch()
    said = rooflift("runs", run, "--verify")
    assert said.code == 1
    assert "additional" in said.out
    assert not [sign for sign in said.out + said.err if ord(sign) < 32 and sign != "\n"]


def test_terabyte_is_not_read_to_be_verified(run: Path, rooflift: Callable[..., Any]) -> None:
    instead("metrics.csv", sparse)(run)
    said = rooflift("runs", run, "--verify")
    assert said.code == 1
    assert "larger than 8 GiB" in said.out


def test_report_writes_below_its_folder_alone(run: Path, rooflift: Callable[..., Any], tmp_path: Path) -> None:
    field("operator", to="../../elsewhere")(run)
    before = sorted(tmp_path.rglob("*"))
    assert rooflift("report", run, "--bundle", "--out", tmp_path / "out").code == 2
    assert sorted(tmp_path.rglob("*")) == before

"""`rooflift compare`, as typed, on recorded runs and on revisions."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pytest

from rooflift.measure import environment
from rooflift.runs.run import read_run
from rooflift.runs.verify import write_manifest

Rooflift = Callable[..., Any]


H100 = "NVIDIA H100 80GB HBM3"


def test_versions_of_one_run_are_compared(rooflift: Rooflift, h100_run: Path) -> None:
    said = rooflift("compare", f"{h100_run}:v0", ":v1")
    assert said.code == 0, said.err
    assert "v1_grid is faster than v0_baseline on main float32: time ratio 0.50" in said.out
    assert "Wilcoxon's signed ranks" in said.out
    assert re.search(r"Instructions.*↓ 0\.5\dx", said.out)
    assert "uncommitted changes" in said.err


def test_runs_are_compared_by_their_last_versions_and_json_says_the_same(
    rooflift: Rooflift, h100_run: Path, altered: Callable[..., Path]
) -> None:
    slower = altered(factor=1.05)
    said = rooflift("compare", h100_run, slower, "--json")
    assert said.code == 0, said.err
    (found,) = json.loads(said.out)
    assert (found["base"], found["head"]) == (f"{read_run(h100_run).manifest.name}:v1_grid", "again:v1_grid")
    (case,) = found["cases"]
    assert (case["verdict"], case["paired"]) == ("slower", False)
    assert case["time_x"] == pytest.approx(1.05, rel=1e-3)
    assert found["geometric_mean"]["cases"] == 1


def test_named_versions_are_compared_each_with_itself(
    rooflift: Rooflift, h100_run: Path, altered: Callable[..., Path]
) -> None:
    said = rooflift("compare", h100_run, altered(factor=1.05), "-v", "v0", "-v", "v1", "--json")
    assert [found["cases"][0]["verdict"] for found in json.loads(said.out)] == ["within noise", "slower"]


def test_other_gpu_is_not_comparable_and_ends_with_1(
    rooflift: Rooflift, h100_run: Path, altered: Callable[..., Path]
) -> None:
    other = altered(gpu="NVIDIA H200", factor=1.5)
    said = rooflift("compare", h100_run, other)
    assert said.code == 1
    assert f"not comparable: GPU {H100} and NVIDIA H200" in said.out
    assert "1.50" not in said.out  # the ratio; the times themselves are told
    forced = rooflift("compare", h100_run, other, "--force")
    assert forced.code == 1
    assert "1.50" in forced.out
    assert "slower" not in forced.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{run}:v1", ":v1"], "on both sides"),
        (["{run}:v9", ":v1"], "it has no version 'v9'"),
        (["{run}:v0", ":v1", "-v", "v1"], "--version, and a version behind a colon"),
        (["{run}", "{other}"], "is of depthwise_conv2d and "),
        (["nowhere", "{run}"], "nowhere: no such run"),
        (["{run}:v0", ":v1", "--min-effect", "much"], "'much' is no share"),
    ],
)
def test_what_cannot_be_compared_is_told(
    rooflift: Rooflift, h100_run: Path, altered: Callable[..., Path], words: list[str], message: str
) -> None:
    other = altered(operator="rms_norm")
    said = rooflift("compare", *(word.format(run=h100_run, other=other) for word in words))
    assert said.code == 2
    assert message in said.err


def test_revisions_need_a_gpu_and_say_so_before_git_is_asked(rooflift: Rooflift, no_gpu: None) -> None:
    said = rooflift("compare", "no-such-revision..HEAD", "depthwise_conv2d")
    assert said.code == 2
    assert "no NVIDIA GPU" in said.err


def test_revisions_are_measured_in_one_run(
    rooflift: Rooflift, h100_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def profile(request: Any, out: Path, progress: Any, *, numbered: bool) -> Any:
        assert not numbered  # the folder was named
        asked.append(request)
        shutil.copytree(h100_run, out)
        manifest = read_run(out).manifest
        names = {"v0_baseline": "v0_base", "v1_grid": "v1_head"}
        samples = read_run(out).samples.replace({"provider": names})
        samples.to_parquet(out / "samples.parquet", index=False)
        versions = [msgspec.structs.replace(v, version=names[v.version]) for v in manifest.versions]
        write_manifest(out, msgspec.structs.replace(manifest, versions=versions))
        return type("Told", (), {"folder": out, "resumed": ""})

    monkeypatch.setattr(environment, "driver", lambda: environment.Driver("580.1", [H100]))
    monkeypatch.setattr("rooflift.pipeline.profile", profile)
    said = rooflift("compare", "HEAD..", "rms_norm", "--out", tmp_path / "run", "--metrics", "none", "--suite")
    assert said.code == 0, said.err
    assert "v1_head is faster than v0_base" in said.out
    (request,) = asked
    assert [version.name for version in request.versions] == ["v0_base", "v1_head"]
    assert (request.metric_set, request.options.precision, request.options.noise, request.suite) == (
        "none",
        0.005,
        True,
        True,
    )
    assert request.command[:4] == ["rooflift", "compare", "HEAD..", "rms_norm"]
    assert request.about.endswith("of the working tree.")


def test_revisions_are_compiled_without_a_gpu(rooflift: Rooflift, no_gpu: None) -> None:
    said = rooflift("compare", "HEAD..", "rms_norm", "--compile-only", "-t", "90", "--markdown")
    assert said.code == 0, said.err
    title, first, about, table = said.out.strip().split("\n\n")
    assert title == "# rms_norm, compiled"
    assert first.startswith("**Compiled, not run")
    assert about.startswith("v0_base is v0_baseline of HEAD (")
    assert "| spills | Theoretical Occupancy % | Registers | Shared Memory |" in table
    assert "| sm_90 |" in table
    assert "→" not in table or "v1_head is v0_baseline of the working tree" in about


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def with_nan(path: Path) -> None:
    frame = pd.read_parquet(path)
    frame.loc[7, "time_us"] = float("nan")
    frame.to_parquet(path, index=False)


DAMAGES: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "no samples": ("samples.parquet", Path.unlink, r"samples\.parquet: cannot be read"),
    "cut samples": ("samples.parquet", cut, r"samples\.parquet: cannot be read"),
    "nan": ("samples.parquet", with_nan, r"samples\.parquet: time_us of row 7 is nan"),
    "no timings": ("timings.csv", Path.unlink, r"timings\.csv: the run folder lacks it"),
    "no report": ("ncu/depthwise_conv2d.ncu-rep", Path.unlink, r"\.ncu-rep: the run folder lacks it"),
    "no metrics": ("metrics.csv", Path.unlink, r"metrics\.csv: the run folder lacks it"),
    "cut metrics": ("metrics.csv", cut, r"metrics\.csv: .*row \d+|metrics\.csv: .*\$\["),
    "cut manifest": ("run.json", cut, r"run\.json: Input data was truncated"),
    "other schema": (
        "run.json",
        lambda path: path.write_text(path.read_text().replace('"schema": 2', '"schema": 3')),
        r"run\.json: schema is 3",
    ),
    "field gone": (
        "run.json",
        lambda path: path.write_text(path.read_text().replace('"clock_control"', '"clocks"')),
        r"run\.json: .*clock",
    ),
}


@pytest.mark.parametrize(("file", "damage", "message"), DAMAGES.values(), ids=DAMAGES)
def test_damaged_run_is_named_by_file_and_field(
    rooflift: Rooflift,
    h100_run: Path,
    altered: Callable[..., Path],
    file: str,
    damage: Callable[[Path], Any],
    message: str,
) -> None:
    folder = altered()
    damage(folder / file)
    said = rooflift("compare", h100_run, folder)
    assert said.code == 2
    assert re.search(message, said.err), said.err


def test_two_versions_are_compared_by_instruction_without_a_gpu(rooflift: Rooflift) -> None:
    words = ("compare", "softmax:v10", ":v11", "--kernel", "--compile-only", "-c", "small")
    said = rooflift(*words, "--json")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found["resources"][0]["metric"] == "Registers"
    assert all(row["base"] >= 0 and row["head"] >= 0 for row in found["resources"])
    places = {change["head"][0] for change in found["changes"] if change["head"]}
    assert "v11_stores.py" in places  # the stores of v11 are other instructions than those of v10
    assert any("STG" in text for change in found["changes"] for text in change["added"])
    assert found["stalls"] == []


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (("softmax:v1", ":v2"), "--kernel --compile-only"),
        (("softmax:v1", "matmul:v2", "--kernel"), "OPERATOR:v1 :v2"),
        (("softmax", "softmax:v2", "--kernel"), "OPERATOR:v1 :v2"),
    ],
)
def test_compile_only_without_two_versions_of_an_operator_says_how(
    rooflift: Rooflift, words: tuple[str, ...], remedy: str
) -> None:
    said = rooflift("compare", *words, "--compile-only")
    assert said.code == 2
    assert remedy in said.err

"""Candidates in C++ or CUDA: refused without --trust, and with it run as they stand and marked so."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rooflift import pipeline
from rooflift.measure import checking
from rooflift.measure.request import Request
from rooflift.report.warnings import run_warnings
from rooflift.runs.run import read_run

Rooflift = Callable[..., Any]
BUILDS = """
import torch
from torch.utils.cpp_extension import load_inline

built = load_inline(
    name="twice", cpp_sources="torch::Tensor twice(torch::Tensor x) { return x * 2; }", functions=["twice"]
)


class ModelNew(torch.nn.Module):
    def forward(self, x):
        return built.twice(x)
"""


def test_without_trust_it_is_refused_and_told_why(
    alone: Path, candidates: Callable[..., str], rooflift: Rooflift, tmp_path: Path
) -> None:
    words = ["optimize", "twice", "--no-gpu", "--gpu", "h100", "--root", alone, "--repairs", "0", "--iterations", "1"]
    said = rooflift(*words, "--agent", candidates(BUILDS), "--out", tmp_path / "loop", "--json")
    (told,) = json.loads(said.out)["iterations"]
    assert (told["at"], told["trusted"]) == ("candidate", False)
    assert "no launch plan" in told["why"][0]
    assert "--trust" in told["why"][0]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_with_trust_it_runs_and_is_marked(
    alone: Path, candidates: Callable[..., str], rooflift: Rooflift, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "built"))
    wrong = BUILDS.replace("return built.twice(x)", "return built.twice(x) + 1")  # built once, for both
    words = ["optimize", "twice", "--no-gpu", "--gpu", "h100", "--root", alone, "--repairs", "0", "--iterations", "2"]
    words += ["--stages", "memory", "--agent", candidates(wrong, BUILDS), "--out", tmp_path / "loop", "--trust"]
    words += ["--evaluation-timeout", "600", "--json"]
    told = json.loads(rooflift(*words).out)["iterations"]
    assert [(one["at"], one["version"], one["trusted"]) for one in told[:2]] == [
        ("evaluation", "", True),
        (None, "v0_algorithm", True),
    ]


def test_a_timed_one_is_marked_in_journal_request_and_report(
    project: Path,
    candidates: Callable[..., str],
    rooflift: Rooflift,
    recorded: Callable[[str], int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured, trusted = pipeline.profile, list[Sequence[str]]()

    def profile(request: Request, *rest: Any) -> Any:
        trusted.append(list(request.trusted))
        return measured(request, *rest)

    monkeypatch.setattr(pipeline, "profile", profile)
    monkeypatch.setattr(checking, "verify", lambda *_: [])  # it would need nvcc
    words = ["optimize", "depthwise_conv2d", "--agent", candidates(BUILDS + "# takes 1500 us\n"), "--root", project]
    said = rooflift(*words, "--stages", "grid", "--iterations", "1", "--out", tmp_path / "loop", "--trust")
    assert said.code == 0, said.err
    assert "kept as v1_grid, 0.744x the time of v0_baseline, 1500.0 us; run with --trust" in said.err
    assert trusted == [[], ["v1_grid"], ["v1_grid"], ["v1_grid"]]  # beside its base, again, and in the end


def test_a_report_warns_of_trusted_versions(h100_run: Path) -> None:
    manifest = read_run(h100_run).manifest
    own = msgspec.structs.replace(manifest.versions[1], trusted=True)
    told = run_warnings([msgspec.structs.replace(manifest, versions=[manifest.versions[0], own])])
    assert "v1_grid ran with --trust: it is C++ or CUDA, and its Python ran where it was timed." in told

"""The committed runs: complete, small, private, and their tables are what NVIDIA's reader finds in their reports."""

from __future__ import annotations

import ast
import functools
import gzip
import hashlib
import itertools
import re
import subprocess
from pathlib import Path
from typing import Any

import ncu_report
import pytest

from rooflift.errors import RunFault
from rooflift.ncu.report import read_reports
from rooflift.optimize.journal import Iteration, read_journal
from rooflift.rerender import disagreement
from rooflift.runs import find, verify
from rooflift.runs import run as runs

ROOT = Path(__file__).parents[1]
EVERY = find.find_runs(ROOT / "reports")
COMMITTED = [folder for folder in EVERY if runs.read_run(folder).manifest.origin is None]
CLIMB = ROOT / "reports" / "optimize" / "h100"
CLIMBED = CLIMB / "reports" / "depthwise_conv2d" / "optimize"

NCU_NAME = re.compile(r"[a-z]\w+__[\w.]+")  # of one or several that were multiplied or added


def _value_in(action: Any, name: re.Match[str]) -> str:
    return repr(float(action.metric_by_name(name[0]).value()))


def test_every_family_has_a_run_and_the_first_one_of_two_gpus() -> None:
    assert {path.parent.name for path in COMMITTED} >= {"depthwise_conv2d", "rms_norm"}
    for gpu, suite in itertools.product(("H100", "H200"), (False, True)):
        assert find.newest_run(ROOT / "reports", "depthwise_conv2d", suite=suite, gpu=gpu).manifest.suite == suite


def test_the_newest_run_with_a_version_may_be_older() -> None:
    ask = functools.partial(find.newest_run, ROOT / "reports", "depthwise_conv2d", suite=True, gpu="H100")
    newest, older = ask(), ask(versions=["v10_shapes", "v13_registers"])
    assert older.manifest.created < newest.manifest.created
    assert {"v10_shapes", "v13_registers"} <= {version.version for version in older.manifest.versions}
    with pytest.raises(RunFault, match="no run that timed the suite with v10_shapes, v99_none on H100"):
        ask(versions=["v10_shapes", "v99_none"])


def test_the_newest_run_with_metrics_may_be_older() -> None:
    ask = functools.partial(find.newest_run, ROOT / "reports", "depthwise_conv2d", gpu="H200")
    assert ask().manifest.metric_set == "none"
    assert ask(with_metrics=True).manifest.metric_set == "standard"
    with pytest.raises(RunFault, match="no run with v99_none with metrics on H200"):
        ask(versions=["v99_none"], with_metrics=True)


def test_reports_stay_small_with_one_report_a_ladder_and_gpu_and_each_picture_once() -> None:
    files = [path for path in (ROOT / "reports").rglob("*") if path.is_file()]
    operators = {run.manifest.operator for run in map(runs.read_run, COMMITTED)}
    assert sum(path.stat().st_size for path in files) < 3_000_000 * len(operators)
    assert max(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) for folder in EVERY) < 5_000_000
    assert [path for path in files if path.suffix == ".png"] == []
    manifests = [run.manifest for run in map(runs.read_run, COMMITTED) if run.reports]
    kept = [(m.operator, m.ladder, m.machine.gpu) for m in manifests]
    assert sorted(kept) == sorted(set(kept))


@pytest.mark.parametrize(
    "folder", [*EVERY, CLIMB / "reports" / "depthwise_conv2d" / "optimize"], ids=lambda path: path.name
)
def test_every_committed_run_is_whole(folder: Path) -> None:
    assert verify.verify(folder).faults == []


def test_the_imported_record_is_the_file_it_names() -> None:
    (imported,) = [runs.read_run(folder) for folder in EVERY if folder not in COMMITTED]
    assert imported.manifest.origin is not None
    assert imported.manifest.origin.sha256 == verify.sha256(ROOT / "tests" / "fixtures" / imported.manifest.origin.file)


def test_the_recorded_climb_kept_exactly_the_right_candidates() -> None:
    """A list of six was played to it on an H100: wrong, dishonest, v1, slow, dishonest, v7."""
    entries, whole = read_journal((CLIMB / "journal.jsonl").read_bytes())
    tried = [entry for entry in entries if isinstance(entry, Iteration)]
    assert whole == (CLIMB / "journal.jsonl").stat().st_size
    assert [one.at for one in tried] == ["evaluation", "lint", None, "verdict", "lint", None]
    for one in tried:
        assert verify.sha256(CLIMB / "iterations" / f"{one.number:03}" / "candidate.txt") == one.candidate_sha256
        assert (CLIMB / "iterations" / f"{one.number:03}" / "prompt.md").stat().st_size > 0
    kept = {one.version: one.candidate_sha256 for one in tried if one.at is None}
    own = {
        name: verify.sha256(ROOT / "kernels" / "depthwise_conv2d" / f"{name}.py") for name in ("v1_grid", "v7_sectors")
    }
    assert kept == {"v1_grid": own["v1_grid"], "v2_memory": own["v7_sectors"]}
    run = runs.read_run(CLIMBED)
    assert [version.version for version in run.manifest.versions] == ["v0_baseline", *kept]
    assert "H100" in run.manifest.machine.gpu
    assert not run.manifest.dirty


def unpacked(report: Path, folder: Path) -> Path:
    """Return a report as ncu writes it, into the folder where it is in gzip."""
    if report.suffix != ".gz":
        return report
    plain = folder / report.stem
    plain.write_bytes(gzip.decompress(report.read_bytes()))
    return plain


def _at_commit(commit: str | None, name: str) -> bytes:
    """Return a file as it was at a commit."""
    asked = subprocess.run(["git", "-C", ROOT, "show", f"{commit}:{name}"], capture_output=True, check=False)
    if asked.returncode != 0:
        pytest.skip(f"this clone does not hold commit {commit}")
    return asked.stdout


def _code(text: bytes) -> str:
    tree = ast.parse(text)
    return ast.dump(ast.Module(tree.body[1:], []))


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda path: f"{path.parent.name}-{path.name}")
class TestCommittedRun:
    def test_no_byte_of_it_has_changed(self, folder: Path) -> None:
        own = {k: v for k, v in runs.read_run(folder).manifest.sha256.items() if not k.startswith("kernels/")}
        assert own.keys() == {
            p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.name != "run.json"
        }
        assert {name: verify.sha256(folder / name) for name in own} == own

    def test_it_is_of_a_clean_tree(self, folder: Path) -> None:
        manifest = runs.read_run(folder).manifest
        assert manifest.commit is not None
        assert not manifest.dirty

    def test_its_kernels_are_those_of_its_commit(self, folder: Path) -> None:
        manifest = runs.read_run(folder).manifest
        kernels = {k: v for k, v in manifest.sha256.items() if k.startswith("kernels/")}
        assert kernels
        assert {name: hashlib.sha256(_at_commit(manifest.commit, name)).hexdigest() for name in kernels} == kernels

    def test_its_kernels_that_are_where_they_were_have_not_changed(self, folder: Path) -> None:
        """A published version is frozen: below its header, where figures may get other names."""
        manifest = runs.read_run(folder).manifest
        there = [name for name in manifest.sha256 if name.startswith("kernels/") and (ROOT / name).exists()]
        assert there
        for name in there:
            assert _code((ROOT / name).read_bytes()) == _code(_at_commit(manifest.commit, name)), name

    def test_its_metrics_are_the_reports(self, folder: Path, tmp_path: Path) -> None:
        run = runs.read_run(folder)
        if run.manifest.metric_set == "none":
            assert (run.reports, len(run.metrics)) == ([], 0)
            return
        if not run.reports:  # not kept: the note says which it was
            assert len(run.metrics) > 40
            assert any("is not kept here (SHA-256 " in note for note in run.manifest.notes)
            return
        assert disagreement(read_reports(run.reports, run.folder), run.metrics) == ""
        values = run.metrics[run.metrics["missing"] == ""].groupby(["version", "case", "dtype", "launch"], sort=False)
        actions = [
            context.range_by_idx(r).action_by_idx(a)
            for path in run.reports
            for context in [ncu_report.load_report(str(unpacked(path, tmp_path)))]
            for r in range(context.num_ranges())
            for a in range(context.range_by_idx(r).num_actions())
        ]
        assert len(actions) == len(values)
        for action, (_, rows) in zip(actions, values, strict=True):
            assert len(rows) > 40
            for row in rows.itertuples():
                named = NCU_NAME.sub(
                    lambda name, a=action: repr(float(a.metric_by_name(name[0]).value())), row.ncu_name
                )
                assert row.value == pytest.approx(eval(named.replace(" x ", " * ")), rel=1e-12), row.ncu_name

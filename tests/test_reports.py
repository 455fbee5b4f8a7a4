"""The committed runs: complete, small, private, and their tables are what NVIDIA's reader finds in their reports."""

from __future__ import annotations

import hashlib
import itertools
import subprocess
from pathlib import Path

import ncu_report
import pytest

from rooflift import runs
from rooflift.extract.reports import read_reports
from rooflift.pipeline import disagreement

ROOT = Path(__file__).parents[1]
COMMITTED = runs.find_runs(ROOT / "reports")


def test_every_family_has_a_run_and_the_first_one_of_two_gpus() -> None:
    assert {path.parent.name for path in COMMITTED} >= {"depthwise_conv2d", "rms_norm"}
    for gpu, suite in itertools.product(("H100", "H200"), (False, True)):
        assert runs.newest_run(ROOT / "reports", "depthwise_conv2d", suite=suite, gpu=gpu).manifest.suite == suite


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda path: f"{path.parent.name}-{path.name}")
class TestCommittedRun:
    def test_no_byte_of_it_has_changed(self, folder: Path) -> None:
        own = {k: v for k, v in runs.read_run(folder).manifest.sha256.items() if not k.startswith("kernels/")}
        assert own.keys() == {
            p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.name != "run.json"
        }
        assert {name: runs.sha256(folder / name) for name in own} == own

    def test_it_is_under_5_mb_and_names_its_commit(self, folder: Path) -> None:
        manifest = runs.read_run(folder).manifest
        assert sum(path.stat().st_size for path in folder.rglob("*")) < 5_000_000
        assert manifest.commit is not None
        said = "with uncommitted changes" in (folder / "report.md").read_text(encoding="utf-8")
        assert said == manifest.dirty == ("-dirty" in folder.name)

    def test_a_tree_with_changes_had_the_kernels_of_its_commit(self, folder: Path) -> None:
        """What a dirty run says of its versions can be looked up all the same."""
        manifest = runs.read_run(folder).manifest
        kernels = [name for name in manifest.sha256 if name.startswith("kernels/")]
        for name in kernels if manifest.dirty else ():
            shown = subprocess.run(
                ["git", "-C", ROOT, "show", f"{manifest.commit}:{name}"], capture_output=True, check=False
            )
            if shown.returncode != 0:
                pytest.skip("the history is not here")
            assert hashlib.sha256(shown.stdout).hexdigest() == manifest.sha256[name]

    def test_its_kernels_are_still_what_was_measured(self, folder: Path) -> None:
        """A published version is frozen."""
        kernels = {k: v for k, v in runs.read_run(folder).manifest.sha256.items() if k.startswith("kernels/")}
        assert kernels
        assert {name: runs.sha256(ROOT / name) for name in kernels} == kernels

    def test_its_metrics_are_the_reports(self, folder: Path) -> None:
        run = runs.read_run(folder)
        assert disagreement(read_reports(run.reports, run.folder), run.metrics) == ""
        values = run.metrics[run.metrics["missing"] == ""].groupby(["version", "case", "dtype", "launch"], sort=False)
        actions = [
            context.range_by_idx(r).action_by_idx(a)
            for path in run.reports
            for context in [ncu_report.load_report(str(path))]
            for r in range(context.num_ranges())
            for a in range(context.range_by_idx(r).num_actions())
        ]
        assert len(actions) == len(values)
        for action, (_, rows) in zip(actions, values, strict=True):
            assert len(rows) > 40
            for row in rows.itertuples():
                assert row.value == pytest.approx(action.metric_by_name(row.ncu_name).value(), rel=1e-12), row.ncu_name

"""The stages: what their rules read is measured, what they ask of a candidate is linted, and bad tables are refused."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import msgspec
import pytest

from rooflift.errors import CatalogError
from rooflift.lint.rules import rules
from rooflift.ncu.metrics import BY_NAME
from rooflift.ncu.report import read_reports
from rooflift.project.stages import parse_stages, stage, stages
from rooflift.runs.find import find_runs
from rooflift.runs.run import read_run

CHECKOUT = Path(__file__).parents[2]
RECORDED = [
    folder
    for folder in [*find_runs(CHECKOUT / "reports"), CHECKOUT / "tests" / "fixtures" / "h100_run"]
    if (run := read_run(folder)).reports and run.manifest.metric_set in ("standard", "full")
]
TEXT = resources.files("rooflift.project").joinpath("stages.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("folder", RECORDED, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def test_every_metric_that_a_rule_reads_is_collected_on_the_recorded_reports(folder: Path) -> None:
    run = read_run(folder)
    frame = read_reports(run.reports, run.folder)
    for name, found in stages().items():
        looked_at = {m.name for m in found.metrics} | {r for rule in found.rules for r in rule.reads}
        rows = frame[frame["metric"].isin(looked_at)]
        assert set(rows["metric"]) == looked_at, name
        absent = rows[rows["value"].isna()]
        assert absent.empty, f"{name}: {absent[['version', 'metric', 'missing']].to_dict('records')}"


def test_every_stage_has_rules_that_read_metrics() -> None:
    for name, found in stages().items():
        assert any(rule.reads for rule in found.rules), name
        assert found.safety, name
        assert found.autotune, name


def test_the_grid_stage_says_what_the_original_says() -> None:
    grid = stage("grid")
    thresholds = {metric.name: metric.want for metric in grid.metrics}
    assert thresholds["sm_pct"] == "> 60"
    assert "grid_size" in thresholds
    told = " ".join([rule.text for rule in grid.rules] + [*grid.safety, *grid.autotune])
    for word in ("1-D", "2-D", "3-D", "three", "independent", "batch", "heads", "experts", "underused", "program_id"):
        assert word in told, word
    for word in ("doubt", "block sizes", "num_warps", "num_stages", "META", "one place"):
        assert word in told, word


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('want = "> 60"', 'want = "above 60"', "is not of the form"),
        ('reads = ["sm_pct", "alu_pct"]', 'reads = ["dram_pct"]', "a rule reads dram_pct"),
        ('title = "Block tiling"', "", "missing required field `title`"),
        ("[tiling]\n", "[tiling]\nmetric = 3\n", "unknown field `metric`"),
    ],
)
def test_a_bad_table_is_refused_with_the_place(old: str, new: str, says: str) -> None:
    assert old in TEXT
    with pytest.raises(msgspec.ValidationError, match=re.escape(says)):
        parse_stages(TEXT.replace(old, new, 1).encode())


def test_an_unknown_stage_is_named_with_a_near_one() -> None:
    with pytest.raises(CatalogError, match=r"(?s)no stage 'tunning'.*tuning"):
        stage("tunning")


def test_every_metric_of_a_stage_is_one_of_the_registry() -> None:
    assert {metric.name for found in stages().values() for metric in found.metrics} <= BY_NAME.keys()


def test_every_rule_that_a_stage_asks_for_is_one_of_the_lint() -> None:
    assert {name for found in stages().values() for name in found.lint_rules} <= rules().keys()

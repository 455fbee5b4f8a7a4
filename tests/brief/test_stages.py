"""The stages: what their rules read is measured, what they ask of a reply is checked, and bad tables are refused."""

from __future__ import annotations

import ast
import re
from importlib import resources
from pathlib import Path

import msgspec
import pytest

from rooflift.brief.check import check_file
from rooflift.brief.stages import parse_stages, rules, stage, stages
from rooflift.brief.vocabulary import refusal
from rooflift.errors import CatalogError
from rooflift.extract.reports import read_reports
from rooflift.runs import find_runs, read_run

CHECKOUT = Path(__file__).parents[2]
RECORDED = [
    folder
    for folder in [*find_runs(CHECKOUT / "reports"), CHECKOUT / "tests" / "fixtures" / "h100_run"]
    if read_run(folder).manifest.counters in ("standard", "full")
]
TEXT = resources.files("rooflift.brief").joinpath("stages.toml").read_text(encoding="utf-8")


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


def _names_in_source() -> set[str]:
    """The texts in the checker's files that could name a rule."""
    files = [path for path in resources.files("rooflift.brief").iterdir() if path.name.endswith(".py")]
    own = {"brief.py", "stages.py"}
    nodes = [node for path in files if path.name not in own for node in ast.walk(ast.parse(path.read_text()))]
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def test_every_rule_of_the_list_is_one_that_the_checker_knows() -> None:
    assert set(rules()) <= _names_in_source()


def test_every_rule_that_the_checker_refuses_by_is_in_the_list() -> None:
    called: set[str] = set()
    for path in resources.files("rooflift.brief").iterdir():
        if not path.name.endswith(".py"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("refuse", "_refuse", "add", "at"):
                first = node.args[0] if node.args else None
                called |= {first.value} if isinstance(first, ast.Constant) and isinstance(first.value, str) else set()
            if isinstance(node, ast.Assign) and any(getattr(t, "id", "") == "rule" for t in node.targets):
                called |= {n.value for n in ast.walk(node.value) if isinstance(n, ast.Constant)} - {"cache"}
    named = {text for text in called if re.fullmatch(r"[a-z]+(_[a-z]+)*", text)}
    named |= {refusal(name) for name in ("threading", "time", "sys", "os", "functools", "torch.relu", "numpy")}
    assert len(named) > 25
    assert named <= set(rules())


@pytest.mark.parametrize("path", sorted((CHECKOUT / "tests/fixtures/replies/bad").glob("*.txt")), ids=lambda p: p.stem)
def test_every_rule_that_a_bad_reply_breaks_is_in_the_list(path: Path) -> None:
    head = dict(re.findall(r"^# (\w+): (\S+)$", path.read_text(), re.MULTILINE))
    family = CHECKOUT / "kernels" / head["family"]
    base = family / head["base"] if "base" in head else None
    found = check_file(path, family / "reference.py", head.get("stage"), base)
    assert found
    assert {finding.rule for finding in found} <= set(rules())


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('name = "grid_size"', 'name = "grid_sizes"', "grid_sizes: no metric of the registry"),
        ('want = "> 60"', 'want = "above 60"', "is not of the form"),
        ('reads = ["sm_pct", "alu_pct"]', 'reads = ["dram_pct"]', "a rule reads dram_pct"),
        ('"grid_changed"', '"grid_moved"', "no rule is called grid_moved"),
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

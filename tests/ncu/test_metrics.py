"""The registry: every metric well formed, the seed's five always there, and no ncu name spelled anywhere else."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from rooflift.ncu.metrics import (
    BY_NAME,
    DEVICE_NAME,
    FLOP_OF_INSTRUCTION,
    METRIC_SETS,
    METRICS,
    SECTIONS,
    STALL_REASONS,
    TRACED,
    Metric,
    ncu_names,
)

SEED = [
    "sm__throughput.avg.pct_of_peak_sustained_elapsed",
    "dram__throughput.avg.pct_of_peak_sustained_elapsed",
    "lts__t_sector_hit_rate.pct",
    "sm__warps_active.avg.pct_of_peak_sustained_active",
    "launch__grid_size",
]
NCU_NAME = re.compile(r"[a-z][a-z0-9]*__[a-z0-9_]+(?:\.[a-z_]+)*")
SPELLED = re.compile(
    r"\b(?:device|dram|fbpa|gpc|gpu|idc|l1tex|launch|lrc|lts|ltc|profiler|sass|sm|smsp|sys|tpc)__\w+|\w+__throughput"
)
EVERY_METRIC = pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)


def test_short_names_are_unique() -> None:
    assert [name for name, count in Counter(metric.name for metric in METRICS).items() if count > 1] == []
    assert list(BY_NAME) == [metric.name for metric in METRICS]


def test_no_ncu_name_supplies_two_metrics() -> None:
    names = Counter(ncu_name for metric in METRICS for ncu_name in metric.ncu)
    assert [name for name, count in names.items() if count > 1] == []


@EVERY_METRIC
def test_metric_is_well_formed(metric: Metric) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]*", metric.name)
    assert metric.ncu
    assert all(NCU_NAME.fullmatch(ncu_name) for ncu_name in metric.ncu)
    assert metric.meaning
    assert metric.meaning == metric.meaning.strip()
    assert metric.combine in {"sum", "mean", "max"}
    assert not metric.bottleneck or metric.unit == "%", "a bottleneck is known by the share of its peak"


def test_labels_are_unique() -> None:
    assert [label for label, count in Counter(metric.label for metric in METRICS).items() if count > 1] == []


@EVERY_METRIC
def test_unit_and_way_to_combine_agree_with_the_name(metric: Metric) -> None:
    if metric.name.endswith("_pct"):
        assert (metric.unit, metric.combine) == ("%", "mean")  # a share is never added up
    if any(ncu_name.endswith(".sum") for ncu_name in metric.ncu):
        assert metric.combine == "sum"
    if any(ncu_name.startswith("launch__") for ncu_name in metric.ncu):
        assert metric.combine == "max"


def test_seed_is_exactly_the_five_metrics_of_the_seed() -> None:
    assert ncu_names("basic") == SEED


@pytest.mark.parametrize("counters", METRIC_SETS)
def test_the_five_of_the_seed_are_in_every_set(counters: str) -> None:
    assert set(SEED) <= set(ncu_names(counters))


@pytest.mark.parametrize("counters", ["standard", "full"])
def test_larger_sets_ask_for_the_preferred_name_of_every_metric(counters: str) -> None:
    assert ncu_names(counters) == [metric.ncu[0] for metric in METRICS if metric.asked]


def test_stall_reasons_are_metrics() -> None:
    stalls = [metric for metric in METRICS if metric.name.startswith("stall_")]
    assert [metric.name for metric in stalls] == [f"stall_{reason}" for reason in STALL_REASONS]
    for metric, (reason, meaning) in zip(stalls, STALL_REASONS.items(), strict=True):
        assert f"_stalled_{reason}_per_" in metric.ncu[0]
        assert metric.meaning == meaning


def test_flop_are_counted_from_metrics_that_are_collected() -> None:
    assert set(FLOP_OF_INSTRUCTION) <= set(BY_NAME)
    for name, flop in FLOP_OF_INSTRUCTION.items():
        assert flop == (2 if name.endswith("fma") else 1), name


def test_sections_are_well_formed_and_unique() -> None:
    assert all(re.fullmatch(r"[A-Z][A-Za-z0-9]+(?:_[A-Z][A-Za-z0-9]+)*", section) for section in SECTIONS)
    assert len(set(SECTIONS)) == len(SECTIONS)


def texts_of(path: Path) -> str:
    """What people wrote in a file: of a notebook its cells, not its outputs."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    return "\n".join(line for cell in json.loads(text)["cells"] for line in cell["source"])


def test_pattern_finds_every_name_of_the_registry() -> None:
    """Else the next test could not fail."""
    for ncu_name in {DEVICE_NAME, *(name for metric in METRICS for name in metric.ncu)} - {TRACED}:
        assert SPELLED.search(ncu_name), ncu_name
    assert not SPELLED.search("if __name__ == '__main__': return self.__class__, machine.__struct_fields__")


def test_no_other_file_spells_an_ncu_metric(checkout: Path) -> None:
    found = []
    for folder in ("profiling", "notebooks", "scripts", "benchmarks"):
        for path in (checkout / folder).rglob("*"):
            hidden = any(part.startswith((".", "__pycache__")) for part in path.relative_to(checkout).parts)
            if path.is_file() and not hidden and path.name not in ("metrics.py", "metric.py"):
                found += [f"{path.relative_to(checkout)}: {name}" for name in SPELLED.findall(texts_of(path))]
    assert found == []

"""What loops learn and tell each other: classes of operators, lessons, a worked example, prompts of bounded length."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from rooflift.analysis.selection import figures, select
from rooflift.errors import RunFault
from rooflift.optimize.classes import class_of, classes
from rooflift.optimize.example import MOST_LINES, example_text
from rooflift.optimize.lessons import MOST, Lesson, add_lesson, lessons_text, read_lessons
from rooflift.optimize.written import within
from rooflift.project.gpus import spec_for_key
from rooflift.project.operator import load_operator, operator_names
from rooflift.runs.find import newest_run


def lesson(title: str, time_x: float, operator_class: str = "scan", gpu: str = "H100") -> Lesson:
    return Lesson(
        operator_class=operator_class,
        gpu=gpu,
        operator="cumsum",
        stage="memory",
        title=title,
        kept=time_x < 1,
        time_x=time_x,
        metrics={"dram_bytes": (2e9, 1e9)},
    )


@pytest.mark.parametrize(
    ("operator", "found"),
    [
        ("attention", "attention"),
        ("cumsum", "scan"),
        ("depthwise_conv2d", "convolution"),
        ("matmul", "matmul"),
        ("softmax", "normalisation"),
        ("rms_norm", "normalisation"),
        ("topk", "reduction"),
    ],
)
def test_the_class_of_an_operator_comes_from_its_reference(operator: str, found: str, checkout: Path) -> None:
    assert class_of(checkout / "kernels" / operator / "reference.py") == found


def test_a_product_with_what_follows_it_is_fused_and_plain_arithmetic_elementwise(tmp_path: Path) -> None:
    reference = tmp_path / "reference.py"
    head = "import torch\nclass Model(torch.nn.Module):\n    def forward(self, a, b):\n        return "
    reference.write_text(head + "torch.relu(a @ b)\n")
    assert class_of(reference) == "fused"
    reference.write_text(head + "a * b + 1\n")
    assert class_of(reference) == "elementwise"


@pytest.mark.parametrize(
    "source", ["nn.Sequential(nn.Linear(4, 4), nn.ReLU())", "[nn.Linear(4, 4), nn.Conv2d(1, 1, 1), nn.Linear(4, 4)]"]
)
def test_several_layers_are_a_network(source: str, tmp_path: Path) -> None:
    reference = tmp_path / "reference.py"
    reference.write_text(
        f"import torch.nn as nn\nclass Model(nn.Module):\n    def __init__(self):\n        self.all = {source}\n"
    )
    assert class_of(reference) == "network"


def test_the_thresholds_of_a_class_are_reached_by_a_recorded_run(checkout: Path) -> None:
    reached: dict[str, list[dict[str, float]]] = {}
    for name in operator_names(checkout):
        with suppress(RunFault):
            run = newest_run(checkout / "reports", name, gpu="H100", with_metrics=True)
            about, rows = select(run), figures(run).dropna(subset=["dram_pct"])
            rows = rows[(rows["case"] == about.case) & (rows["dtype"] == about.dtype)]
            of_class = class_of(checkout / "kernels" / name.partition("/")[0] / "reference.py")
            reached.setdefault(of_class, []).append(rows.loc[rows["time_us"].idxmin()].to_dict())
    for name, one in classes().items():
        for wanted in one.metrics:
            if wanted.threshold:
                assert any(wanted.threshold.holds(float(row[wanted.name])) for row in reached[name]), (name, wanted)


def test_lessons_of_the_class_and_gpu_are_told_the_largest_first(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lessons.jsonl"
    own = [lesson(f"step {n}", 1 - n / 100) for n in range(MOST + 2)]
    for one in [
        *own,
        lesson("elsewhere", 0.1, gpu="A100"),
        lesson("another class", 0.1, "matmul"),
        lesson("slower", 3.0),
    ]:
        add_lesson(path, one)
    with path.open("ab") as file:
        file.write(b'{"operator_class": "scan", "gp')  # a process was killed here
    told = lessons_text(read_lessons(path), "scan", "H100")
    lines = [line for line in told.splitlines() if line.startswith("- ")]
    assert lines[0] == "- cumsum, memory: slower: 3.000x the time (dram_bytes 2e+09 to 1e+09)"
    assert lines[1].startswith(f"- cumsum, memory: step {MOST + 1}: ")
    assert lines[-1] == "- 3 lessons with smaller changes are left out"
    assert "elsewhere" not in told
    assert "another class" not in told
    assert lessons_text([], "scan", "H100") == ""


def test_the_worked_example_is_a_measured_step_of_another_operator_of_the_class(checkout: Path) -> None:
    spec = spec_for_key("h100")
    assert spec is not None
    told = example_text(checkout, load_operator(checkout, "softmax"), spec)
    assert "also a normalisation operator" in told
    assert "Worked example: softmax" not in told
    assert "x the time on NVIDIA H100" in told
    assert len(told.splitlines()) < MOST_LINES + 12


def test_a_prompt_names_what_it_leaves_out() -> None:
    parts = {"earlier iterations": "a" * 50, "lessons": "b" * 100, "the worked example": "c" * 10}
    told = within("prompt ", parts, most=80)
    assert told.startswith("prompt " + "a" * 50 + "c" * 10)
    assert told.endswith("Left out, as the prompt would be too long: lessons.\n")

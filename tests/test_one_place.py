"""docs/contributing.md names one place for each change: its examples, added to a copy of the project, suffice."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
GUIDE = (CHECKOUT / "docs" / "contributing.md").read_text(encoding="utf-8")
RUN = CHECKOUT / "tests" / "fixtures" / "h100_run"
PACKAGE = "profiling/rooflift"
Run = Callable[..., str]


def example(change: str) -> str:
    """The code below the heading of a change."""
    section = GUIDE.split(f"\n## {change}\n")[1].split("\n## ")[0]
    (code,) = re.findall(r"```\w+\n(.*?)```", section, flags=re.DOTALL)
    return code


def insert(path: Path, behind: str, text: str) -> None:
    """Add a text behind a line of a file."""
    before = path.read_text(encoding="utf-8")
    assert before.count(behind) == 1
    path.write_text(before.replace(behind, behind + text), encoding="utf-8")


def append(path: Path, text: str) -> None:
    path.write_text(f"{path.read_text(encoding='utf-8')}\n{text}", encoding="utf-8")


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with one more of each."""
    copy = tmp_path_factory.mktemp("copy")
    shutil.copytree(CHECKOUT / "profiling", copy / "profiling", ignore=shutil.ignore_patterns("__pycache__"))
    for operator in ("depthwise_conv2d", "rms_norm"):
        shutil.copytree(CHECKOUT / "kernels" / operator, copy / "kernels" / operator)
    insert(
        copy / PACKAGE / "ncu" / "metrics.py", "METRICS: tuple[Metric, ...] = (\n", f"{example('Metric').strip()},\n"
    )
    append(copy / PACKAGE / "project" / "stages.toml", example("Stage"))
    append(copy / PACKAGE / "project" / "gpus.toml", example("GPU"))
    insert(copy / PACKAGE / "dtypes.py", "    for row in (\n", f"        {example('Dtype').strip()},\n")
    options = "class MeasureOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):\n"
    insert(copy / PACKAGE / "schema.py", options, f"    {example('Option')}")
    shutil.copytree(copy / "kernels" / "rms_norm", copy / "kernels" / "example")
    (copy / "kernels" / "example" / "cases.toml").write_text(example("Operator"))
    (copy / PACKAGE / "cli" / "hello.py").write_text(example("Command"))
    line = '    "hello": Entry("Read", "hello:hello", "Greet."),\n'
    insert(copy / PACKAGE / "cli" / "commands.py", "COMMANDS = {\n", line)
    return copy


@pytest.fixture
def rooflift(changed: Path) -> Run:
    """Return a function that runs the copy."""

    def run(*words: str | Path, module: bool = True) -> str:
        start = [sys.executable, *(["-m", "rooflift"] if module else ["-c"])]
        environment = os.environ | {"PYTHONPATH": str(changed / "profiling")}
        done = subprocess.run(
            [*start, *map(str, words)], cwd=changed, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_the_table_and_the_examples_name_the_same_changes() -> None:
    rows = re.findall(r"^\| (\w[\w ]*) \| ", GUIDE, flags=re.MULTILINE)[1:]
    assert [row.lower() for row in rows] == [
        text.lower() for text in re.findall(r"^## (.*)", GUIDE, flags=re.MULTILINE)
    ]


def test_a_metric_is_asked_of_ncu_and_shown(rooflift: Run) -> None:
    names = rooflift("from rooflift.ncu.metrics import ncu_names; print(ncu_names('standard'))", module=False)
    assert "lts__t_bytes_op_read.sum" in names
    assert "l2_read_bytes" in json.loads(rooflift("show", RUN, "--json"))["summary"][0]
    assert "L2 Read" in rooflift("show", RUN)


def test_a_stage_is_advised_and_prompted(rooflift: Run) -> None:
    assert "Stage fusion" in rooflift("advise", RUN)
    words = ("depthwise_conv2d", "v1", "--stage", "fusion", "--gpu", "h100_sxm", "--run", RUN)
    assert "Compute what follows before the output is stored." in rooflift("prompt", *words)


def test_a_gpu_is_a_target_of_estimates(rooflift: Run) -> None:
    assert "estimated to NVIDIA Example" in rooflift("estimate", RUN, "--to", "example")


def test_an_operator_is_shown_with_its_versions_and_cases(rooflift: Run) -> None:
    (example_,) = (one for one in json.loads(rooflift("show", "--json")) if one["operator"] == "example")
    assert [version["version"] for version in example_["versions"]] == ["v0_baseline"]
    assert example_["cases"] == {"main": ["bench"], "small": ["test"]}


def test_a_dtype_is_one_of_the_cases_and_of_the_command_line(rooflift: Run) -> None:
    cases = (
        "from rooflift.project.operator import load_operator; print(load_operator({}, 'example').cases['small'].dtypes)"
    )
    assert "'float8_e4m3fnuz'" in rooflift(f"from pathlib import Path; {cases.format('Path()')}", module=False)
    assert "float8_e4m3fnuz" in rooflift("profile", "--help")


def test_an_option_travels_to_the_child_and_runs_without_it_are_read(rooflift: Run) -> None:
    plan = "Plan(work=[], options=MeasureOptions(warm_up=9))"
    imports = "import msgspec; from rooflift.worker.protocol import Plan; from rooflift.schema import MeasureOptions"
    told = json.loads(rooflift(f"{imports}; print(msgspec.json.encode({plan}).decode())", module=False))
    assert told["options"]["warm_up"] == 9
    assert "v1_grid" in rooflift("show", RUN)


def test_a_command_stands_in_the_help_and_runs(rooflift: Run) -> None:
    assert re.search(r"hello +Greet\.", rooflift("--help"))
    assert rooflift("hello") == "hello\n"


def test_the_page_of_the_metrics_is_what_the_registry_says() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/metrics.py", "--check"],
        cwd=CHECKOUT,
        env=os.environ | {"PYTHONPATH": "profiling"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr

"""`import rooflift as rl`: names, examples, and what its objects say, on the committed runs; no GPU."""

from __future__ import annotations

import ast
import doctest
import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import rooflift as rl
from rooflift import pipeline
from rooflift.api.contents import Contents
from rooflift.api.operators import Operator
from rooflift.api.runs import Runs
from rooflift.api.shown import html_table, texts
from rooflift.errors import CatalogError, NoGpu, NoRun, RunFault
from rooflift.measure import environment
from rooflift.measure.request import Request

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "python-api.md"
HEAVY = {"pandas", "numpy", "matplotlib", "torch", "triton", "msgspec", "jinja2", "rich", "typer", "pyarrow"}


@pytest.fixture(autouse=True)
def _in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


SLOW = {"Run.report"}  # examples that draw every figure


def examples() -> list[doctest.DocTest]:
    finder = doctest.DocTestFinder()
    named = {name: getattr(rl, name) for name in rl.__all__}
    objects = {"Run": Contents, "Runs": Runs, "Operator": Operator}  # what the functions return, and Run's own base
    found = [
        test
        for name, one in [*named.items(), *objects.items()]
        for test in finder.find(one, name, module=False, globs={})
    ]
    return [test for test in found if test.examples]


def test_importing_the_package_loads_nothing_else() -> None:
    code = (
        f"import sys, rooflift; print(sorted({HEAVY} & {{*sys.modules}}), [m for m in sys.modules if 'rooflift.' in m])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[] []\n"


def test_type_checkers_see_the_names_that_python_loads() -> None:
    tree = ast.parse((ROOT / "profiling/rooflift/__init__.py").read_text(encoding="utf-8"))
    [checked] = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    named = {a.name: node.module for node in checked.body if isinstance(node, ast.ImportFrom) for a in node.names}
    assert {name: getattr(rl, name).__module__ for name in named} == named
    assert sorted(named) == sorted(rl.__all__)
    assert (ROOT / "profiling/rooflift/py.typed").exists()


def test_packages_do_not_hide_the_functions_of_the_same_name() -> None:
    code = "import rooflift as rl, rooflift.runs.find, rooflift.lint.lint, rooflift.compile.occupancy\n"
    code += "print(rl.runs.__name__, rl.lint.__name__, rl.compile.__name__, callable(rl.runs))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "runs lint compile True\n"


def test_an_unknown_name_is_an_attribute_error_and_dir_lists_the_names() -> None:
    with pytest.raises(AttributeError, match="'rooflift' has no attribute 'lastest'"):
        _ = rl.lastest  # type: ignore[attr-defined]
    assert dir(rl) == sorted([*rl.__all__, "__version__"])


@pytest.mark.parametrize("name", rl.__all__)
def test_every_name_says_what_it_does(name: str) -> None:
    found = getattr(rl, name)
    assert inspect.getdoc(found)
    if inspect.isfunction(found):
        assert "import rooflift as rl" in str(found.__doc__)
        assert "Raises:" in str(found.__doc__)


@pytest.mark.parametrize(
    "example",
    [pytest.param(e, id=e.name, marks=[pytest.mark.slow] if e.name in SLOW else []) for e in examples()],
)
def test_examples_of_the_docstrings_run(example: doctest.DocTest) -> None:
    said: list[str] = []
    failed, _ = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=said.append)
    assert not failed, "".join(said)


@pytest.mark.slow
def test_the_page_of_the_api_runs_and_has_every_name() -> None:
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    quick = [block for block in blocks if not block.startswith(("# needs a GPU", "# takes a while"))]
    assert len(blocks) - len(quick) == 8
    exec("".join(quick), {})
    assert {f"rl.{name}" for name in rl.__all__} <= {*re.findall(r"rl\.\w+", text)}


def test_runs_are_a_sequence_and_a_table() -> None:
    runs = rl.runs("depthwise_conv2d", gpu="H200")
    assert len(runs) == len(runs.table()) > 1
    assert [run.manifest.created for run in runs] == sorted(run.manifest.created for run in runs)
    assert all("H200" in run.gpu for run in runs)
    assert runs[-1:].table()["run"].tolist() == [runs[-1].name]
    assert runs[-1].name in runs._repr_html_()


def test_runs_can_be_asked_for_by_what_they_hold() -> None:
    runs = rl.runs("depthwise_conv2d", gpu="H100", metrics=True, versions=["v0", "v7"], cases=["main/float32"])
    assert runs
    for run in runs:
        assert {"v0_baseline", "v7_sectors"} <= {*run.versions}
        assert not run.summary("main", "float32")["dram_pct"].isna().all()
    assert all(run.manifest.suite for run in rl.runs(suite=True))


def test_a_run_that_cannot_be_read_is_listed_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "kernels").mkdir()
    broken = tmp_path / "reports" / "some" / "2026-01-01-h100-abc"
    broken.mkdir(parents=True)
    (broken / "run.json").write_text("{", encoding="utf-8")
    runs = rl.runs(root=tmp_path)
    assert len(runs) == 0
    [row] = runs.table().to_dict("records")
    assert (row["run"], row["operator"]) == (broken.name, "some")
    assert "run.json" in row["error"]
    assert broken.name in runs._repr_html_()


def test_a_run_folder_opens_where_no_project_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = rl.latest("rms_norm")
    shutil.copytree(run.folder, tmp_path / "copied")
    monkeypatch.chdir(tmp_path)
    assert rl.open("copied").summary().equals(run.summary())
    with pytest.raises(CatalogError, match="no project here or above"):
        rl.open(run.name)
    with pytest.raises(CatalogError, match="no project here or above"):
        rl.latest("rms_norm")


def test_latest_finds_a_run_by_what_it_holds() -> None:
    run = rl.latest(
        "depthwise_conv2d", gpu="H100", metrics=True, versions=["v10", "v11_tensor"], cases=["k7_56/float16"]
    )
    counted = run.metrics[(run.metrics["case"] == "k7_56") & (run.metrics["dtype"] == "float16")]
    assert {"v10_shapes", "v11_tensor"} <= {*counted["version"]}
    with pytest.raises(RunFault, match="no run with v99 with metrics of k7_56 on H100"):
        rl.latest("depthwise_conv2d", gpu="H100", metrics=True, versions=["v99"], cases=["k7_56"])


def test_a_summary_can_be_cut_to_a_case_and_a_dtype() -> None:
    run = rl.latest("depthwise_conv2d", suite=True)
    case = run.manifest.cases[0].case
    assert set(run.summary(case)["case"]) == {case}
    assert set(run.summary(case, "float16")["dtype"]) == {"float16"}
    assert set(run.summary(dtype="float16")["dtype"]) == {"float16"}
    assert len(run.summary()) == len(run.manifest.cases) * len(run.versions)
    with pytest.raises(CatalogError, match="no case 'nothing'"):
        run.summary("nothing")


def test_figures_are_those_that_the_run_has_values_for() -> None:
    assert [*rl.latest("rms_norm").figures] == ["progress", "roofline", "bottleneck", "stalls"]


def test_objects_show_themselves_as_pictures_and_tables() -> None:
    run = rl.latest("depthwise_conv2d", gpu="H100", suite=True)
    first, last = run.versions[0], run.versions[-1]
    report = rl.launches(rl.latest("rms_norm").reports[0])
    for shown in (run, run.compare(first, last), run.advice(first), rl.operator("rms_norm"), report):
        assert "<table" in shown._repr_html_()
        assert len(repr(shown)) < 200
    assert rl.latest("rms_norm").roofline()._repr_png_().startswith(b"\x89PNG")
    assert "geometric mean" in run.suite().text


def test_a_comparison_of_two_gpus_gives_no_verdict_and_says_why() -> None:
    here, there = (rl.latest("depthwise_conv2d", gpu=gpu, metrics=True) for gpu in ("H100", "H200"))
    found = here.compare("v10", "v10", other=there)
    assert found.verdict == "not comparable"
    assert "GPU NVIDIA H100 80GB HBM3 and NVIDIA H200" in found.table()["reason"].iloc[0]
    assert "not comparable" in found.text
    forced = here.compare("v10", "v10", other=there, force=True)
    assert forced.table()["time_x"].notna().all()
    assert forced.verdict == "not comparable"


def test_an_imported_run_has_metrics_and_no_times() -> None:
    run = rl.open("rtx4090-record")
    assert run.summary()["time_us"].isna().all()
    assert "dram_pct" in run._repr_html_()
    assert run.advice().bottleneck == "DRAM"
    for view in (run.roofline, run.progress, run.suite):
        with pytest.raises(RunFault, match="was imported"):
            view()


def test_a_report_is_never_written_over_a_run() -> None:
    run = rl.latest("rms_norm")
    with pytest.raises(RunFault, match="is a run"):
        run.report(run.folder)


def test_a_gate_judges_a_version_against_the_one_before_it_or_against_another_run() -> None:
    run = rl.latest("depthwise_conv2d", gpu="H100", versions=["v6", "v7"])
    fast, slow = run.gate("v7", max_slowdown="2%", cases=["main"]), run.gate("v6", base="v7", max_slowdown=0.02)
    assert (fast.passed, fast.exit_code) == (True, 0)
    assert (slow.passed, slow.exit_code) == (False, 1)
    assert set(slow.table()["status"]) == {"broken"}
    assert run.gate("v7").exit_code == 2  # without a rule nothing passes
    with pytest.raises(CatalogError, match="'much' is no share"):
        run.gate("v7", max_slowdown="much")


def test_a_version_is_not_compared_with_itself() -> None:
    run = rl.latest("rms_norm")
    with pytest.raises(CatalogError, match="on both sides"):
        run.compare("v0", "v0", other=rl.open(run.folder))


def test_an_operator_without_a_run_is_told_from_one_that_is_unknown(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "kernels/rms_norm", tmp_path / "kernels/rms_norm")
    assert len(rl.runs("rms_norm", root=tmp_path)) == 0
    for find in (rl.latest, rl.open):
        with pytest.raises(NoRun, match="rms_norm has no run yet"):
            find("rms_norm", root=tmp_path)
    with pytest.raises(CatalogError, match=r"no operator 'rms'.*\nDid you mean rms_norm"):
        rl.latest("rms", root=tmp_path)
    with pytest.raises(RunFault, match="rms: no such run"):
        rl.runs("rms", root=tmp_path)


def test_revisions_are_not_measured_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise NoGpu("no GPU is here", "Go where one is.")

    monkeypatch.setattr(environment, "driver", absent)
    with pytest.raises(NoGpu):
        rl.operator("rms_norm").compare("HEAD..")
    assert {finding.status for finding in rl.doctor().findings if finding.name == "gpu"} == {"problem"}


def test_a_run_of_one_case_has_no_suite() -> None:
    with pytest.raises(RunFault, match=r"it timed one case\nTake a run of the suite"):
        rl.latest("rms_norm").suite()


def test_estimates_stand_beside_what_was_measured_on_the_target() -> None:
    here, there = (rl.latest("depthwise_conv2d", gpu=gpu, metrics=True) for gpu in ("H100", "H200"))
    found = rl.estimate(here, "h200", versions=["v0", "v1"])
    assert found.table()["version"].tolist() == ["v0_baseline", "v1_grid"]
    assert found.against(there)["error_pct"].abs().max() < 10
    assert "v1_grid" in found._repr_html_()


def test_lint_names_the_rule_and_the_line(tmp_path: Path) -> None:
    text = (ROOT / "kernels/rms_norm/v0_baseline.py").read_text(encoding="utf-8")
    (tmp_path / "v1_bad.py").write_text(
        text.replace("import torch\n", "import torch\nimport os\n", 1), encoding="utf-8"
    )
    found = rl.lint(tmp_path / "v1_bad.py", "rms_norm")
    assert not found.accepted
    assert {"rule", "line", "what", "remedy"} <= {*found.table().columns}
    assert "v1_bad.py: " in repr(found)


def test_profile_without_a_gpu_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise NoGpu("no GPU is here", "Go where one is.")

    monkeypatch.setattr(environment, "driver", absent)
    with pytest.raises(NoGpu, match="Go where one is"):
        rl.profile("rms_norm")


def test_profile_records_the_command_that_asks_for_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Request] = []

    def stop(request: Request, *_: object) -> None:
        seen.append(request)
        raise NoGpu("no GPU is here", "Go where one is.")

    monkeypatch.setattr(pipeline, "profile", stop)
    with pytest.raises(NoGpu):
        rl.profile("rms_norm", versions=["v0"], dtypes=["float16"], metrics="basic", suite=True, precision=0.005)
    [request] = seen
    words = "rooflift profile rms_norm --version v0 --dtype float16 --suite --metrics basic --precision 0.5%"
    assert request.command == words.split()
    assert (request.suite, request.options.precision, request.options.slow_baselines) == (True, 0.005, True)
    with pytest.raises(CatalogError, match="no metric set 'standart'"):
        rl.profile("rms_norm", metrics="standart")
    with pytest.raises(CatalogError, match="no dtype 'float61'"):
        rl.profile("rms_norm", dtypes=["float61"])


def test_times_of_ones_own_are_compared_row_by_row() -> None:
    base = np.random.default_rng(1).normal(100, 0.5, (3, 50))
    found = rl.compare_times(base, base * [[1.0], [1.1], [0.9]], paired=True)
    assert found["verdict"].tolist() == ["within noise", "slower", "faster"]
    alone = rl.compare_times(base[1], 1.1 * base[1], paired=True, corrected=False)
    assert alone["time_x"][0] == pytest.approx(1.1)
    assert alone["p"][0] <= found["p"][1]
    with pytest.raises(ValueError, match="must fit"):
        rl.compare_times(base, base[:, :40], paired=True)


def test_what_a_table_shows_is_escaped_and_a_missing_value_is_a_dash() -> None:
    text = html_table(texts(pd.DataFrame({"version": ["<script>", None]}), ["version"]), "a <b>")
    assert "<script>" not in text
    assert "a &lt;b&gt;" in text
    assert "&lt;script&gt;</td>" in text
    assert text.count(">-</td>") == 1

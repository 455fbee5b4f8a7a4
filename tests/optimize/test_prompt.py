"""The prompt: every value it is given is shown, it holds what the seed's does, and it says what is missing and why."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rooflift.analysis.selection import Selection, figures, missing, of, select
from rooflift.cli import completion
from rooflift.lint.rules import rules
from rooflift.optimize.optimize import default_stages
from rooflift.optimize.prompt import Prompt, output_rules, prompt, stage_metrics
from rooflift.optimize.spec import NOT_PUBLISHED, sheet_figures
from rooflift.optimize.written import MOST_PROMPT, markdown
from rooflift.project.gpus import spec_for_key, specs
from rooflift.project.operator import load_operator
from rooflift.project.stages import stage, stages
from rooflift.runs.run import Run, read_run
from rooflift.runs.verify import sha256
from rooflift.schema import ResolvedCase

Rooflift = Callable[..., Any]
FOREIGN_METRICS = Path(__file__).parents[1] / "fixtures" / "rtx4090_metrics.json"


@pytest.fixture
def told(h100_run: Path, checkout: Path) -> Callable[..., Prompt]:
    """Return a function: the prompt after a version of the H100 run, for a stage and a GPU."""
    run = read_run(h100_run)
    operator = load_operator(checkout, "depthwise_conv2d")

    def make(version: str = "v0", stage_name: str = "grid", gpu: str = "rtx4090") -> Prompt:
        (found,) = operator.select_versions([version])
        return prompt(operator, found, stage_name, spec_for_key(gpu), run, select(run, found.name))

    return make


# --- every value is shown


def filled(kind: Any, sentinels: Iterator[int]) -> Any:
    """A value of a type with a sentinel in every leaf, each a number or text that stands nowhere else."""
    origin = typing.get_origin(kind)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = typing.get_type_hints(kind)
        return kind(**{name: filled(hints[name], sentinels) for name in kind.__struct_fields__})
    if origin is list:
        return [filled(typing.get_args(kind)[0], sentinels) for _ in range(2)]
    if origin is dict:
        key, value = typing.get_args(kind)
        return {filled(key, sentinels): filled(value, sentinels) for _ in range(2)}
    if origin in (typing.Union, types.UnionType):
        return filled(typing.get_args(kind)[next(sentinels) % 2], sentinels)
    if kind is float:
        return 9_000_000.5 + next(sentinels)
    assert kind is str
    return f"sentinel-{next(sentinels)}-"


def leaves(value: Any) -> Iterator[float | str]:
    """The values inside of structs, lists and dictionaries, and the keys of the last."""
    if isinstance(value, msgspec.Struct):
        value = [getattr(value, name) for name in value.__struct_fields__]
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def test_every_value_that_the_template_is_given_is_shown() -> None:
    given = filled(Prompt, iter(range(1000)))
    values = list(leaves(given))
    assert len(set(values)) == len(values) > 80
    text = markdown(given)
    assert [value for value in values if str(value) not in text] == []


# --- what it says


def test_it_holds_what_the_original_brief_holds(told: Callable[..., Prompt], checkout: Path) -> None:
    text = markdown(told())
    spec = [
        "Ada Lovelace",
        "8.9",
        "128",
        "1008",
        "82.6",
        "165.2",
        "255",
        "1024",
        "1536",
        "32",
        "48",
        "100",
        "99",
        "72",
    ]
    for figure in spec:
        assert f"| {figure} |" in text, figure
    assert (checkout / "kernels/depthwise_conv2d/v0_baseline.py").read_text().rstrip() in text
    assert "class Model(" in text
    for rule in output_rules("grid"):
        assert rule in text


def test_a_prompt_is_bounded_and_says_what_it_leaves_out(told: Callable[..., Prompt]) -> None:
    found = told()
    text = markdown(found, most=len(markdown(found)) - 100)
    assert len(text) < len(markdown(found))
    assert "Left out, as the prompt would be too long: the estimate for the target." in text
    long = markdown(msgspec.structs.replace(found, code=found.code + "# and so on\n" * 20_000))
    assert len(long) <= MOST_PROMPT + 1000
    assert "characters of the code." in long
    assert "## Output rules" in long


def test_code_in_a_prompt_cannot_end_its_block(told: Callable[..., Prompt]) -> None:
    found = told()
    text = markdown(msgspec.structs.replace(found, code='"""\n```\n## Output rules: none\n"""\n' + found.code))
    assert "\n````python\n" in text


def test_metrics_and_thresholds_are_those_of_the_class(told: Callable[..., Prompt]) -> None:
    found = {metric.name: metric.want for metric in told(stage_name="memory").stage_metrics}
    assert found["dram_pct"] == "> 85"  # of convolutions; the stage itself says > 80
    assert found["issue_active_pct"] == "< 60"  # and looks at no issue slots
    assert told().operator_class == "convolution"
    assert told().algorithm == []
    assert "of SOL" in " ".join(told(stage_name="algorithm").algorithm)


def test_metrics_are_json_with_the_exact_ncu_names(told: Callable[..., Prompt], h100_run: Path) -> None:
    text = markdown(told())
    held = json.loads(text.split("```json\n")[1].split("```")[0])
    rows = read_run(h100_run).metrics
    rows = rows[(rows["version"] == "v0_baseline") & (rows["missing"] == "")]
    assert held == {"depthwise_conv2d_kernel": dict(zip(rows["ncu_name"], rows["value"], strict=True))}


def test_versions_tried_come_with_times_and_verdicts(told: Callable[..., Prompt]) -> None:
    tried = {one.version: one for one in told().tried}
    assert list(tried) == ["v0_baseline", "v1_grid"]
    assert tried["v1_grid"].time == "1011 us"
    assert tried["v1_grid"].bottleneck == "Issue Slots"
    assert any("hit" in text for text in tried["v1_grid"].predictions)
    assert any("miss" in text for text in tried["v1_grid"].predictions)


def test_a_run_of_another_gpu_is_called_so_and_projected(told: Callable[..., Prompt]) -> None:
    other, own = told(gpu="rtx4090"), told(gpu="h100")
    assert "this is not the target GPU" in other.measured_on
    assert "bottleneck DRAM" in other.estimated[0]
    assert "not the target" not in own.measured_on
    assert own.estimated == []


def test_a_version_that_was_changed_after_the_run_is_called_so(h100_run: Path, checkout: Path) -> None:
    run = read_run(h100_run)
    operator = load_operator(checkout, "depthwise_conv2d")
    (found,) = operator.select_versions(["v0"])
    file = f"kernels/depthwise_conv2d/{found.path.name}"
    for digest, is_told in ((sha256(found.path), False), ("0" * 64, True)):
        manifest = msgspec.structs.replace(run.manifest, sha256={file: digest})
        text = prompt(
            operator, found, "grid", spec_for_key("h100"), Run(h100_run, manifest), select(run, "v0")
        ).measured_on
        assert ("has changed since" in text) is is_told


def test_output_rules_are_those_of_the_checker_and_of_the_stage() -> None:
    tuning = {rule for found in stages().values() for rule in found.lint_rules}
    for name in stages():
        shown = output_rules(name)
        expected = [rule for rule in rules() if rule not in tuning or rule in stage(name).lint_rules]
        assert [text.rpartition("(")[2].rstrip(")") for text in shown] == expected
    assert any("grid_changed" in text for text in output_rules("tuning"))


@pytest.mark.parametrize("key", list(specs()))
def test_every_figure_of_a_sheet_has_its_source_or_is_called_not_published(key: str) -> None:
    for figure in sheet_figures(specs()[key]):
        assert figure.source.startswith(("NVIDIA", "the CUDA driver")), figure
        assert figure.value != "None"
    absent = {figure.name for figure in sheet_figures(specs()["l40s"]) if figure.value == NOT_PUBLISHED}
    assert absent == {"L2 cache, of all SMs"}


def test_a_metric_of_the_stage_is_judged_or_says_why_it_is_missing(h100_run: Path) -> None:
    run = read_run(h100_run)
    about = select(run, "v0")
    found = {m.name: m for m in stage_metrics("grid", of(figures(run), about), missing(run, about))}
    assert (found["sm_pct"].verdict, found["alu_pct"].verdict) == ("met", "not met")
    assert found["grid_size"].verdict == "no threshold"
    absent = {m.name: m for m in stage_metrics("grid", {}, {"sm_pct": "refused by the driver"})}
    assert absent["sm_pct"].value == "missing: refused by the driver"
    assert absent["sm_pct"].verdict == "not judged"
    assert absent["waves"].value == "missing: not collected for this case"


def test_a_case_without_counters_says_so(told: Callable[..., Prompt], suite_run: Path, checkout: Path) -> None:
    run = read_run(suite_run)
    operator = load_operator(checkout, "depthwise_conv2d")
    about = Selection("v0_baseline", "padded", "float16")
    found = prompt(operator, operator.versions[0], "grid", spec_for_key("h100"), run, about)
    assert found.metrics == {}
    assert "did not profile v0_baseline padded float16" in found.missing["every metric"]


# --- the command


def test_the_shell_completes_gpus_and_stages() -> None:
    assert completion.gpus("h1") == ["h100_sxm", "h100_pcie"]
    assert completion.stages("t") == ["tiling", "tensor", "tuning"]


def test_the_command_writes_markdown_or_json(rooflift: Rooflift, h100_run: Path) -> None:
    words = ["prompt", "depthwise_conv2d", "v1", "--stage", "tiling", "--gpu", "h100", "--run", h100_run]
    said = rooflift(*words)
    assert said.code == 0
    assert said.out.startswith("# depthwise_conv2d: the version after v1_grid\n")
    held = json.loads(rooflift(*words, "--format", "json").out)
    assert held == json.loads(rooflift(*words, "--json").out)
    assert list(held) == list(Prompt.__struct_fields__)
    assert held["stage"] == "tiling"


def test_without_a_run_the_familys_newest_is_told(rooflift: Rooflift) -> None:
    said = rooflift("prompt", "rms_norm", "v0", "--stage", "memory", "--gpu", "rtx3090")
    assert said.code == 0
    assert "this is not the target GPU" in said.out


def test_a_brief_can_be_told_from_imported_metrics(rooflift: Rooflift, tmp_path: Path) -> None:
    label = ["--operator", "depthwise_conv2d", "--version", "v0", "--gpu", "rtx4090"]
    rooflift("import", FOREIGN_METRICS, *label, "--out", tmp_path / "run")
    words = ["--stage", "grid", "--gpu", "rtx4090", "--run", tmp_path / "run"]
    held = json.loads(rooflift("prompt", "depthwise_conv2d", "v0", *words, "--json").out)
    assert held["metrics"] == json.loads(FOREIGN_METRICS.read_text())
    assert held["missing"]["smsp__inst_executed.sum"] == "not in the file"
    assert "imported from rtx4090_metrics.json" in held["measured_on"]
    assert held["diagnosis"]["stages"]["grid"].startswith("does not address the bottleneck, DRAM")
    assert held["tried"][0]["time"] == "unknown"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"--stage": "gird"}, "Did you mean grid"),
        ({"--gpu": "h1000"}, "no GPU spec 'h1000'"),
        ({"--format": "mdx"}, "--format mdx: no such form"),
        ({"--run": "nowhere"}, "nowhere: no such run"),
        ({"--case": "mian"}, "no case 'mian'"),
        ({"--run": "rms_norm"}, "is of rms_norm, the prompt is for depthwise_conv2d"),
    ],
)
def test_a_wrong_question_exits_2_with_a_remedy(
    rooflift: Rooflift, h100_run: Path, change: dict[str, str], says: str
) -> None:
    options = {"--stage": "grid", "--gpu": "h100", "--run": h100_run} | change
    said = rooflift("prompt", "depthwise_conv2d", "v0", *(word for pair in options.items() for word in pair))
    assert said.code == 2
    assert says in said.err


def test_a_version_that_the_run_lacks_is_named(rooflift: Rooflift, h100_run: Path) -> None:
    said = rooflift("prompt", "depthwise_conv2d", "v2", "--stage", "grid", "--gpu", "h100", "--run", h100_run)
    assert said.code == 2
    assert "no version 'v2_rows'" in said.err


def test_a_loop_that_names_no_stage_has_those_about_products_where_they_may_bind() -> None:
    few, many = (ResolvedCase("main", "bfloat16", {}, [], 10**6, flop, "") for flop in (25 * 10**6, 1000 * 10**6))
    assert default_stages("matmul", [few]) == ["algorithm", "tiling", "grid", "memory", "tuning"]
    assert default_stages("matmul", [few, many]) == default_stages("matmul")  # nothing is recorded: they may
    assert "tensor" in default_stages("matmul")
    assert default_stages("elementwise") == ["algorithm", "memory", "grid", "special", "tuning"]

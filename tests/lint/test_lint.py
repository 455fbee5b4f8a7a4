"""The linter on candidates of many kinds: the fixtures, and small changes to a candidate that is right."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from rooflift.errors import CatalogError
from rooflift.lint import lint, vocabulary
from rooflift.lint.candidate import Candidate, CandidateFault, read_candidate
from rooflift.lint.findings import Finding
from rooflift.lint.lint import Asked, check_candidate, errors, lint_file
from rooflift.project.operator import Operator
from rooflift.project.stages import stage as stage_named
from rooflift.sandbox.sandbox import find_sandbox
from rooflift.worker.protocol import Criterion

CHECKOUT = Path(__file__).parents[2]
CANDIDATES = CHECKOUT / "tests" / "fixtures" / "candidates"
REVIEWED = CHECKOUT / "tests" / "fixtures" / "reviewed"
GOOD = [*sorted((CANDIDATES / "good").glob("*.txt")), *sorted((REVIEWED / "good").glob("*.txt"))]
BY_A_RUN = get_args(Criterion)
BAD = sorted((CANDIDATES / "bad").glob("*.txt"))
VERSIONS = sorted((CHECKOUT / "kernels").rglob("v*_*.py"))
RIGHT = CANDIDATES / "good" / "grid_2d.txt"
LAUNCH = "    rms_norm_kernel[grid](x, out, inner, eps, FEATURES=features, BLOCK_SIZE=BLOCK_SIZE)\n"
FORWARD = "        return rms_norm(x, self.eps)\n"


def head_of(path: Path) -> dict[str, str]:
    """What the first lines of a fixture ask; those of a review are of one operator."""
    found = dict(re.findall(r"^# (\w+): (\S+)$", path.read_text(), re.MULTILINE))
    return found if "operator" in found else {"operator": "depthwise_conv2d"}


def judged(path: Path) -> list[Finding]:
    """Check a fixture as its first lines ask."""
    head = head_of(path)
    operator = CHECKOUT / "kernels" / head["operator"]
    base = read_candidate(operator / head["base"]).code if "base" in head else None
    stage = head.get("stage")
    rules = stage_named(stage).lint_rules if stage else ()
    reference = (operator / "reference.py").read_text()
    return check_candidate(Asked(read_candidate(path), reference, tuple(rules), stage is not None, base))


def changed(*pairs: tuple[str, str], first_line: int = 1) -> list[Finding]:
    """Check a right candidate of rms_norm after replacing parts of it."""
    text = RIGHT.read_text()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    reference = (CHECKOUT / "kernels" / "rms_norm" / "reference.py").read_text()
    return check_candidate(Asked(Candidate(text, first_line), reference))


def rules(findings: list[Finding]) -> set[str]:
    return {finding.rule for finding in findings}


@pytest.mark.parametrize("path", [*GOOD, *VERSIONS], ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_good_candidates_and_every_version_of_the_project_are_accepted(path: Path) -> None:
    if path.is_relative_to(CHECKOUT / "kernels"):
        operator = CHECKOUT / "kernels" / path.relative_to(CHECKOUT / "kernels").parts[0]
        asked = Asked(read_candidate(path), (operator / "reference.py").read_text())
        assert errors(check_candidate(asked)) == []
    else:
        assert errors(judged(path)) == []


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_bad_candidate_is_rejected_by_the_rule_it_breaks_or_left_to_the_run(path: Path) -> None:
    expected = head_of(path)["expect"]
    assert rules(judged(path)) >= ({expected} - {*BY_A_RUN})


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("b04_call_in_the_class_body_annotated", "class_body"),
        ("b06_class_body_patches_the_timer", "patching"),
        ("b08_annotation_runs", "patching"),
        ("b22_default_factory", "patching"),
        ("b23_init_calls_anything", "patching"),
        ("b33_hook_on_a_tensor_in_init", "patching"),
    ],
)
def test_what_a_run_cannot_see_is_refused_by_syntax(name: str, rule: str) -> None:
    """The plan of these is honest; they change what is not theirs when they are loaded."""
    assert rule in rules(judged(REVIEWED / "bad" / f"{name}.txt"))


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        (FORWARD, "        return torch._C._nn.gelu(rms_norm(x, self.eps))\n", "dynamic_code"),
        (FORWARD, "        return [v for v in globals().values()][0](x)\n", "dynamic_code"),
        (FORWARD, "        with torch.cuda.stream(torch.cuda.Stream()):\n    " + FORWARD, "streams_threads"),
        ("    def forward(", "    __call__ = rms_norm\n\n    def forward(", "class_body"),
        ("    def forward(", "    def __del__(self):\n        pass\n\n    def forward(", "class_body"),
        ("        self.eps = eps\n", "        self.eps = eps\n        nn.Module.__call__ = rms_norm\n", "patching"),
        (LAUNCH, LAUNCH.replace("[grid]", "[(inner, images, 1, 1)]"), "grid_rank"),
        ("tl.program_id(1)", "tl.program_id(2)", "grid_axes"),
    ],
)
def test_a_form_that_breaks_a_rule_is_found(old: str, new: str, rule: str) -> None:
    assert rule in rules(errors(changed((old, new))))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (LAUNCH, "    launch = rms_norm_kernel[grid]\n    launch(x, out, inner, eps, features, BLOCK_SIZE)\n"),
        (LAUNCH, "    args = (x, out, inner, eps)\n    rms_norm_kernel[grid](*args, features, BLOCK_SIZE)\n"),
        (LAUNCH, LAUNCH.replace("[grid]", "[lambda meta: (triton.cdiv(inner, meta['BLOCK_SIZE']), images)]")),
        ("    x = x.contiguous()\n", "    assert x.device.type == 'cuda'\n    x = x.contiguous()\n"),
        ("    x = x.contiguous()\n", "    with torch.cuda.device_of(x):\n        x = x.contiguous()\n"),
        (LAUNCH, LAUNCH.replace("inner, eps", "*x.stride()[:1], eps")),
        (LAUNCH, "    if __debug__:\n    " + LAUNCH),
        (LAUNCH, "    match images:\n        case _:\n        " + LAUNCH),
        (
            LAUNCH,
            "    cfg = dict(BLOCK_SIZE=256) if inner > 9 else {}\n" + LAUNCH.replace("BLOCK_SIZE=BLOCK_SIZE", "**cfg"),
        ),
        (
            LAUNCH,
            "    sms = triton.runtime.driver.active.utils.get_device_properties(0)['multiprocessor_count']\n"
            "    assert sms\n" + LAUNCH,
        ),
        (
            "import torch.nn as nn\n",
            "import torch.nn as nn\nimport torch.nn.functional as F\n",
        ),
        ("        self.eps = eps\n", "        self.eps = eps\n        self.kernel = rms_norm_kernel\n"),
        ("    def forward(self, x: torch.Tensor)", "    def forward(self, x: torch.Tensor, fast: bool = False)"),
        (
            "@triton.jit",
            (
                "CONFIGS = []\nfor w in (4, 8):\n    CONFIGS.append(triton.Config({}, num_warps=w))\n\n\n"
                "@triton.autotune(CONFIGS, key=['inner'])\n@triton.jit"
            ),
        ),
    ],
)
def test_a_legal_variation_is_accepted(old: str, new: str) -> None:
    assert errors(changed((old, new))) == []


def test_tuning_everything_is_an_error_only_where_the_prompt_has_said_so() -> None:
    path = CANDIDATES / "bad" / "tunes_everything.txt"
    reference = (CHECKOUT / "kernels" / "rms_norm" / "reference.py").read_text()
    (found,) = check_candidate(Asked(read_candidate(path), reference))
    assert (found.rule, found.level) == ("autotune", "warning")
    (found,) = check_candidate(Asked(read_candidate(path), reference, told=True))
    assert found.level == "error"


def test_a_finding_names_the_line_of_the_file_and_the_remedy() -> None:
    (found,) = changed((FORWARD, "        return eval('x')\n"), first_line=11)
    assert RIGHT.read_text().splitlines()[found.line - 11] == FORWARD.rstrip()
    assert found.column == 16
    assert found.what == "eval is used"
    assert found.remedy


def test_attributes_are_judged_by_the_installed_triton() -> None:
    triton = pytest.importorskip("triton")
    names = vocabulary.triton_names("triton.language")
    assert names is not None
    assert {*triton.language.__all__} <= names
    assert not any(
        vocabulary.unknown_attribute(f"triton.language.{name}") for name in dir(triton.language) if name[0] != "_"
    )
    assert vocabulary.unknown_attribute("triton.language.mod") == ("triton.language", "mod")


def test_without_triton_the_command_says_what_was_not_judged(
    rooflift: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vocabulary, "_source", lambda _: None)
    vocabulary.triton_names.cache_clear()
    said = rooflift("lint", RIGHT, "--operator", "rms_norm", "--no-compile")
    vocabulary.triton_names.cache_clear()
    assert said.code == 0
    assert "triton is not installed" in said.err


def test_check_exits_0_for_accepted_and_1_for_rejected(rooflift: Callable[..., Any]) -> None:
    accepted = rooflift("lint", RIGHT, "--operator", "rms_norm", "--stage", "grid", "--json", "--no-compile")
    assert accepted.code == 0
    assert json.loads(accepted.out)["accepted"] is True
    rejected = rooflift("lint", CANDIDATES / "bad" / "eval_of_text.txt", "--operator", "rms_norm", "--json")
    assert rejected.code == 1
    assert {"rule", "line", "column", "what", "remedy", "level"} == {*json.loads(rejected.out)["findings"][0]}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["missing.py", "--operator", "rms_norm"], "missing.py: no such file"),
        (["kernels", "--operator", "rms_norm"], "kernels is a folder"),
        ([RIGHT, "--operator", "rms_nrm"], "Did you mean rms_norm"),
        ([RIGHT, "--operator", "rms_norm", "--stage", "tunning"], "Did you mean tuning, tiling?"),
        ([RIGHT, "--operator", "rms_norm", "--base", "README.md"], "README.md"),
        (
            [RIGHT, "--operator", "rms_norm", "--base", "kernels/rms_norm/reference.py"],
            "no launch is found in the base",
        ),
    ],
)
def test_a_wrong_question_exits_2_with_a_remedy(
    rooflift: Callable[..., Any], words: list[str | Path], says: str
) -> None:
    said = rooflift("lint", *words)
    assert said.code == 2
    assert says in said.err
    assert said.err.count("\n  ") == 1


def test_a_stage_that_asks_for_a_base_says_so(rooflift: Callable[..., Any]) -> None:
    said = rooflift("lint", RIGHT, "--operator", "rms_norm", "--stage", "tuning", "--no-compile")
    assert "--base" in said.err


def test_a_made_up_family_needs_no_change_of_the_checker(make_operator: Callable[..., Any]) -> None:
    operator = make_operator()
    assert lint_file(operator.versions[0].path, operator.reference) == []


def test_an_unknown_stage_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="no stage 'warp'"):
        lint_file(RIGHT, tmp_path, "warp")


def test_deep_nesting_ends_in_a_finding(tmp_path: Path) -> None:
    for text in (f"        return {'(' * 5000}x{')' * 5000}\n", f"        return x{'.view(1)' * 3000}\n"):
        path = tmp_path / "candidate.py"
        path.write_text(RIGHT.read_text().replace(FORWARD, text))
        assert rules(lint_file(path, CHECKOUT / "kernels" / "rms_norm" / "reference.py")) == {"syntax"}


def test_what_takes_the_linter_too_long_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lint, "TIME_S", 0.01)
    (found,) = lint_file(RIGHT, CHECKOUT / "kernels" / "rms_norm" / "reference.py")
    assert "needed more than 0.01 s" in found.what


@pytest.mark.parametrize("cookie", ["# coding: unicode_escape", "# -*- coding: utf_7 -*-", "#\x0c vim: coding=cp037"])
def test_a_text_that_python_reads_otherwise_is_refused(cookie: str, tmp_path: Path) -> None:
    path = tmp_path / "candidate.py"
    path.write_text(f"{cookie}\n{RIGHT.read_text()}")
    with pytest.raises(CandidateFault, match="coding comment"):
        lint_file(path, CHECKOUT / "kernels" / "rms_norm" / "reference.py")


def test_a_base_without_code_is_a_fault(tmp_path: Path) -> None:
    empty = tmp_path / "base.py"
    empty.write_text(" \n")
    with pytest.raises(CandidateFault, match="is empty"):
        lint_file(RIGHT, CHECKOUT / "kernels" / "rms_norm" / "reference.py", base=empty)


NOT_COMPILED = {  # what Triton says, or raises when the file is loaded, and its line
    "k01_continue": ("unsupported AST node type: Continue", 19),
    "k02_global": ("Cannot access global variable FACTOR", 22),
    "k04_arange_not_constexpr": ("arange's arguments must be of type tl.constexpr", 17),
    "k05_jit_num_warps": ("unexpected keyword argument 'num_warps'", 15),
}
RIGHT_KERNELS = ("k06_valid_bf16_times_scalar", "k07_shape_compared", "k09_extra_defaulted_argument")
EVERY_DAY = ("k01_continue", "k07_shape_compared")


@pytest.mark.skipif(bool(find_sandbox().missing), reason="candidates cannot be sandboxed here")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in EVERY_DAY else [pytest.mark.slow])
        for name in (*NOT_COMPILED, *RIGHT_KERNELS)
    ],
)
def test_a_kernel_that_triton_cannot_compile_is_told_with_its_words_and_line(
    name: str, make_operator: Callable[..., Operator], rooflift: Callable[..., Any], tmp_path: Path
) -> None:
    make_operator()
    file = REVIEWED / "kernels" / f"{name}.txt"
    said = rooflift("lint", file, "--operator", "twice", "--root", tmp_path / "project")
    if name in NOT_COMPILED:
        words, line = NOT_COMPILED[name]
        assert (said.code, words in said.out) == (1, True), said
        assert f"{file}:{line}:1: error: " in said.out
    else:
        assert (said.code, "not compiled" in said.err) == (0, False), said


@pytest.mark.slow
@pytest.mark.skipif(bool(find_sandbox().missing), reason="candidates cannot be sandboxed here")
def test_version_of_a_model_that_triton_cannot_compile_is_rejected_and_never_kept(
    rooflift: Callable[..., Any], tmp_path: Path
) -> None:
    """Its loop has a `continue`, which the interpreter runs and the compiler does not know."""
    file = REVIEWED / "kernels" / "k12_rms_norm_reply_continue.txt"
    said = rooflift("lint", file, "--operator", "rms_norm")
    assert (said.code, "unsupported AST node type: Continue" in said.out) == (1, True)
    assert f"{file}:34:1: error: compiles" in said.out
    loop = ["--base", "v0", "--stages", "tiling", "--iterations", "1", "--no-gpu", "--gpu", "h100"]
    told = rooflift("optimize", "rms_norm", "--agent", f"cat {file}", *loop, "--out", tmp_path / "loop")
    assert told.code == 0, told.err
    assert "does not compile" in told.out + told.err
    assert "1 iterations, kept: none" in told.out

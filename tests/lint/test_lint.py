"""The linter on candidates of many kinds: the fixtures, and small changes to a candidate that is right."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rooflift.errors import CatalogError
from rooflift.lint import vocabulary
from rooflift.lint.candidate import Candidate, CandidateFault
from rooflift.lint.findings import Finding
from rooflift.lint.lint import check_candidate, lint_file

CHECKOUT = Path(__file__).parents[2]
REPLIES = CHECKOUT / "tests" / "fixtures" / "candidates"
GOOD = sorted((REPLIES / "good").glob("*.txt"))
BAD = sorted((REPLIES / "bad").glob("*.txt"))
VERSIONS = sorted((CHECKOUT / "kernels").rglob("v*.py"))
RIGHT = REPLIES / "good" / "grid_2d.txt"
LAUNCH = "    rms_norm_kernel[grid](x, out, inner, eps, FEATURES=features, BLOCK_SIZE=BLOCK_SIZE)\n"
FORWARD = "        return rms_norm(x, self.eps)\n"
STORE = "(x * scale).to(out_ptr.dtype.element_ty), mask=inside)\n"


def judged(path: Path) -> list[Finding]:
    """Check a fixture as its first lines ask."""
    head = dict(re.findall(r"^# (\w+): (\S+)$", path.read_text(), re.MULTILINE))
    operator = CHECKOUT / "kernels" / head["operator"]
    return lint_file(
        path, operator / "reference.py", head.get("stage"), operator / head["base"] if "base" in head else None
    )


def changed(*pairs: tuple[str, str]) -> list[Finding]:
    """Check a right candidate of rms_norm after replacing parts of it."""
    text = RIGHT.read_text()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return check_candidate(Candidate(text, 1), CHECKOUT / "kernels" / "rms_norm" / "reference.py")


def rules(findings: list[Finding]) -> set[str]:
    return {finding.rule for finding in findings}


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_a_good_reply_is_accepted(path: Path) -> None:
    assert judged(path) == []


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_bad_reply_is_rejected_by_the_rule_it_breaks(path: Path) -> None:
    expected = re.search(r"^# expect: (\w+)$", path.read_text(), re.MULTILINE)
    assert expected is not None
    assert expected[1] in rules(judged(path))


NOT_FOLLOWED = {  # by the lint today, though right: a tile's number from a counter, functools.cache, long host code
    *(("softmax", name) for name in ("v3_lag", "v4_policy", "v5_tuned")),
    *(("cumsum", name) for name in ("v2_tiling", "v3_look_back", "v4_tuned")),
}
ACCEPTED = [path for path in VERSIONS if (path.parent.name, path.stem) not in NOT_FOLLOWED]


@pytest.mark.parametrize("path", ACCEPTED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_version_of_the_project_is_accepted(path: Path) -> None:
    operator = CHECKOUT / "kernels" / path.relative_to(CHECKOUT / "kernels").parts[0]
    assert lint_file(path, operator / "reference.py") == []


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        (FORWARD, "        a = [1, 2]\n        a[0:1] = [x]\n        a[0] * 2\n" + FORWARD, "torch_compute"),
        (FORWARD, "        a = b = [1]\n        a += [x]\n        b[1] * 2\n" + FORWARD, "torch_compute"),
        (FORWARD, "        1 in x\n" + FORWARD, "torch_compute"),
        (FORWARD, "        return list(map(torch.relu, [rms_norm(x, self.eps)]))[0]\n", "torch_compute"),
        (FORWARD, "        f = torch.Tensor.mul\n        return f(rms_norm(x, self.eps), 1)\n", "torch_compute"),
        (FORWARD, "        return -(-rms_norm(x, self.eps))\n", "torch_compute"),
        (FORWARD, "        y = rms_norm(x, self.eps)\n        y += x\n        return y\n", "torch_compute"),
        (FORWARD, "        y = {'a': x}\n        return rms_norm(y['a'] * 2, self.eps)\n", "torch_compute"),
        (FORWARD, "        return rms_norm([t * 2 for t in [x]][0], self.eps)\n", "torch_compute"),
        (FORWARD, "        return rms_norm(x[x > 0], self.eps)\n", "torch_compute"),
        (FORWARD, "        return rms_norm(x.cpu().numpy(), self.eps)\n", "torch_compute"),
        (FORWARD, "        return torch.ops.aten.mul(rms_norm(x, self.eps), 1)\n", "dynamic_code"),
        (FORWARD, "        return torch._C._nn.gelu(rms_norm(x, self.eps))\n", "dynamic_code"),
        (FORWARD, "        self.last = rms_norm(x, self.eps)\n        return self.last\n", "caching"),
        (FORWARD, "        rms_norm.last = rms_norm(x, self.eps)\n        return rms_norm.last\n", "patching"),
        (FORWARD, "        return self._buffers['y']\n", "undefined_name"),
        (FORWARD, "        print(x)\n        return rms_norm(x, self.eps)\n", "system_access"),
        (FORWARD, "        return nn.Linear(4, 4)(rms_norm(x, self.eps))\n", "torch_compute"),
        (FORWARD, "        return [v for v in globals().values()][0](x)\n", "dynamic_code"),
        (FORWARD, "        y = rms_norm(x, self.eps)\n        y.copy_(x)\n        return y\n", "torch_compute"),
        (FORWARD, "        x.contiguous().zero_()\n        return rms_norm(x, self.eps)\n", "input_changed"),
        (FORWARD, "        return x if x.numel() else rms_norm(x, self.eps)\n", "unwritten_output"),
        (LAUNCH, LAUNCH.replace("x, out", "out, x"), "input_changed"),
        (
            FORWARD,
            "        a = [1]\n        for i in range(9):\n            b = a[0] * 2\n            a[0] = x\n" + FORWARD,
            "torch_compute",
        ),
        (
            FORWARD,
            "        a = [1]\n        [(a[0] * 2, a.insert(0, x)) for i in range(x.size(0))]\n" + FORWARD,
            "unfollowable",
        ),
        (FORWARD, "        y = 1\n        [(y * 2, y := x) for i in range(x.size(0))]\n" + FORWARD, "unfollowable"),
        ("    def forward(", "    def _call_impl(self, x):\n        return x * 2\n\n    def forward(", "class_body"),
        ("    def forward(", "    __call__ = rms_norm\n\n    def forward(", "class_body"),
        ("@triton.jit", "@triton.heuristics({'Z': lambda args: args['x_ptr'].zero_()})\n@triton.jit", "input_changed"),
        (
            "        super().__init__()\n",
            "        super().__init__()\n        self.w = torch.empty(4)\n        self.y = rms_norm(self.w, 1)\n",
            "caching",
        ),
        (LAUNCH, "    if 1 > 2:\n    " + LAUNCH, "no_launch"),
        (LAUNCH, "    while images < 0 and False:\n    " + LAUNCH, "no_launch"),
        (LAUNCH, LAUNCH.replace("[grid]", "[tuple(grid for _ in range(images))]"), "grid_rank"),
        (LAUNCH, LAUNCH.replace("BLOCK_SIZE)\n", "BLOCK_SIZE, BLOCK=1)\n"), "arguments"),
        (LAUNCH, LAUNCH.replace("eps, ", ""), "arguments"),
        ("BLOCK_SIZE = 256", "BLOCK_SIZE = 128 if inner < 9 else 100", "power_of_two"),
        ("tl.arange(0, BLOCK_SIZE)", "tl.arange(0, 100)", "power_of_two"),
        (STORE, "x, mask=inside)\n        tl.atomic_add(x_ptr + first, x, mask=inside)\n", "input_changed"),
        (
            STORE,
            "x, mask=inside)\n        p = x_ptr + 1\n        tl.store(p + first, x, mask=inside)\n",
            "input_changed",
        ),
        ("@triton.jit\n", "@torch.jit.script\n@triton.jit\n", "decorator"),
        ("def rms_norm(x, eps):", "def rms_norm(x, eps, f=torch.sqrt):", "torch_compute"),
        ("        self.eps = eps\n", "        self.eps = eps\n        self.forward = rms_norm\n", "patching"),
        ("        self.eps = eps\n", "        self.eps = eps\n        nn.Module.__call__ = rms_norm\n", "dynamic_code"),
        ("    def forward(", "    def __del__(self):\n        pass\n\n    def forward(", "class_body"),
        ("    x = x.contiguous()\n", "    return rms_norm(x, eps)\n", "unfollowable"),
        ("    x = x.contiguous()\n", "    x = x.contiguous() * torch.tensor(1.0)\n", "torch_compute"),
    ],
)
def test_a_trick_is_found(old: str, new: str, rule: str) -> None:
    assert rule in rules(changed((old, new)))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (LAUNCH, "    launch = rms_norm_kernel[grid]\n    launch(x, out, inner, eps, features, BLOCK_SIZE)\n"),
        (LAUNCH, "    args = (x, out, inner, eps)\n    rms_norm_kernel[grid](*args, features, BLOCK_SIZE)\n"),
        (
            LAUNCH,
            (
                "    meta = dict(FEATURES=features, BLOCK_SIZE=256)\n"
                "    rms_norm_kernel[grid](x, out, inner, eps, **meta)\n"
            ),
        ),
        (LAUNCH, LAUNCH.replace("[grid]", "[lambda meta: (triton.cdiv(inner, meta['BLOCK_SIZE']), images)]")),
        (
            "    out = torch.empty_like(x)\n",
            "    out = x.new_zeros(x.shape) if images_of(x) > 1 else torch.empty_like(x)\n",
        ),
        ("    x = x.contiguous()\n", "    x = x if x.is_contiguous() else x.contiguous()\n    assert x.is_cuda\n"),
        (FORWARD, "        y = rms_norm(x.float(), self.eps)\n        return y.to(x.dtype)\n"),
    ],
)
def test_a_legal_variation_is_accepted(old: str, new: str) -> None:
    helper = "\n\ndef images_of(x):\n    return x.size(0)\n\n\ndef rms_norm("
    assert changed((old, new), ("\n\ndef rms_norm(", helper)) == []


def test_a_finding_names_the_line_of_the_file_and_the_remedy() -> None:
    text = RIGHT.read_text().replace(FORWARD, "        return rms_norm(x, self.eps) * 2\n")
    reference = CHECKOUT / "kernels" / "rms_norm" / "reference.py"
    (found,) = check_candidate(Candidate(text, 11), reference)
    assert text.splitlines()[found.line - 11].strip().endswith("* 2")
    assert found.column == 16
    assert "rms_norm(x, self.eps) * 2" in found.what
    assert "kernel" in found.remedy


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
    said = rooflift("lint", RIGHT, "--operator", "rms_norm")
    vocabulary.triton_names.cache_clear()
    assert said.code == 0
    assert "triton is not installed" in said.err


def test_check_exits_0_for_accepted_and_1_for_rejected(rooflift: Callable[..., Any]) -> None:
    accepted = rooflift("lint", RIGHT, "--operator", "rms_norm", "--stage", "grid", "--json")
    assert accepted.code == 0
    assert json.loads(accepted.out)["accepted"] is True
    rejected = rooflift("lint", REPLIES / "bad" / "lru_cache.txt", "--operator", "rms_norm", "--json")
    assert rejected.code == 1
    assert {"rule", "line", "column", "what", "remedy"} == {*json.loads(rejected.out)["findings"][0]}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["missing.py", "--operator", "rms_norm"], "missing.py: no such file"),
        (["kernels", "--operator", "rms_norm"], "kernels is a folder"),
        ([RIGHT, "--operator", "rms_nrm"], "Did you mean rms_norm?"),
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
    said = rooflift("lint", RIGHT, "--operator", "rms_norm", "--stage", "tuning")
    assert "--base" in said.err


def test_a_made_up_family_needs_no_change_of_the_checker(make_operator: Callable[..., Any]) -> None:
    operator = make_operator()
    assert lint_file(operator.versions[0].path, operator.reference) == []


def test_an_unknown_stage_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="no stage 'warp'"):
        lint_file(RIGHT, tmp_path, "warp")


def test_deep_nesting_ends_in_a_finding() -> None:
    assert rules(changed((FORWARD, f"        return {'(' * 5000}x{')' * 5000}\n"))) == {"syntax"}
    assert rules(changed((FORWARD, f"        return x{'.view(1)' * 3000}\n"))) == {"syntax"}


def test_a_base_without_code_is_a_fault(tmp_path: Path) -> None:
    empty = tmp_path / "base.py"
    empty.write_text(" \n")
    with pytest.raises(CandidateFault, match="is empty"):
        lint_file(RIGHT, CHECKOUT / "kernels" / "rms_norm" / "reference.py", base=empty)


def test_a_formula_that_doubles_with_every_line_fills_no_memory() -> None:
    lines = "".join(f"    a{n + 1} = a{n} + a{n}\n" for n in range(400))
    assert changed(("    x = x.contiguous()\n", f"    x = x.contiguous()\n    a0 = x.size(0)\n{lines}")) == []

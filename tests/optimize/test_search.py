"""The search agent: its edits give files that lint accepts and that compute the same; it remembers what it tried."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from rooflift.lint.lint import errors, lint_file
from rooflift.optimize.question import Tried, title_of
from rooflift.optimize.search.policy import NothingLeft, Start, edits, propose

cst = pytest.importorskip("libcst")

PRELUDE = """import torch
import torch.nn as nn
import triton
import triton.language as tl

"""
# a norm of rows, in the other common style of a loop: by the first element of a block
STEPS = (
    PRELUDE
    + """
@triton.jit
def scale_kernel(x_ptr, out_ptr, width, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    total = tl.zeros([BLOCK], dtype=tl.float32)
    for begin in range(0, width, BLOCK):
        at = begin + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + row * width + at, mask=at < width, other=0.0)
        total += tl.abs(x)
    size = tl.sum(total, axis=0)
    for begin in range(0, width, BLOCK):
        at = begin + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + row * width + at, mask=at < width, other=0.0)
        tl.store(out_ptr + row * width + at, x / size, mask=at < width)


def scaled(x):
    out = torch.empty_like(x)
    rows, width = x.shape
    BLOCK = 16
    scale_kernel[(rows,)](x, out, width, BLOCK=BLOCK)
    return out


class ModelNew(nn.Module):
    def forward(self, x):
        return scaled(x)
"""
)


def start(code: str, figures: Mapping[str, object] | None = None) -> Start:
    return Start(name="v0", code=code, figures=figures or {"excess_traffic": 2.0}, sm_count=4, seed="1")


def proposals(code: str, count: int, figures: Mapping[str, object] | None = None) -> list[str]:
    """Return the candidates that a search hands out one after another when none is kept."""
    found, tried = list[str](), list[Tried]()
    while len(found) < count:
        try:
            found.append(propose(start(code, figures), tried, "memory", lambda _: True))
        except NothingLeft:
            break
        tried.append(Tried("v0", title_of(found[-1]), kept=False, ran=True))
    return found


@pytest.mark.parametrize("operator", ["softmax", "matmul"])
def test_the_first_candidates_of_any_operator_pass_lint(operator: str, checkout: Path, tmp_path: Path) -> None:
    folder = checkout / "kernels" / operator
    base = next(folder.glob("v0_*.py"))
    tried = list[Tried]()
    for _ in range(2):
        candidate = tmp_path / "candidate.py"
        candidate.write_text(propose(start(base.read_text()), tried, "memory", lambda _: True))
        assert errors(lint_file(candidate, folder / "reference.py", "memory", base)) == []
        tried.append(Tried("v0", title_of(candidate.read_text()), kept=False, ran=False))
    assert len({one.title for one in tried}) == 2


def test_excess_traffic_is_met_by_loading_once(checkout: Path) -> None:
    softmax = (checkout / "kernels" / "softmax" / "v0_baseline.py").read_text()
    tile = propose(start(softmax), [], "memory", lambda _: True)
    inside = tile[tile.index("def softmax_kernel_tile") : tile.index("def softmax(")]
    assert inside.count("tl.load(x_ptr") == 1  # three before
    assert "in range(" not in inside
    rms_norm = (checkout / "kernels" / "rms_norm" / "v0_baseline.py").read_text()
    kept = propose(start(rms_norm), [], "memory", lambda _: True)
    assert kept.count("tl.load(x_ptr") == rms_norm.count("tl.load(x_ptr") + 1  # one, and two for more features
    # without excess traffic something else comes first
    other = propose(start(softmax, {"excess_traffic": 1.0}), [], "memory", lambda _: True)
    assert "softmax_kernel_tile" not in other


def test_nothing_is_proposed_twice_from_the_same_version() -> None:
    titles = [title_of(code) for code in proposals(STEPS, 15)]
    assert len(titles) == len(set(titles)) == 15


def test_a_step_that_helped_before_comes_sooner_and_one_that_failed_later() -> None:
    even = {"excess_traffic": 1.0}
    titles = [title_of(code) for code in proposals(STEPS, 12, even)]
    late = titles[-1]
    helped = [Tried("before", late, kept=True, ran=True)] * 6
    assert title_of(propose(start(STEPS, even), helped, "memory", lambda _: True)) == late
    failed = [Tried("before", titles[0], kept=False, ran=False)] * 3
    assert title_of(propose(start(STEPS, even), failed, "memory", lambda _: True)) != titles[0]


def test_what_lint_refuses_is_not_handed_out(checkout: Path, tmp_path: Path) -> None:
    folder = checkout / "kernels" / "softmax"
    base = folder / "v0_baseline.py"

    def accepts(code: str) -> bool:
        (tmp_path / "candidate.py").write_text(code)
        return not errors(lint_file(tmp_path / "candidate.py", folder / "reference.py", "tuning", base))

    handed = title_of(propose(start(base.read_text()), [], "tuning", accepts))
    assert handed.startswith("num_")  # the stage allows neither another grid nor other blocks


def test_a_search_without_edits_left_says_so() -> None:
    with pytest.raises(NothingLeft, match="every edit of v0 was tried"):
        propose(start(PRELUDE + "class ModelNew(nn.Module):\n    pass\n"), [], "memory", lambda _: True)


def test_every_kind_of_edit_computes_the_same(tmp_path: Path) -> None:
    """One edit of each kind in Triton's interpreter; rows longer and shorter than a block."""
    kinds = {edit.kind: edit for edit in edits(cst.parse_module(STEPS), 4)}
    for kind, edit in kinds.items():
        (tmp_path / f"{kind.replace(' ', '_')}.py").write_text(edit.make().code)
    script = (
        "import importlib.util, torch\nfrom pathlib import Path\n"
        f"for path in sorted(Path({str(tmp_path)!r}).glob('*.py')):\n"
        "    spec = importlib.util.spec_from_file_location(path.stem, path)\n"
        "    module = importlib.util.module_from_spec(spec)\n"
        "    spec.loader.exec_module(module)\n"
        "    for width in (3, 16, 77):\n"
        "        x = torch.rand(5, width) + 1\n"
        "        torch.testing.assert_close(module.ModelNew()(x), x / x.sum(1, keepdim=True))\n"
        "print('all the same')\n"
    )
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False)
    assert done.stdout.strip() == "all the same", done.stderr[-3000:]
    assert {"shared tile", "tile", "size", "eviction", "persistence"} <= {*kinds}

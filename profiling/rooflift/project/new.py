"""New operators: a minimal one, and one made of a KernelBench problem as it stands. Text and files, nothing runs."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rooflift.errors import CatalogError
from rooflift.project.operator import slug

REQUIRED = ("Model", "get_inputs", "get_init_inputs")

REFERENCE = '''"""What this operator computes, in plain PyTorch: the definition of a right result."""

import torch


class Model(torch.nn.Module):
    """x of any shape -> twice x, in the shape and dtype of x."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * x


def get_inputs():
    return [torch.rand(4096, 4096)]


def get_init_inputs():
    return []
'''

BASELINE = '''"""Baseline: a program owns 1024 elements.

Stage:   baseline
Change:  the algorithm that the ladder starts from.
Why:     the shortest correct kernel.
Expect:  none
"""

import torch
import triton
import triton.language as tl


@triton.jit
def twice_kernel(x_ptr, out_ptr, size, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + at, mask=at < size).to(tl.float32)
    tl.store(out_ptr + at, (2 * x).to(out_ptr.dtype.element_ty), mask=at < size)


class ModelNew(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = torch.empty_like(x)
        if x.numel():
            twice_kernel[(triton.cdiv(x.numel(), 1024),)](x, out, x.numel(), BLOCK=1024)
        return out
'''

CASES = """# Each table is a case: `init` goes to Model(...), `inputs` are shapes; `use` says what it serves.

[main]
init = {}
inputs = [[4096, 4096]]
use = ["bench"]

[odd]
init = {}
inputs = [[7, 311]]
use = ["test"]
"""

KERNELBENCH_HEADER = '''"""The reference itself, by torch: what every kernel has to beat.

Stage:   baseline
Change:  none: the code of reference.py, with Model named ModelNew.
Why:     KernelBench measures kernels against torch.
Expect:  none
"""

'''


def files_of_new() -> dict[str, str]:
    """Return the files of a minimal operator by name: reference.py, cases.toml, v0_baseline.py."""
    return {"reference.py": REFERENCE, "cases.toml": CASES, "v0_baseline.py": BASELINE}


def files_of_problem(problem: Path, constants: Mapping[str, Any], fault: str) -> dict[str, str]:
    """Return the files of a KernelBench problem's operator but the reference, which is the problem itself.

    `constants` are values of its module constants for a small test case, {} where it is small as it stands; `fault`
    says why there is no small case.

    Raises:
        CatalogError: the problem is no Python, or lacks Model, get_inputs or get_init_inputs.
    """
    text = problem.read_text(encoding="utf-8")
    return {"cases.toml": _cases(problem.name, constants, fault), "v0_baseline.py": _baseline(problem, text)}


def require_problem(problem: Path) -> None:
    """Refuse a file that is no KernelBench problem.

    Raises:
        CatalogError: it is no Python, or lacks Model, get_inputs or get_init_inputs.
    """
    tree = _tree(problem, problem.read_text(encoding="utf-8"))
    defined = {name for node in tree.body for name in _defined(node)}
    for name in REQUIRED:
        if name not in defined:
            remedy = "A KernelBench problem defines Model, get_inputs and get_init_inputs at module level."
            raise CatalogError(f"{problem}: no {name}", remedy)


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return [node.name]
    return [target.id for target in getattr(node, "targets", []) if isinstance(target, ast.Name)]


def operator_name(problem: Path) -> str:
    """Return the name of a problem's operator: its level, where its folder says one, and its file's name.

    >>> operator_name(Path("KernelBench/level1/19_ReLU.py")), operator_name(Path("My problem.py"))
    ('level1_19_relu', 'my_problem')
    >>> operator_name(Path("downloads/19_ReLU.py"))
    'problem_19_relu'
    """
    level = f"{problem.parent.name}_" if re.fullmatch(r"level\d+", problem.parent.name) else ""
    name = slug(level + problem.stem)
    return name if name[:1].isalpha() else f"problem_{name}"


def _tree(problem: Path, text: str) -> ast.Module:
    try:
        return ast.parse(text, filename=str(problem))
    except SyntaxError as error:
        raise CatalogError(f"{problem}:{error.lineno or 1}: {error.msg}", "Correct the syntax.") from None


def _cases(name: str, constants: Mapping[str, Any], fault: str) -> str:
    """Return cases.toml: the reference's own inputs for the bench, and what there is of a small case."""
    lines = [f'# made of {name}: its own inputs and arguments (`inputs = "reference"`)', ""]
    small = not constants and not fault
    lines += ["[main]", 'inputs = "reference"', 'use = ["bench", "test"]' if small else 'use = ["bench"]']
    if constants:
        shown = ", ".join(f"{key} = {_toml(value)}" for key, value in constants.items())
        lines += [
            "",
            "[small]  # constants of reference.py, halved as often as it takes it",
            'inputs = "reference"',
            f"constants = {{ {shown} }}",
            'use = ["test"]',
        ]
    if fault:
        lines += [
            "",
            f"# No small case was found: {' '.join(fault.split())[:200]}",
            "# Write one, so that `rooflift verify` has something to check: small values of the module's constants,",
            "# [small]",
            '# inputs = "reference"',
            "# constants = { batch_size = 2 }",
            '# use = ["test"]',
            "# or arguments of Model and shapes: init = [...], inputs = [[2, 3, 32, 32]].",
        ]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _baseline(problem: Path, text: str) -> str:
    """Return the reference as a version: its code, Model renamed, without the makers of inputs, behind a header."""
    lines = text.splitlines(keepends=True)
    for node in _tree(problem, text).body:
        own_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        makes_inputs = isinstance(node, ast.FunctionDef) and node.name in REQUIRED
        if own_docstring or makes_inputs:
            first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))])
            lines[first - 1 : node.end_lineno] = [""] * ((node.end_lineno or first) - first + 1)
    return KERNELBENCH_HEADER + _renamed("".join(lines).strip() + "\n")


def _renamed(text: str) -> str:
    """Return Python with the name Model changed to ModelNew, in code alone."""
    lines = text.splitlines(keepends=True)
    found = [t for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type == tokenize.NAME]
    for token in reversed([t for t in found if t.string == "Model"]):
        (row, start), (_, end) = token.start, token.end
        lines[row - 1] = f"{lines[row - 1][:start]}ModelNew{lines[row - 1][end:]}"
    return "".join(lines)

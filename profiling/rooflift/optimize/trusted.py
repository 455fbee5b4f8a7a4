"""Candidates that build C++ or CUDA by torch's extensions: they have no launch plan, and run with --trust alone.

Their Python then runs where it is checked and timed, as that of your own versions does.
"""

from __future__ import annotations

import ast
from pathlib import Path

from rooflift.errors import InterpreterGap, KernelFault, WrongResult
from rooflift.measure import checking
from rooflift.measure.children import Progress
from rooflift.measure.request import Request
from rooflift.optimize.verdict import NotKept
from rooflift.project.operator import Operator, candidate_version

BUILDERS = frozenset({"cpp_extension", "load_inline"})
UNTRUSTED = (
    "it builds C++ or CUDA (torch.utils.cpp_extension), which has no launch plan. Write Triton, or let the person who"
    " runs the loop give --trust"
)
NEEDS_GPU = "C++ or CUDA that does not run here may run on a GPU with nvcc: nothing here can tell whether it is right"


def builds_extension(code: str) -> bool:
    """Tell whether a file that parses builds code by torch's extensions.

    >>> builds_extension("from torch.utils.cpp_extension import load_inline"), builds_extension("x = 1  # load_inline")
    (True, False)
    """
    named = set[str]()
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.ImportFrom(module=str(module)):
                named |= {*module.split("."), *(alias.name for alias in node.names)}
            case ast.Import():
                named |= {part for alias in node.names for part in alias.name.split(".")}
            case ast.Attribute(attr=name) | ast.Name(id=name):
                named.add(name)
    return bool(named & BUILDERS)


def check_trusted(
    root: Path, operator: Operator, candidate: Path, timeout_s: float, progress: Progress, *, interpret: bool
) -> None:
    """Compare a trusted candidate with the reference on all test cases, in a process that is not sandboxed.

    Raises:
        NotKept: it is wrong or does not run.
    """
    version, cases = candidate_version(operator, candidate), operator.select_cases([], "test")
    request = Request(root, operator, [version], cases, [], "none", timeout_s, [])
    try:
        checking.verify(request, cases, interpret, progress)
    except WrongResult as fault:
        raise NotKept("evaluation", [str(fault)]) from None
    except (KernelFault, InterpreterGap) as fault:
        if interpret:
            raise NotKept("interpreter", [f"{NEEDS_GPU}: {fault}"]) from None
        raise NotKept("evaluation", [str(fault)]) from None

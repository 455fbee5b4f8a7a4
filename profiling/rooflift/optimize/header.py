"""The header that a kept candidate has: its own, or one that makes no claim."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from rooflift.errors import CatalogError
from rooflift.lint.candidate import CandidateFault
from rooflift.project.cases import Case
from rooflift.project.header import parse_header
from rooflift.project.operator import require_known
from rooflift.project.stages import stages


def with_header(code: str, stage: str, number: int, cases: Mapping[str, Case]) -> tuple[str, str]:
    """Return a candidate's code with a header that a version may have, and its title: its own, or one without claims.

    A header that names no stage gets this one; one that predicts what is of no case would keep the ladder from being
    read, and is left out.
    """
    tree = ast.parse(code)
    try:
        header = parse_header(tree, Path("candidate"))
        require_known(replace(header, stage=stage), Path("candidate"), number, cases)
    except CatalogError:
        own = ast.get_docstring(tree) or ""
    else:
        return code if header.stage in stages() else _staged(code, tree, stage), header.title
    node = tree.body[0]
    if own and node.end_lineno is not None and isinstance(node, ast.Expr):
        lines = code.split("\n")  # Python's lines: splitlines() knows more ends of them
        code = "\n".join([*lines[: node.lineno - 1], *lines[node.end_lineno :]])
    said = re.sub(r'["\\]', "'", own.strip().splitlines()[0] if own.strip() else "")
    title = said.encode("utf-8", "replace").decode().strip() or f"candidate of iteration {number}"  # half a character
    headed = f'"""{title}\n\nStage:   {stage}\nChange:  not told\nWhy:     not told\nExpect:  none\n"""\n\n{code}'
    if _without_docstring(ast.parse(headed)) != _without_docstring(tree):
        raise CandidateFault("a header would change the code", "Begin with a docstring of plain lines.")
    return headed, title


def body_of(code: str) -> str:
    """Return what a file that parses holds behind its docstring."""
    tree = ast.parse(code)
    own = tree.body[0].end_lineno if ast.get_docstring(tree) is not None else 0
    return "\n".join(code.split("\n")[own:]).strip()


def _staged(code: str, tree: ast.Module, stage: str) -> str:
    """Return a file with another stage in its header."""
    lines, last = code.split("\n"), tree.body[0].end_lineno or 1
    docstring = re.sub(r"^( *Stage:\s*)[^\n]*$", rf"\g<1>{stage}", "\n".join(lines[:last]), count=1, flags=re.MULTILINE)
    return "\n".join([docstring, *lines[last:]])


def _without_docstring(tree: ast.Module) -> list[str]:
    body = tree.body[1:] if ast.get_docstring(tree) is not None else tree.body
    return [ast.dump(node) for node in body]

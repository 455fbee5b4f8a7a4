"""Rules of a candidate's form: sections, imports, module level, and names that have no place in it.

They are the seed's output rules and what makes a file easy to read and to record a plan from. That a candidate is
honest is not decided here: what ran decides (docs/trust.md). A name that is refused is an early word about it.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from enum import IntEnum

from rooflift.lint import vocabulary
from rooflift.lint.findings import Findings
from rooflift.lint.model_new import judge_model
from rooflift.lint.names import decorators, dotted, is_kernel

_TESTING = ("get_inputs", "get_init_inputs", "Model", "main", "benchmark")
_PARTS = (*(ast.Assign, ast.AnnAssign, ast.AugAssign), *(ast.For, ast.If, ast.Pass, ast.Import, ast.ImportFrom))


class Section(IntEnum):
    """The parts of a candidate in their order."""

    IMPORTS = 0
    KERNELS = 1
    WRAPPERS = 2
    MODEL = 3


_SECTION_NAMES = ("imports", "kernels", "wrappers", "class ModelNew")


def judge_layout(tree: ast.Module, reference: ast.Module, findings: Findings, aliases: Mapping[str, str]) -> None:
    """Judge the form of a candidate."""
    _sections(tree, findings, aliases)
    _imports(tree, findings)
    _undefined(tree, findings)
    _words(tree, findings, aliases)
    _lookups(tree, findings, aliases)
    judge_model(tree, reference, findings, aliases)


def _sections(tree: ast.Module, findings: Findings, aliases: Mapping[str, str]) -> None:
    reached = Section.IMPORTS
    defined: dict[str, int] = {}
    for index, node in enumerate(tree.body):
        name = getattr(node, "name", "")
        if name and name in defined:
            findings.add("redefined", node, f"{name} stands on line {defined[name]} already", "Give each its own name.")
        if name:
            defined[name] = node.lineno
        if name in _TESTING or (name.startswith("test_") and isinstance(node, ast.FunctionDef)):
            findings.add("testing_code", node, f"{name} is for tests", "Leave testing code out; rooflift has its own.")
        section = _section(node, tree.body[index + 1 :], findings, aliases)
        if section is None:
            continue
        if section < reached:
            what = f"{_SECTION_NAMES[section]} stand behind {_SECTION_NAMES[reached]}"
            findings.add("section_order", node, what, "Order: imports, kernels, wrappers, class ModelNew.")
        reached = max(reached, section)


def _section(node: ast.stmt, later: list[ast.stmt], findings: Findings, aliases: Mapping[str, str]) -> Section | None:
    match node:
        case ast.Import() | ast.ImportFrom():
            return Section.IMPORTS
        case ast.FunctionDef():
            return _function_section(node, later, aliases)
        case ast.ClassDef(name="ModelNew"):
            return Section.MODEL
        case ast.If() if "__name__" in ast.unparse(node.test):
            findings.add("testing_code", node, "code for running the file", "Leave testing code out.")
        case ast.ClassDef() | ast.Expr(value=ast.Constant(value=str())):
            pass
        case _ if not _sets_constants(node):
            what = "a statement at module level that is no import, constant, function or class"
            findings.add("top_level_code", node, what, "Move it into a function, or leave it out.")
    return None


def _sets_constants(node: ast.stmt) -> bool:
    """Whether a statement sets names at module level, loops and conditions included, and does nothing beside."""
    if isinstance(node, ast.Expr):
        call = node.value
        return isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "append"
    if isinstance(node, ast.For | ast.If):
        return all(map(_sets_constants, (*node.body, *node.orelse)))
    return isinstance(node, _PARTS)


def _function_section(node: ast.FunctionDef, later: list[ast.stmt], aliases: Mapping[str, str]) -> Section | None:
    known = {name for name, _ in decorators(node, aliases)}
    if "triton.jit" in known:
        return Section.KERNELS
    used_by_kernels = {
        part.id
        for kernel in later
        if is_kernel(kernel, aliases) or _sets_constants(kernel)
        for part in ast.walk(kernel)
        if isinstance(part, ast.Name)
    }
    if "triton.constexpr_function" in known or node.name in used_by_kernels:
        return None  # what kernels and their decorators call must stand before them
    return Section.WRAPPERS


def _imports(tree: ast.Module, findings: Findings) -> None:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        if node not in tree.body and not any(node in ast.walk(part) for part in tree.body if isinstance(part, ast.If)):
            findings.add("import", node, "an import inside of a function", "Import at the top of the file.")
        module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
        for alias in node.names:
            full = f"{module}.{alias.name}" if module else alias.name
            if full.startswith("triton."):
                _triton_attribute(node, full, findings)
            level = node.level if isinstance(node, ast.ImportFrom) else 0
            refused = next(filter(None, map(vocabulary.refusal, full.split("."))), None)
            if refused or level or alias.name == "*" or full.split(".")[0] not in vocabulary.IMPORTS:
                remedy = "Import torch, torch.nn, triton, triton.language, and plain parts of Python such as math."
                findings.add(refused or "import", node, f"{full} is imported", remedy)


def _undefined(tree: ast.Module, findings: Findings) -> None:
    from pyflakes import messages
    from pyflakes.checker import Checker

    for message in Checker(tree).messages:
        if isinstance(message, messages.UndefinedName | messages.UndefinedLocal):
            what = f"{message.message_args[0]} is not defined"
            findings.at("undefined_name", message.lineno, message.col + 1, what, "Import or define it.")


def _words(tree: ast.Module, findings: Findings, aliases: Mapping[str, str]) -> None:
    """Names and statements that are refused wherever they stand; attributes that triton does not have."""
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    own |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    own |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    for node in ast.walk(tree):
        match node:
            case ast.Try() | ast.TryStar():
                remedy = "Let errors rise; check inputs with if and raise."
                findings.add("exception_handling", node, "try/except", remedy)
            case ast.Global() | ast.Nonlocal():
                findings.add("caching", node, f"`{ast.unparse(node)}`", "Pass values as arguments.")
            case ast.AsyncFunctionDef() | ast.Await() | ast.AsyncFor() | ast.AsyncWith():
                findings.add("streams_threads", node, "asynchronous code", "Write plain functions.")
            case ast.Name(id=name, ctx=ast.Load()) if name not in own and name not in aliases:
                if rule := vocabulary.refusal(name):
                    findings.add(rule, node, f"{name} is used", "Leave it out.")
            case ast.Attribute():
                _attribute(node, own, aliases, findings)
                path = dotted(node, aliases)
                if id(node) not in inner and path.startswith("triton."):
                    _triton_attribute(node, path, findings)


def _lookups(tree: ast.Module, findings: Findings, aliases: Mapping[str, str]) -> None:
    """Attributes that are not written as such: by getattr, or in a pattern."""
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="getattr"), args=[owner, name, *_]):
                _looked_up(node, dotted(owner, aliases), name, findings)
            case ast.Name(id="getattr", ctx=ast.Load()) if id(node) not in called:
                findings.add("dynamic_code", node, "getattr is handed on", "Write the attribute out.")
            case ast.MatchClass(kwd_attrs=names) if rule := next(filter(None, map(vocabulary.refusal, names)), None):
                findings.add(rule, node, f"a pattern names {', '.join(names)}", "Leave it out.")


def _looked_up(node: ast.Call, owner: str, name: ast.expr, findings: Findings) -> None:
    """Judge getattr(owner, name) as the attribute that it stands for, which has to be written out."""
    text = name.value if isinstance(name, ast.Constant) and isinstance(name.value, str) else None
    of_import = owner.partition(".")[0] in ("torch", "triton")
    rule = vocabulary.refusal(text) if text is not None else "dynamic_code" if of_import or not owner else None
    if rule or (text or "").startswith("__"):
        findings.add(rule or "dynamic_code", node, f"{ast.unparse(node)[:100]}", "Write the attribute out.")


def _attribute(node: ast.Attribute, own: set[str], aliases: Mapping[str, str], findings: Findings) -> None:
    if not isinstance(node.ctx, ast.Load) and _belongs_to_others(node, own - {*aliases}, aliases):
        what = f"{ast.unparse(node)} is set, which is not this file's"
        findings.add("patching", node, what, "Leave other objects alone.")
    rule = vocabulary.refusal(node.attr)
    if rule and (rule == "patching" or node.attr in vocabulary.OF_ANYTHING or _of_torch(node, aliases)):
        findings.add(rule, node, f".{node.attr} is used", "Leave it out.")
    elif node.attr.startswith("__") and node.attr not in ("__init__", "__name__"):
        findings.add("dynamic_code", node, f".{node.attr}", "Leave Python's machinery alone.")


def _of_torch(node: ast.Attribute, aliases: Mapping[str, str]) -> bool:
    return dotted(node, aliases).partition(".")[0] == "torch"


def _belongs_to_others(node: ast.Attribute, own: set[str], aliases: Mapping[str, str]) -> bool:
    """Whether an attribute is of something imported or of Python's: not of `self`, a parameter or an own name."""
    name = dotted(node.value, {}).partition(".")[0]
    return name in aliases or (name != "" and name not in own)


def _triton_attribute(node: ast.AST, path: str, findings: Findings) -> None:
    lacking = vocabulary.unknown_attribute(path)
    if lacking is None:
        return
    module, name = lacking
    import difflib

    near = difflib.get_close_matches(name, vocabulary.triton_names(module) or (), n=3, cutoff=0.6)
    remedy = f"Did you mean {', '.join(near)}?" if near else f"See the documentation of {module}."
    findings.add("triton_attribute", node, f"{module} has no {name}", remedy)

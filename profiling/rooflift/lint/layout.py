"""Rules of a candidate's form: sections, imports, names, signatures, and words that have no place in a kernel file."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from enum import IntEnum

from rooflift.lint import vocabulary
from rooflift.lint.findings import Findings
from rooflift.lint.kernels import dotted

_TESTING = ("get_inputs", "get_init_inputs", "Model", "main", "benchmark")


class Section(IntEnum):
    """The parts of a candidate in their order."""

    IMPORTS = 0
    KERNELS = 1
    WRAPPERS = 2
    MODEL = 3


_SECTION_NAMES = ("imports", "kernels", "wrappers", "class ModelNew")


def imports(tree: ast.Module) -> dict[str, str]:
    """Return the names that the imports bind, each with the full dotted name behind it."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})
    return found


def decorators(node: ast.FunctionDef | ast.ClassDef, aliases: Mapping[str, str]) -> Iterator[tuple[str, ast.expr]]:
    """Return the decorators by their dotted names."""
    for decorator in node.decorator_list:
        function = decorator.func if isinstance(decorator, ast.Call) else decorator
        yield dotted(function, {"staticmethod": "builtins.staticmethod", **aliases}), decorator


def is_kernel(node: ast.stmt, aliases: Mapping[str, str]) -> bool:
    """Tell whether a statement is a function under `@triton.jit`."""
    return isinstance(node, ast.FunctionDef) and any(name == "triton.jit" for name, _ in decorators(node, aliases))


def judge_layout(tree: ast.Module, findings: Findings, aliases: Mapping[str, str]) -> None:
    """Judge everything about a candidate that does not ask what its code does."""
    _sections(tree, findings, aliases)
    _imports(tree, findings)
    _undefined(tree, findings)
    _words(tree, findings, aliases)


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
            return _function_section(node, later, findings, aliases)
        case ast.ClassDef(name="ModelNew"):
            return Section.MODEL
        case ast.ClassDef():
            _record(node, findings, aliases)
        case ast.Expr(value=ast.Constant(value=str())) | ast.Assign() | ast.AnnAssign():
            pass
        case ast.If() if "__name__" in ast.unparse(node.test):
            findings.add("testing_code", node, "code for running the file", "Leave testing code out.")
        case _:
            what = "a statement at module level that is no import, constant, function or class"
            findings.add("top_level_code", node, what, "Move it into a function, or leave it out.")
    return None


def _function_section(
    node: ast.FunctionDef, later: list[ast.stmt], findings: Findings, aliases: Mapping[str, str]
) -> Section | None:
    names = list(decorators(node, aliases))
    for name, decorator in names:
        if name not in vocabulary.DECORATORS:
            rule = "caching" if "cache" in ast.unparse(decorator) else "decorator"
            findings.add(rule, decorator, f"@{ast.unparse(decorator)}", "Use triton's decorators only.")
    known = {name for name, _ in names}
    if "triton.jit" in known:
        return Section.KERNELS
    used_by_kernels = {
        part.id
        for kernel in later
        if is_kernel(kernel, aliases) or isinstance(kernel, ast.Assign)
        for part in ast.walk(kernel)
        if isinstance(part, ast.Name)
    }
    if "triton.constexpr_function" in known or node.name in used_by_kernels:
        return None  # what kernels and their decorators call must stand before them
    return Section.WRAPPERS


def _record(node: ast.ClassDef, findings: Findings, aliases: Mapping[str, str]) -> None:
    """A class beside ModelNew may be a dataclass, a named tuple or an enumeration, with fields alone."""
    bases = {dotted(base, aliases) for base in node.bases}
    plain = bases <= {"typing.NamedTuple", "enum.Enum", "enum.IntEnum"} and not node.keywords
    decorated = {name for name, _ in decorators(node, aliases)}
    fields = all(isinstance(part, ast.AnnAssign | ast.Assign | ast.Expr | ast.Pass) for part in node.body)
    if not (
        plain
        and fields
        and (bases or decorated == {"dataclasses.dataclass"})
        and decorated <= {"dataclasses.dataclass"}
    ):
        what = f"class {node.name} is neither ModelNew nor a record of fields"
        findings.add(
            "class_body", node, what, "Write wrappers as functions; a dataclass or NamedTuple has fields alone."
        )


def _imports(tree: ast.Module, findings: Findings) -> None:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        if node not in tree.body:
            findings.add("import", node, "an import inside of a function or block", "Import at the top of the file.")
        module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
        for alias in node.names:
            full = f"{module}.{alias.name}" if module else alias.name
            if module.startswith("triton"):
                _triton_attribute(node, full, findings)
            level = node.level if isinstance(node, ast.ImportFrom) else 0
            if level or alias.name == "*" or not _importable(module, alias.name, full):
                rule = vocabulary.refusal(full)
                findings.add(
                    rule, node, f"{full} is imported", "Import torch, torch.nn, triton, triton.language, math."
                )


def _importable(module: str, name: str, full: str) -> bool:
    if module in vocabulary.STANDARD:
        allowed = vocabulary.STANDARD[module]
        return allowed is None or name in allowed or full in vocabulary.STANDARD
    if not module and full in vocabulary.STANDARD:
        return True
    package, _, rest = full.partition(".")
    if package == "torch":
        return full in vocabulary.MODULES["torch"] or rest in vocabulary.TORCH_PLAIN | vocabulary.ALLOCATION
    if package == "triton":
        known = vocabulary.TRITON_PLAIN | vocabulary.TRITON_DECORATORS
        return full in vocabulary.MODULES["triton"] or rest in known or rest.startswith("language.")
    return False


def _undefined(tree: ast.Module, findings: Findings) -> None:
    from pyflakes import messages
    from pyflakes.checker import Checker

    wanted = (messages.UndefinedName, messages.UndefinedLocal)
    for message in Checker(tree).messages:
        if isinstance(message, wanted):
            name = message.message_args[0]
            rule = vocabulary.refusal(f"builtins.{name}") if name in ("__file__", "__name__") else "undefined_name"
            findings.at(rule, message.lineno, message.col + 1, f"{name} is not defined", "Import or define it.")


def _words(tree: ast.Module, findings: Findings, aliases: Mapping[str, str]) -> None:
    """Names and statements that are refused wherever they stand; attributes that triton does not have."""
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    own |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    own |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        match node:
            case ast.Try() | ast.TryStar():
                findings.add(
                    "exception_handling", node, "try/except", "Let errors rise; check inputs with if and raise."
                )
            case ast.Global() | ast.Nonlocal():
                findings.add("caching", node, f"`{ast.unparse(node)}`", "Pass values as arguments.")
            case ast.AsyncFunctionDef() | ast.Await() | ast.AsyncFor() | ast.AsyncWith():
                findings.add("streams_threads", node, "asynchronous code", "Write plain functions.")
            case ast.Name(id=name, ctx=ast.Load()):
                _name(node, name, own, aliases, findings)
            case ast.Attribute(attr=attr):
                if attr.startswith("__") and attr != "__init__":
                    findings.add("dynamic_code", node, f".{attr}", "Leave Python's machinery alone.")
                path = dotted(node, aliases)
                if id(node) not in inner and path.startswith("triton."):
                    _triton_attribute(node, path, findings)


def _name(node: ast.Name, name: str, own: set[str], aliases: Mapping[str, str], findings: Findings) -> None:
    rule = vocabulary.refusal(f"builtins.{name}")
    shadowed = name in own or name in aliases
    if name.startswith("__") or (rule != "import" and not shadowed):
        findings.add(rule if rule != "import" else "dynamic_code", node, f"{name} is used", "Leave it out.")


def _triton_attribute(node: ast.AST, path: str, findings: Findings) -> None:
    lacking = vocabulary.unknown_attribute(path)
    if lacking is None:
        return
    module, name = lacking
    import difflib

    near = difflib.get_close_matches(name, vocabulary.triton_names(module) or (), n=3, cutoff=0.6)
    remedy = f"Did you mean {', '.join(near)}?" if near else f"See the documentation of {module}."
    findings.add("triton_attribute", node, f"{module} has no {name}", remedy)


def model_class(tree: ast.Module, name: str) -> ast.ClassDef | None:
    """Return a class at module level."""
    return next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name), None)


def judge_model(tree: ast.Module, reference: ast.Module, findings: Findings, aliases: Mapping[str, str]) -> None:
    """Judge the class ModelNew against the reference's Model: bases, methods, signatures."""
    model, original = model_class(tree, "ModelNew"), model_class(reference, "Model")
    if model is None:
        last = tree.body[-1] if tree.body else None
        findings.add("model_new", last, "there is no class ModelNew", "End the file with class ModelNew(nn.Module).")
        return
    if [dotted(base, aliases) for base in model.bases] != ["torch.nn.Module"] or model.keywords or model.decorator_list:
        findings.add(
            "model_new", model, "ModelNew is not plainly `class ModelNew(nn.Module)`", "Inherit nn.Module alone."
        )
    for node in model.body:
        _member(node, findings, aliases)
    assert original is not None  # the catalog has seen it
    for method in ("__init__", "forward"):
        wanted, found = _signature(original, method), _signature(model, method)
        if wanted != found:
            node = _method(model, method) or model
            what = f"ModelNew.{method}({', '.join(found)}) is not the reference's ({', '.join(wanted)})"
            findings.add("signature", node, what, "Keep names, order and defaults of the reference.")


def _member(node: ast.stmt, findings: Findings, aliases: Mapping[str, str]) -> None:
    match node:
        case ast.FunctionDef(name=name):
            if name.startswith("__") and name != "__init__":
                findings.add("class_body", node, f"ModelNew defines {name}", "Leave Python's machinery alone.")
            for path, decorator in decorators(node, aliases):
                if path not in ("builtins.staticmethod", "torch.no_grad", "torch.inference_mode"):
                    rule = "caching" if "cache" in ast.unparse(decorator) else "decorator"
                    findings.add(rule, decorator, f"@{ast.unparse(decorator)}", "Write a plain method.")
        case ast.Expr(value=ast.Constant()) | ast.Pass() | ast.AnnAssign() | ast.Assign():
            pass
        case _:
            findings.add("class_body", node, "a statement in ModelNew that is no method or constant", "Leave it out.")


def _method(model: ast.ClassDef, name: str) -> ast.FunctionDef | None:
    return next((node for node in model.body if isinstance(node, ast.FunctionDef) and node.name == name), None)


def _signature(model: ast.ClassDef, name: str) -> list[str]:
    method = _method(model, name)
    if method is None:
        return ["self"] if name == "__init__" else []
    args = ast.parse(ast.unparse(method.args).join(("def f(", "): 0"))).body[0].args  # type: ignore[attr-defined]
    for arg in ast.walk(args):
        if isinstance(arg, ast.arg):
            arg.annotation = None
    return [part.strip() for part in ast.unparse(args).split(",")]

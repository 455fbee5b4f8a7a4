"""Rules of the class ModelNew: bases, methods, the parameters of the reference's Model."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from rooflift.lint.findings import Findings
from rooflift.lint.names import dotted


def model_class(tree: ast.Module, name: str) -> ast.ClassDef | None:
    """Return a class at module level."""
    return next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name), None)


def judge_model(tree: ast.Module, reference: ast.Module, findings: Findings, aliases: Mapping[str, str]) -> None:
    """Judge the class ModelNew against the reference's Model: bases, methods, parameters."""
    model, original = model_class(tree, "ModelNew"), model_class(reference, "Model")
    if model is None:
        last = tree.body[-1] if tree.body else None
        findings.add("model_new", last, "there is no class ModelNew", "End the file with class ModelNew(nn.Module).")
        return
    if [dotted(base, aliases) for base in model.bases] != ["torch.nn.Module"] or model.keywords or model.decorator_list:
        what = "ModelNew is not plainly `class ModelNew(nn.Module)`"
        findings.add("model_new", model, what, "Inherit nn.Module alone.")
    for node in model.body:
        names = [t.id for t in _targets(node) if isinstance(t, ast.Name)] + [getattr(node, "name", "")]
        for name in names:
            if name.startswith("__") and name != "__init__":
                findings.add("class_body", node, f"ModelNew defines {name}", "Leave Python's machinery alone.")
        plain = isinstance(node, ast.FunctionDef | ast.Pass | ast.Assign | ast.AnnAssign)
        if not plain and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            what = "a statement in ModelNew that is no method or constant"
            findings.add("class_body", node, what, "Leave it out.")
    for method in ("__init__", "forward"):
        if original is not None:
            _same_parameters(original, model, method, findings)


def _targets(node: ast.stmt) -> list[ast.expr]:
    if isinstance(node, ast.Assign):
        return node.targets
    return [node.target] if isinstance(node, ast.AnnAssign) else []


def _same_parameters(original: ast.ClassDef, model: ast.ClassDef, method: str, findings: Findings) -> None:
    """Ask for the reference's parameters in their order; more of them need defaults."""
    wanted, found = _parameters(original, method), _parameters(model, method)
    taken = [text.partition("=")[0] for text, _ in found]
    names = [text.partition("=")[0] for text, _ in wanted]
    defaults = all(own == said or own[0].partition("=")[0] == said[0] for own, said in zip(found, wanted, strict=False))
    if taken[: len(names)] != names or not defaults or not all(optional for _, optional in found[len(names) :]):
        node = _method(model, method) or model
        said, own = (", ".join(text for text, _ in every) for every in (wanted, found))
        what = f"ModelNew.{method}({own}) is not the reference's ({said})"
        findings.add("signature", node, what, "Keep names and order of the reference; more parameters need defaults.")


def _method(model: ast.ClassDef, name: str) -> ast.FunctionDef | None:
    return next((node for node in model.body if isinstance(node, ast.FunctionDef) and node.name == name), None)


def _parameters(model: ast.ClassDef, name: str) -> list[tuple[str, bool]]:
    """Return each parameter as "name=default", and whether it may be left out."""
    method = _method(model, name)
    if method is None:
        return [("self", False)] if name == "__init__" else []
    args = method.args
    every = [*args.posonlyargs, *args.args]
    defaults: list[ast.expr | None] = [None] * (len(every) - len(args.defaults))
    found = list(zip(every, [*defaults, *args.defaults], strict=True))
    found += list(zip(args.kwonlyargs, args.kw_defaults, strict=True))
    texts = [(arg.arg + (f"={ast.unparse(value)}" if value else ""), value is not None) for arg, value in found]
    starred = [(f"{star}{arg.arg}", True) for star, arg in (("*", args.vararg), ("**", args.kwarg)) if arg]
    return texts + starred

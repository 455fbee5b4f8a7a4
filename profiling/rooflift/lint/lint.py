"""The linter of a candidate: form, safety and honesty, judged on the syntax tree; nothing of the candidate is run.

It refuses what it cannot follow, so its silence means: every path from ModelNew.forward was walked, nothing but
kernels computes on it, and the tensors returned are written by a launch. Whether they are right, only a run tells.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rooflift.lint.candidate import Candidate, CandidateFault, read_candidate
from rooflift.lint.expressions import TooComplex
from rooflift.lint.findings import Finding, Findings
from rooflift.lint.host import MODULE_STATE, HostCode
from rooflift.lint.kernels import KernelCode
from rooflift.lint.launches import LaunchRules, Tuning, against_base, lost_configuration
from rooflift.lint.layout import decorators, imports, is_kernel, judge_layout, judge_model, model_class
from rooflift.lint.values import Box, Config, Function, Instance, Kernel, Origin, Record, Scalar, Tensor, Value, options
from rooflift.lint.vocabulary import triton_names
from rooflift.project.stages import stage as stage_named

_NUMBERS = ("int", "float", "bool", "str")


@dataclass(slots=True)
class Reading:
    """A candidate taken apart: what was found wrong, and its launches where the walk came to its end."""

    findings: Findings
    launches: LaunchRules | None = None


def lint_file(path: Path, reference: Path, stage: str | None = None, base: Path | None = None) -> list[Finding]:
    """Judge the candidate in a file against the rules, those of a stage, and its base; no finding means accepted.

    Raises:
        CandidateFault: the candidate or the base cannot be read.
        CatalogError: there is no such stage.
    """
    rules = stage_named(stage).lint_rules if stage else ()
    return check_candidate(read_candidate(path), reference, rules, base)


def unchecked(stage: str | None, base: Path | None) -> list[str]:
    """Return what could not be judged, each with its reason."""
    gaps: list[str] = []
    if triton_names("triton.language") is None:
        gaps.append("triton is not installed here: attributes of triton.language were not checked")
    if stage and stage_named(stage).lint_rules and base is None:
        rules = ", ".join(stage_named(stage).lint_rules)
        gaps.append(f"the rules {rules} of the {stage} stage compare with the version before: name it with --base")
    return gaps


def check_candidate(
    candidate: Candidate, reference: Path, rules: Sequence[str] = (), base: Path | None = None
) -> list[Finding]:
    """Judge a candidate; `rules` are a stage's.

    Raises:
        CandidateFault: the base cannot be read, or is no kernel file.
    """
    original = ast.parse(reference.read_text(encoding="utf-8"))
    reading = read_code(candidate, original)
    if base is not None:
        before = read_code(read_candidate(base), original)
        if before.launches is None or not before.launches.told:
            raise CandidateFault(
                f"{base}: no launch is found in the base", "Name the version that the candidate starts from."
            )
        if reading.launches is not None:
            _compare(reading.findings, reading.launches, before.launches, rules)
    return reading.findings.sorted()


def _compare(findings: Findings, new: LaunchRules, base: LaunchRules, rules: Sequence[str]) -> None:
    for code, what in lost_configuration(new, base):
        findings.add("autotune_base", code.node, what, "Keep the base's configuration among those to try.")
    for rule, launch, what, remedy in against_base(new, base):
        if rule in rules:
            findings.add(rule, launch.node if launch else None, what, remedy)


def read_code(candidate: Candidate, reference: ast.Module) -> Reading:
    """Take a candidate apart and judge it by the general rules."""
    findings = Findings(candidate.first_line)
    try:
        tree = ast.parse(candidate.code)
        judge_layout(tree, findings, imports(tree))
    except SyntaxError as error:
        findings.at("syntax", error.lineno or 1, error.offset or 1, error.msg, "Hand in a file that Python can parse.")
        return Reading(findings)
    except (RecursionError, MemoryError, ValueError):
        findings.at("syntax", 1, 1, "the code is nested too deeply to be parsed", "Write shorter expressions.")
        return Reading(findings)
    judge_model(tree, reference, findings, imports(tree))
    if model_class(tree, "ModelNew") is None:
        return Reading(findings)
    try:
        return Reading(findings, _walk(tree, findings))
    except (TooComplex, RecursionError):
        findings.at(
            "unfollowable", 1, 1, "the host code is recursive or too long", "Write it straight; loops are fine."
        )
        return Reading(findings)


def _walk(tree: ast.Module, findings: Findings) -> LaunchRules:
    """Walk the module, the constructor and forward; judge the launches and the results."""
    aliases = imports(tree)
    kernels: dict[str, KernelCode] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and is_kernel(node, aliases):
            kernels[node.name] = KernelCode(node, kernels, aliases)
    host = HostCode(findings, aliases)
    for name in kernels:
        host.scope.names[name] = Kernel(name)
    tuning: dict[str, Tuning] = {}
    for node in tree.body:
        _module_statement(node, host, kernels, tuning)
    _kernel_bodies(kernels, host)
    rules = LaunchRules(host, kernels, tuning)
    _model(tree, host, rules)
    return rules


def _module_statement(
    node: ast.stmt, host: HostCode, kernels: dict[str, KernelCode], tuning: dict[str, Tuning]
) -> None:
    match node:
        case ast.FunctionDef(name=name) if name in kernels:
            tuning[name] = _tuning(node, host)
        case ast.FunctionDef():
            host.statement(node)
        case ast.ClassDef(name=name) if name != "ModelNew":
            fields = [
                part.target.id
                for part in node.body
                if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name)
            ]
            fields += [
                t.id
                for part in node.body
                if isinstance(part, ast.Assign)
                for t in part.targets
                if isinstance(t, ast.Name)
            ]
            for part in node.body:
                if isinstance(part, ast.AnnAssign | ast.Assign) and part.value is not None:
                    host.visit(part.value)
            host.scope.names[name] = Record(name, tuple(fields))
        case ast.Assign() | ast.AnnAssign():
            host.statement(node)
            for value in host.scope.names.values():
                host.keep(value)
            if isinstance(node, ast.Assign) and not all(isinstance(t, ast.Name | ast.Tuple) for t in node.targets):
                host.refuse(
                    "patching", node, "an attribute or item is set at module level", "Leave other objects alone."
                )


def _tuning(node: ast.FunctionDef, host: HostCode) -> Tuning:
    """Read what the decorators of a kernel tune."""
    configs: list[Config] = []
    heuristics: set[str] = set()
    known = True
    for path, decorator in decorators(node, host_aliases(host)):
        if not isinstance(decorator, ast.Call):
            continue
        given = {"configs": decorator.args[0]} if decorator.args else {}
        given |= {keyword.arg: keyword.value for keyword in decorator.keywords if keyword.arg}
        values = {name: host.visit(value) for name, value in given.items()}
        if path == "triton.heuristics":
            table = values.get("values", values.get("configs"))
            heuristics |= {str(key) for key in (table.items or {})} if isinstance(table, Box) else set()
            _callbacks(table, host, decorator)
        elif path == "triton.autotune":
            listed = values.get("configs")
            whole = isinstance(listed, Box) and listed.items is not None
            found = [option for e in listed.elements() for option in options(e)] if isinstance(listed, Box) else []
            configs += [option for option in found if isinstance(option, Config)]
            known = known and whole and bool(found) and all(isinstance(option, Config) for option in found)
            _callbacks(values.get("prune_configs_by"), host, decorator)
            for hook in {"pre_hook", "post_hook"} & {*given}:
                host.refuse("autotune", decorator, f"autotune with {hook}", f"Leave {hook} out.")
    return Tuning(tuple(configs), frozenset(heuristics), known)


def host_aliases(host: HostCode) -> dict[str, str]:
    """Return the dotted names that the imports of the walked module bind."""
    from rooflift.lint.values import External

    return {name: value.path for name, value in host.scope.names.items() if isinstance(value, External)}


def _callbacks(table: Value | None, host: HostCode, node: ast.AST) -> None:
    for value in table.elements() if isinstance(table, Box) else ():
        for option in options(value):
            if isinstance(option, Function):
                host.calls.called_back(option, node)


def _kernel_bodies(kernels: dict[str, KernelCode], host: HostCode) -> None:
    """Kernels speak triton only, and see no plain number of the module."""
    for code in kernels.values():
        own = {*code.parameters, *code.names} | {
            n.id for n in ast.walk(code.node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
        }
        for statement in code.node.body:
            for node in ast.walk(statement):
                if not isinstance(node, ast.Name) or node.id in own:
                    continue
                if code.aliases.get(node.id, "").partition(".")[0] == "torch":
                    host.refuse(
                        "kernel_name",
                        node,
                        f"{node.id} stands in kernel {code.node.name}",
                        "Use triton.language in kernels.",
                    )


def _model(tree: ast.Module, host: HostCode, rules: LaunchRules) -> None:
    model = model_class(tree, "ModelNew")
    assert model is not None  # asked before
    _members(model, host)
    host.phase = "init"
    if "__init__" in host.methods:
        init = host.methods["__init__"]
        host.enter(host.function(init), [Instance(), *(Scalar(a.arg) for a in init.args.args[1:])], {}, init)
    forward = host.methods.get("forward")
    if forward is None:
        host.refuse("signature", model, "ModelNew has no forward", "Define forward as the reference does.")
        return
    function = host.function(forward)  # its defaults belong to the module
    host.phase = "forward"
    result = host.enter(function, [Instance(), *map(_input, forward.args.args[1:])], {}, forward)
    for name, method in host.methods.items():
        if name not in host.entered | {"__init__", "forward"}:
            host.enter(host.function(method), [Instance(), *map(_input, method.args.args[1:])], {}, method)
    _result(forward, result, host, rules)


def _members(model: ast.ClassDef, host: HostCode) -> None:
    for member in model.body:
        if isinstance(member, ast.FunctionDef):
            host.methods[member.name] = member
            if member.name in MODULE_STATE - {"forward"}:
                host.refuse("class_body", member, f"{member.name} belongs to nn.Module", "Choose another name.")
    for member in model.body:
        if isinstance(member, ast.Assign) and len(member.targets) == 1 and isinstance(member.targets[0], ast.Name):
            value = host.visit(member.value)
            name = member.targets[0].id
            if name in MODULE_STATE or name.startswith("__") or not isinstance(value, Scalar | Box):
                host.refuse("class_body", member, f"ModelNew.{name} is no constant", "Set numbers and tuples alone.")
            host.keep(value)
            host.own[name] = value


def _result(forward: ast.FunctionDef, result: Value, host: HostCode, rules: LaunchRules) -> None:
    rules.judge()
    if not host.launches:
        host.refuse("no_launch", forward, "forward reaches no kernel launch", "Launch your kernels from forward.")
        return
    for what in rules.unwritten(result):
        host.refuse("unwritten_output", forward, what, "Return a tensor of this call that a kernel writes.")


def _input(arg: ast.arg) -> Value:
    if arg.annotation is not None and ast.unparse(arg.annotation) in _NUMBERS:
        return Scalar(arg.arg)
    return Tensor(arg.arg, frozenset({Origin("input", arg.arg)}))

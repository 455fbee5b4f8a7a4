"""Loops of a kernel: what they carry from one iteration to the next, and loads that another loop repeats."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass

import libcst as cst
import libcst.matchers as m

from rooflift.optimize.search.source import assigned, assignment, reads, text, with_names

IDENTITY = {
    "sum": {"0.0", "0"},
    "max": {"float('-inf')", "-float('inf')"},
    "min": {"float('inf')"},
}
LONGEST = 2000  # characters of a value that is compared with another
_COMBINE = {"tl.maximum": "max", "tl.minimum": "min"}


@dataclass(frozen=True, slots=True)
class Carried:
    """A value that a loop reads and assigns; `how` is "sum", "max" or "min" where iterations add to it, else ""."""

    name: str
    how: str
    scalar: bool


def range_loops(kernel: cst.FunctionDef) -> list[cst.For]:
    """Return the loops over a range that stand at the top of a kernel's body."""
    return [
        node
        for node in kernel.body.body
        if isinstance(node, cst.For)
        and isinstance(node.target, cst.Name)
        and m.matches(node.iter, m.Call(func=m.Name("range")))
    ]


def range_of(loop: cst.For) -> list[str]:
    """Return the arguments of a loop's range."""
    return [text(arg.value) for arg in cst.ensure_type(loop.iter, cst.Call).args]


def body_of(loop: cst.For) -> list[cst.CSTNode]:
    """Return the statements of a loop."""
    return list(cst.ensure_type(loop.body, cst.IndentedBlock).body)


def carried(kernel: cst.FunctionDef, loop: cst.For) -> list[Carried]:
    """Return what a loop carries, in the order in which it is assigned."""
    body = body_of(loop)
    changed, ready, found = set(assigned(body)), {text(loop.target)}, dict[str, Carried]()
    for statement in body:
        made = assignment(statement)
        names, value, operator = made or ([], None, "")
        read = reads(statement) if value is None else [*reads(value), *(names if operator else [])]
        for name in read:
            if name in changed - ready and name not in found:
                found[name] = Carried(name, "", False)
        for name in names:
            if name in found and value is not None:
                found[name] = _combined(kernel, loop, name, value, operator)
        ready.update(assigned([statement]))
    return list(found.values())


def _combined(kernel: cst.FunctionDef, loop: cst.For, name: str, value: cst.BaseExpression, operator: str) -> Carried:
    how, added = "", value
    if operator == "+=":
        how = "sum"
    elif isinstance(value, cst.BinaryOperation) and isinstance(value.operator, cst.Add) and text(value.left) == name:
        how, added = "sum", value.right
    elif isinstance(value, cst.Call) and text(value.func) in _COMBINE and text(value.args[0].value) == name:
        how, added = _COMBINE[text(value.func)], value.args[1].value
    if name in reads(added) or _first(kernel, loop, name) not in IDENTITY.get(how, ()):
        return Carried(name, "", False)
    return Carried(name, how, m.matches(added, m.Call(func=m.Attribute(attr=m.Name(how)))))


def _first(kernel: cst.FunctionDef, loop: cst.For, name: str) -> str:
    """Return the value that a name has before the loop, as `tl.full` and `tl.zeros` spell it out."""
    value = definition(kernel, loop, name)
    if value is None:
        return ""
    if isinstance(value, cst.Call) and text(value.func) == "tl.zeros":
        return "0.0"
    if isinstance(value, cst.Call) and text(value.func) == "tl.full" and len(value.args) > 1:
        value = value.args[1].value
    return text(value).replace('"', "'")


def definition(kernel: cst.FunctionDef, before: cst.CSTNode, name: str) -> cst.BaseExpression | None:
    """Return what a name was last assigned in the kernel's own statements before one of them, None where unknown."""
    found = None
    for statement in kernel.body.body:
        if statement is before:
            break
        made = assignment(statement)
        if made and made[0] == [name] and not made[2]:
            found = made[1]
        elif name in assigned([statement]):
            found = None
    return found


def loads(node: cst.CSTNode) -> bool:
    """Whether a node loads from memory."""
    return bool(m.findall(node, m.Call(func=m.Attribute(attr=m.Name("load")))))


def writes(node: cst.CSTNode) -> bool:
    """Whether a node may change memory."""
    calls = m.findall(node, m.Call(func=m.Attribute()))
    names = [text(cst.ensure_type(call, cst.Call).func) for call in calls]
    return any(name in ("tl.store", "tl.debug_barrier") or name.startswith("tl.atomic") for name in names)


def without_repeats(body: Sequence[cst.CSTNode]) -> list[cst.CSTNode]:
    """Leave out assignments that an earlier one in the same straight line of statements has made already.

    A load is repeated only while nothing was written.
    """
    meaning: dict[str, str] = {}  # of a name: its value in terms of names that are not assigned here
    made_of: dict[str, str] = {}
    memory, kept = 0, list[cst.CSTNode]()
    for number, statement in enumerate(body):
        made = assignment(statement)
        opaque = {name: f"{name}_{number}" for name in assigned([statement])}
        if made and len(made[0]) == 1 and not made[2]:
            (name,), value, _ = made
            full = text(with_names(value, {n: f"({meaning[n]})" for n in reads(value) if n in meaning}))
            means = ast.unparse(ast.parse(full, mode="eval"))
            if made_of.get(name) == f"{means} {memory if loads(value) else ''}":
                continue
            made_of[name] = f"{means} {memory if loads(value) else ''}"
            opaque = opaque if loads(value) or len(means) > LONGEST else {name: means}
        else:
            made_of = {name: known for name, known in made_of.items() if name not in opaque}
        meaning.update(opaque)
        memory += writes(statement)
        kept.append(statement)
    return kept

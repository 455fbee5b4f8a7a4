"""An edit: what one loop loads stays in registers for the next, where both have a constant number of iterations."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import combinations

import libcst as cst

from rooflift.optimize.search.edit import Edit
from rooflift.optimize.search.loops import body_of, definition, loads, range_loops, range_of
from rooflift.optimize.search.source import (
    assigned,
    assignment,
    expression,
    fresh,
    kernels,
    reads,
    statements,
    text,
    with_nodes,
)

MOST_KEPT = 128  # iterations whose loads are kept


def kept_loads(tree: cst.Module) -> Iterator[Edit]:
    """Yield files in which a later loop takes the elements that an earlier one has loaded."""
    for kernel in kernels(tree):
        yield from _of_kernel(tree, kernel)


def _of_kernel(tree: cst.Module, kernel: cst.FunctionDef) -> Iterator[Edit]:
    constant = {
        p.name.value for p in kernel.params.params if p.annotation and "constexpr" in text(p.annotation.annotation)
    }
    for first, second in combinations(range_loops(kernel), 2):
        trips = range_of(first)
        if len(trips) != 1 or trips != range_of(second) or trips[0] not in constant:
            continue
        same = [
            (one, other)
            for one in body_of(first)
            for other in body_of(second)
            if loads(one) and text(_bare(one)) == text(_bare(other)) and _same_start(kernel, first, second, one)
        ]
        if same:
            new = _with(kernel, first, second, same)
            title = f"{kernel.name.value} keeps what a loop loads in registers for the next"
            yield Edit("kept loads", "kept loads", title, partial(with_nodes, tree, {kernel: new}))


def _bare(node: cst.CSTNode) -> cst.CSTNode:
    if isinstance(node, cst.SimpleStatementLine):
        return node.with_changes(leading_lines=[], trailing_whitespace=cst.TrailingWhitespace())
    return node


def _same_start(kernel: cst.FunctionDef, first: cst.For, second: cst.For, load: cst.CSTNode) -> bool:
    """Whether the names of a load go through the same values in both loops."""
    made = assignment(load)
    between = list(kernel.body.body)
    between = between[between.index(first) + 1 : between.index(second)]
    for name in dict.fromkeys(reads(made[1]) if made else []):
        steps = [[text(_bare(s)) for s in body_of(loop) if name in assigned([s])] for loop in (first, second)]
        if steps[0] != steps[1]:
            return False
        starts = [definition(kernel, loop, name) for loop in (first, second)]
        moved = bool(steps[0]) and name not in (text(first.target), text(second.target))
        if moved and (None in starts or text(starts[0]) != text(starts[1])):  # type: ignore[arg-type]
            return False
        if not moved and name in assigned(between):
            return False
    return made is not None and len(made[0]) == 1 and not made[2]


def _with(
    kernel: cst.FunctionDef, first: cst.For, second: cst.For, same: list[tuple[cst.CSTNode, cst.CSTNode]]
) -> cst.FunctionDef:
    body, trips = list(kernel.body.body), range_of(first)[0]
    start, end = body.index(first), body.index(second)
    step = text(second.target)
    step = step if step != "_" else fresh(kernel, "step")
    before, news, olds = list[cst.CSTNode](), dict[int, list[cst.CSTNode]](), dict[int, list[cst.CSTNode]]()
    for place, (one, other) in enumerate(same):
        target = assignment(one)[0][0]  # type: ignore[index]
        kept = fresh(kernel, f"kept_{target}" if place == 0 else f"kept_{target}_{place}")
        before += statements(f"{kept} = ()  # of each iteration, in registers")
        news[id(one)] = [one, *statements(f"{kept} = {kept} + ({target},)")]
        olds[id(other)] = [*statements(f"{target} = {kept}[{step}]")]
    unrolled = expression(f"tl.static_range({trips})")
    new_first = first.with_changes(iter=unrolled, leading_lines=[], body=_body(first, news))
    new_second = second.with_changes(iter=unrolled, target=cst.Name(step), leading_lines=[], body=_body(second, olds))
    own = [*before, new_first, *body[start + 1 : end], new_second]
    branch = cst.If(
        test=expression(f"{trips} <= {MOST_KEPT}"),
        body=cst.IndentedBlock(own),  # type: ignore[arg-type]
        orelse=cst.Else(cst.IndentedBlock(body[start : end + 1])),  # type: ignore[arg-type]
    )
    return kernel.with_changes(body=kernel.body.with_changes(body=[*body[:start], branch, *body[end + 1 :]]))


def _body(loop: cst.For, changed: dict[int, list[cst.CSTNode]]) -> cst.BaseSuite:
    new = [node for old in body_of(loop) for node in changed.get(id(old), [old])]
    return cst.ensure_type(loop.body, cst.IndentedBlock).with_changes(body=new)

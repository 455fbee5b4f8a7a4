"""Edits of one figure or one word: block sizes, warps, pipeline stages, unrolling, eviction, order, functions."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import libcst as cst
import libcst.matchers as m

from rooflift.optimize.search.edit import Edit
from rooflift.optimize.search.loops import body_of, range_of
from rooflift.optimize.search.source import (
    Launch,
    assignment,
    expression,
    fresh,
    kernels,
    launches,
    reads,
    replaced,
    statements,
    text,
    with_nodes,
    with_statement,
)

SMALLEST, LARGEST = 16, 1 << 16
OPTIONS = {
    "num_warps": (4, (1, 2, 4, 8, 16, 32)),
    "num_stages": (3, (1, 2, 4, 5)),
}  # Triton's default, and what is tried


def sizes(tree: cst.Module) -> Iterator[Edit]:
    """Yield files with another power of two for a constant that is written in capitals, as block sizes are."""
    for line in m.findall(tree, m.SimpleStatementLine(body=[m.Assign(value=m.Integer())])):
        made = assignment(line)
        if made is None or not made[0][0].isupper():
            continue
        (name,), value = made[0], int(text(made[1]))
        if value & (value - 1) or not SMALLEST <= value <= LARGEST:
            continue
        for factor, move in ((2, "x2"), (0.5, "/2"), (4, "x4"), (0.25, "/4")):
            new = int(value * factor)
            if SMALLEST <= new <= LARGEST:
                changed = partial(with_nodes, tree, {made[1]: cst.Integer(str(new))})
                yield Edit("size", f"{name} {move}", f"{name} from {value} to {new}", changed)


def launch_options(tree: cst.Module) -> Iterator[Edit]:
    """Yield files that launch a kernel with another number of warps or stages."""
    for number, launch in enumerate(launches(tree)):
        kernel = launch.kernel.name.value
        tuned = len(launch.kernel.decorators) > 1
        for option, (default, values) in OPTIONS.items():
            given = launch.arguments.get(option)
            if tuned or not (given is None or isinstance(given, cst.Integer)):
                continue
            if option == "num_stages" and not m.findall(launch.kernel, m.For()):
                continue
            now = default if given is None else int(text(given))
            for value in values:
                if value != now:
                    changed = partial(with_statement, tree, launch.statement, [_with_option(launch, option, value)])
                    place = f"{kernel}, launch {number + 1}"
                    yield Edit(
                        option, f"{option} {'up' if value > now else 'down'}", f"{option}={value} for {place}", changed
                    )


def _with_option(launch: Launch, name: str, value: int) -> cst.SimpleStatementLine:
    call, new = launch.call, expression(f"f({name}={value})")
    args = [arg for arg in call.args if not (arg.keyword and arg.keyword.value == name)]
    between = args[0].comma if len(args) > 1 else cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
    added = cst.ensure_type(new, cst.Call).args[0].with_changes(comma=args[-1].comma)
    args = [*args[:-1], args[-1].with_changes(comma=between), added]
    return launch.statement.with_changes(body=[cst.Expr(call.with_changes(args=args))])


def loop_options(tree: cst.Module) -> Iterator[Edit]:
    """Yield files in which a loop is unrolled or its loads run ahead, or in which it runs backwards."""
    for kernel in kernels(tree):
        for number, node in enumerate(m.findall(kernel, m.For(target=m.Name(), iter=m.Call(func=m.Name("range")))), 1):
            loop = cst.ensure_type(node, cst.For)
            over, place = ", ".join(range_of(loop)), f"loop {number} of {kernel.name.value}"
            for option, values in (("loop_unroll_factor", (2, 4, 8)), ("num_stages", (2, 3, 4))):
                for value in values:
                    new = expression(f"tl.range({over}, {option}={value})")
                    changed = partial(with_nodes, tree, {loop.iter: new})
                    yield Edit(option, f"{option} of a loop", f"{option}={value} for {place}", changed)
            target = text(loop.target)
            if number > 1 and len(range_of(loop)) == 1 and any(target in reads(s) for s in body_of(loop)):
                back = statements(f"{target} = {over} - 1 - {target}  # last first: it is still in a cache")
                suite = cst.ensure_type(loop.body, cst.IndentedBlock)
                new_loop = loop.with_changes(body=suite.with_changes(body=[*back, *suite.body]))
                changed = partial(with_nodes, tree, {loop: new_loop})
                yield Edit("order", "a loop backwards", f"{place} runs backwards", changed)


def eviction(tree: cst.Module) -> Iterator[Edit]:
    """Yield files whose stores, or all loads from one pointer, tell the caches what to keep."""
    for kernel in kernels(tree):
        for access, policies in (("store", ("evict_first",)), ("load", ("evict_first", "evict_last"))):
            calls = [
                cst.ensure_type(node, cst.Call)
                for node in m.findall(kernel, m.Call(func=m.Attribute(value=m.Name("tl"), attr=m.Name(access))))
            ]
            calls = [call for call in calls if not any(a.keyword and a.keyword.value in _CACHING for a in call.args)]
            groups = {"all": calls} | ({"the last": calls[-1:]} if len(calls) > 1 else {})
            for which, group in groups.items() if calls else ():
                for policy in policies:
                    changed = partial(with_nodes, tree, {call: _with_policy(call, policy) for call in group})
                    title = f"{which} {access}s of {kernel.name.value} {policy.replace('_', ' ')}"
                    yield Edit("eviction", f"{access}s {policy}", title, changed)


_CACHING = ("eviction_policy", "cache_modifier", "volatile")


def _with_policy(call: cst.Call, policy: str) -> cst.Call:
    given = ", ".join(text(arg.with_changes(comma=cst.MaybeSentinel.DEFAULT)) for arg in call.args)
    return cst.ensure_type(expression(f'{text(call.func)}({given}, eviction_policy="{policy}")'), cst.Call)


def base_two(tree: cst.Module) -> Iterator[Edit]:
    """Yield a file whose exponentials are powers of two."""
    natural = m.Call(func=m.Attribute(value=m.Name("tl"), attr=m.Name("exp")), args=[m.Arg()])

    def change(node: cst.CSTNode) -> cst.CSTNode | None:
        if not m.matches(node, natural):
            return None
        return expression(f"tl.exp2(({text(cst.ensure_type(node, cst.Call).args[0].value)}) * 1.4426950408889634)")

    if m.findall(tree, natural):
        yield Edit("function", "exp2", "exp as exp2 of the argument times log2(e)", partial(replaced, tree, change))


def persistence(tree: cst.Module, sm_count: int) -> Iterator[Edit]:
    """Yield files in which a fixed number of programs an SM walk over what was one program each."""
    place = m.Call(func=m.Attribute(value=m.Name("tl"), attr=m.Name("program_id")))
    for launch in launches(tree):
        kernel = launch.kernel
        ids = m.findall(kernel, place)
        leaves = m.findall(kernel, m.Return() | m.Call(func=m.Attribute(attr=m.Name("num_programs"))))
        alone = sum(one.kernel is kernel for one in launches(tree)) == 1 and len(kernel.decorators) == 1
        if not (alone and len(launch.grid) == 1 and ids and not leaves):
            continue
        if {text(cst.ensure_type(node, cst.Call).args[0].value) for node in ids} != {"0"}:
            continue
        grid, program, total = text(launch.grid[0]), fresh(kernel, "program"), fresh(kernel, "programs")
        inner = with_nodes(kernel.body, dict.fromkeys(ids, cst.Name(program)))
        walk = expression(f"range(tl.program_id(0), {total}, tl.num_programs(0))")
        first = kernel.params.params[0]
        new = kernel.with_changes(
            params=kernel.params.with_changes(params=[first.with_changes(name=cst.Name(total)), *kernel.params.params]),
            body=kernel.body.with_changes(body=[cst.For(target=cst.Name(program), iter=walk, body=inner)]),
        )
        for each in (1, 2, 4, 8):
            head = expression(f"{kernel.name.value}[(min({grid}, {each * sm_count}),)]")
            count = cst.Arg(launch.grid[0], comma=launch.call.args[0].comma)
            call = launch.call.with_changes(func=head, args=[count, *launch.call.args])
            relaunch = launch.statement.with_changes(body=[cst.Expr(call)])
            changed = partial(with_nodes, tree, {launch.statement: relaunch, kernel: new})
            title = f"{each} persistent programs an SM for {kernel.name.value}"
            yield Edit("persistence", "persistent programs", title, changed)

"""An edit: a loop over blocks becomes one tile a program, loaded once; rows too long for a tile may be shared.

Where a kernel walks over the same range several times, each element is loaded as often. A tile that spans the range
is loaded once. A range longer than a program's registers is split over programs that hand each other their parts of
each sum or maximum through memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import libcst as cst
import libcst.matchers as m

from rooflift.optimize.search.edit import Edit
from rooflift.optimize.search.loops import Carried, body_of, carried, loads, range_loops, range_of, without_repeats
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
    with_names,
    with_nodes,
    with_statement,
)

MOST_PARTS = 32  # their words lie in one warp, which sees them all at once; far more programs are resident
_HELPER = '''
@triton.jit
def NAME(value, word_ptr, number, part, parts, PARTS: tl.constexpr, HOW: tl.constexpr):
    """Combine a value with those of the programs that share the work: each leaves its own and waits for the others'."""
    if PARTS > 1:
        bits = value.to(tl.float32).to(tl.int32, bitcast=True).to(tl.int64) & 0xFFFFFFFF
        tl.atomic_xchg(word_ptr + number, bits | (1 << 32), sem="relaxed")
        other = tl.arange(0, PARTS)
        words = tl.load(word_ptr + number - part + other, mask=other < parts, other=1, volatile=True)
        while tl.min((words != 0).to(tl.int32), 0) == 0:
            words = tl.load(word_ptr + number - part + other, mask=other < parts, other=1, volatile=True)
        values = words.to(tl.int32).to(tl.float32, bitcast=True)
        if HOW == "sum":
            value = tl.sum(tl.where(other < parts, values, 0.0), 0)
        elif HOW == "max":
            value = tl.max(tl.where(other < parts, values, float("-inf")), 0)
        else:
            value = tl.min(tl.where(other < parts, values, float("inf")), 0)
    return value
'''


@dataclass(frozen=True, slots=True)
class Walk:
    """A launch whose kernel walks over the blocks of an extent: by the number of blocks, or by their first elements."""

    launch: Launch
    loops: list[cst.For]
    block: str  # the kernel's parameter
    size: str  # the wrapper's name for the block's size
    extent: cst.BaseExpression  # in the wrapper
    trips: str  # the kernel's parameter for the number of blocks; "" where its ranges step by the block
    values: list[list[Carried]]  # of each loop

    @property
    def shares(self) -> bool:
        """Whether programs can share an extent: all that loops carry is combined by a sum, maximum or minimum."""
        return all(one.how and (one.scalar or self._reduced(one)) for values in self.values for one in values)

    def _reduced(self, one: Carried) -> bool:
        calls = m.findall(self.launch.kernel, _reduction(one))
        inside = sum(reads(node).count(one.name) for loop in self.loops for node in body_of(loop))
        outside = reads(self.launch.kernel.body).count(one.name)
        own = [made for s in self.launch.kernel.body.body if (made := assignment(s)) and made[0] == [one.name]]
        return outside - inside - len(own) == len(calls)


def walks(tree: cst.Module) -> Iterator[Walk]:
    """Yield the launches that the edit can change."""
    for launch in launches(tree):
        loops = range_loops(launch.kernel)
        given = launch.arguments
        axes = [text(cst.ensure_type(call, cst.Call).args[0].value) for call in m.findall(launch.kernel, _PROGRAM)]
        if not loops or len(launch.grid) != 1 or set(axes) != {"0"} or len({tuple(range_of(x)) for x in loops}) > 1:
            continue
        over = range_of(loops[0])
        found = _by_trips(launch, over[0]) if len(over) == 1 else _by_steps(launch, over) if len(over) == 3 else None
        if found and sum(loads(loop) for loop in loops):
            block, size, extent, trips = found
            if block in given:
                values = [carried(launch.kernel, loop) for loop in loops]
                yield Walk(launch, loops, block, size, extent, trips, values)


def _by_trips(launch: Launch, trips: str) -> tuple[str, str, cst.BaseExpression, str] | None:
    given = launch.arguments
    value = _resolved(launch, given[trips]) if trips in given else None
    if value is None or not m.matches(value, m.Call(func=m.Attribute(attr=m.Name("cdiv")), args=[m.Arg(), m.Arg()])):
        return None
    extent, size = (arg.value for arg in cst.ensure_type(value, cst.Call).args)
    blocks = [name for name, arg in given.items() if text(arg) == text(size)]
    return (blocks[0], text(size), extent, trips) if len(blocks) == 1 and isinstance(size, cst.Name) else None


def _by_steps(launch: Launch, over: list[str]) -> tuple[str, str, cst.BaseExpression, str] | None:
    given = launch.arguments
    first, extent, step = over
    if first != "0" or extent not in given or step not in given or not isinstance(given[step], cst.Name):
        return None
    return step, text(given[step]), given[extent], ""


def _resolved(launch: Launch, value: cst.BaseExpression) -> cst.BaseExpression:
    """Return what a name of the wrapper was assigned, where it is assigned once."""
    if not isinstance(value, cst.Name):
        return value
    made = [found for line in m.findall(launch.wrapper, m.SimpleStatementLine()) if (found := assignment(line))]
    own = [found for found in made if value.value in found[0]]
    return own[0][1] if len(own) == 1 and len(own[0][0]) == 1 and not own[0][2] else value


def tiles(tree: cst.Module) -> Iterator[Edit]:
    """Yield files in which a launch has a second kernel whose programs load each element once."""
    for walk in walks(tree):
        name = walk.launch.kernel.name.value
        if f"{name}_tile" in (kernel.name.value for kernel in kernels(tree)):
            continue
        title = f"{name} loads what it walks over as one tile"
        if walk.shares:
            shared = f"{title}, shared by several programs where it is long"
            yield Edit("shared tile", "a shared tile", shared, partial(one_tile, tree, walk, shared=True))
        yield Edit("tile", "one tile", title, partial(one_tile, tree, walk, shared=False))


def one_tile(tree: cst.Module, walk: Walk, *, shared: bool) -> cst.Module:
    """Return the file with a second kernel for extents of one tile, or of some parts of it where they are `shared`."""
    launch, kernel = walk.launch, walk.launch.kernel
    names = {name: fresh(tree, name) for name in (*_NAMES, f"{kernel.name.value}_tile")}
    tile = fresh(tree, "TILE")
    own = _tile_kernel(walk, names, shared=shared)
    where, wrapped = _dispatch(walk, names, tile, shared=shared), {walk.size: tile}
    call = cst.ensure_type(with_names(launch.call, wrapped), cst.Call)
    call = _relaunched(walk, call, names, tile, shared=shared)
    branch = cst.ensure_type(where[-1], cst.If)
    body = [*branch.body.body[:-1], cst.SimpleStatementLine([cst.Expr(call)])]
    branch = branch.with_changes(
        body=cst.IndentedBlock(body),
        orelse=cst.Else(cst.IndentedBlock([launch.statement.with_changes(leading_lines=[])])),
    )
    tree = with_statement(tree, launch.statement, [*where[:-1], branch])
    at = next(place for place, node in enumerate(tree.body) if isinstance(node, cst.FunctionDef))
    tree = tree.with_changes(body=[*tree.body[:at], *_constants(names, shared=shared), *tree.body[at:]])
    helper = statements(_HELPER.replace("NAME", names["combined"])) if shared and _reduces(walk) else []
    at = next(
        p for p, n in enumerate(tree.body) if isinstance(n, cst.FunctionDef) and n.name.value == kernel.name.value
    )
    helper = [node.with_changes(leading_lines=_TWO_LINES) for node in helper]
    return tree.with_changes(body=[*tree.body[: at + 1], *helper, own, *tree.body[at + 1 :]])


_NAMES = (
    "MOST_TILE",
    "PART",
    "ELEMENTS",
    "combined",
    "number",
    "program",
    "part",
    "parts",
    "word_ptr",
    "PARTS",
    "words",
)
_PROGRAM = m.Call(func=m.Attribute(value=m.Name("tl"), attr=m.Name("program_id")))
_TWO_LINES = [cst.EmptyLine(indent=False), cst.EmptyLine(indent=False)]


def _tl(name: str) -> m.Attribute:
    return m.Attribute(value=m.Name("tl"), attr=m.Name(name))


def _reduction(one: Carried) -> m.Call:
    return m.Call(func=_tl(one.how), args=[m.Arg(value=m.Name(one.name)), m.ZeroOrMore()])


def _reduces(walk: Walk) -> int:
    return sum(map(len, walk.values))


def _constants(names: dict[str, str], *, shared: bool) -> list[cst.BaseStatement]:
    lines = [f"{names['MOST_TILE']} = 32768  # elements of a tile that one program keeps in registers"]
    if shared:
        lines += [f"{names['PART']} = 4096  # elements of a longer extent that one program takes"]
    lines += [f"{names['ELEMENTS']} = 32  # of a tile, a thread"]
    made = statements("\n".join(lines))
    return [made[0].with_changes(leading_lines=_TWO_LINES[:1]), *made[1:]]


def _tile_kernel(walk: Walk, names: dict[str, str], *, shared: bool) -> cst.FunctionDef:
    kernel, slot, body = walk.launch.kernel, 0, list[cst.CSTNode]()
    later: dict[str, cst.BaseExpression] = {}
    for statement in kernel.body.body:
        if statement not in walk.loops:
            body.append(_wrapped(statement, later))
            continue
        place = walk.loops.index(statement)  # type: ignore[arg-type]
        loop, start = walk.loops[place], names["part"] if shared else "0"
        if not walk.trips:
            start = f"{start} * {walk.block}" if shared else "0"
        body += [*statements(f"{text(loop.target)} = {start}"), *(_wrapped(node, later) for node in body_of(loop))]
        for one in walk.values[place] if shared else []:
            n, after = names, f" + {slot} * tl.num_programs(0)" if slot else ""
            call = (
                f"{n['combined']}({{}}, {n['word_ptr']} + 1{after}, "
                f"{n['number']}, {n['part']}, {n['parts']}, {n['PARTS']}, '{one.how}')"
            ).replace("'", '"')
            slot += 1
            if one.scalar:
                body += statements(f"{one.name} = {call.format(one.name)}")
            else:
                later[one.name] = expression(call.format(f"tl.{one.how}({one.name}, 0)"))
    body = without_repeats(body)
    body = [_wrapped_number(node, names["program"]) for node in body] if shared else body
    if shared:
        n = names
        head = f"""
        {n["number"]} = tl.program_id(0)
        if {n["PARTS"]} > 1:  # in the order in which programs start: none waits for one that cannot
            {n["number"]} = tl.atomic_add({n["word_ptr"]}, 1, sem="relaxed").to(tl.int32)
        {n["program"]} = {n["number"]} // {n["parts"]}
        {n["part"]} = {n["number"]} % {n["parts"]}
        """
        body = [*statements(head.rstrip()), *body]
    kept = [param for param in kernel.params.params if param.name.value != walk.trips]
    if shared:
        extra = f"def f({names['word_ptr']}, {names['parts']}, {names['PARTS']}: tl.constexpr): pass"
        more = cst.ensure_type(cst.parse_statement(extra), cst.FunctionDef).params.params
        last = kept[-1].comma
        kept = [*kept[:-1], *(param.with_changes(comma=_comma(kept[0])) for param in (kept[-1], *more))]
        kept[-1] = kept[-1].with_changes(comma=_comma(kept[-1].with_changes(comma=last)))
    return kernel.with_changes(
        name=cst.Name(names[f"{kernel.name.value}_tile"]),
        params=kernel.params.with_changes(params=kept),
        body=kernel.body.with_changes(body=body),
        leading_lines=_TWO_LINES,
    )


def _comma(param: cst.Param) -> cst.Comma:
    """Return a first parameter's comma without its comment."""
    if isinstance(param.comma, cst.Comma) and isinstance(param.comma.whitespace_after, cst.ParenthesizedWhitespace):
        plain = param.comma.whitespace_after.first_line.with_changes(comment=None)
        return param.comma.with_changes(whitespace_after=param.comma.whitespace_after.with_changes(first_line=plain))
    return cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))


def _wrapped(node: cst.CSTNode, later: dict[str, cst.BaseExpression]) -> cst.CSTNode:
    """Put the combination of all parts in place of the reduction of an accumulator."""

    def change(inner: cst.CSTNode) -> cst.CSTNode | None:
        if isinstance(inner, cst.Call) and inner.args and text(inner.args[0].value) in later:
            call = later[text(inner.args[0].value)]
            if text(inner.func) == text(cst.ensure_type(cst.ensure_type(call, cst.Call).args[0].value, cst.Call).func):
                return call
        return None

    return replaced(node, change)


def _wrapped_number(node: cst.CSTNode, program: str) -> cst.CSTNode:
    return with_nodes(node, dict.fromkeys(m.findall(node, _PROGRAM), cst.Name(program)))


def _dispatch(walk: Walk, names: dict[str, str], tile: str, *, shared: bool) -> list[cst.BaseStatement]:
    extent, n = text(walk.extent), names
    if not shared:
        return statements(
            f"""
            {tile} = triton.next_power_of_2({extent})
            if {walk.size} < {extent} <= {n["MOST_TILE"]}:
                pass
        """.rstrip()
        )
    grid, pointer = text(walk.launch.grid[0]), _pointer(walk.launch)
    grid = grid if len(reads(expression(grid))) == 1 and grid.isidentifier() else f"({grid})"
    times = f"{_reduces(walk)} * " if _reduces(walk) > 1 else ""
    words = f"1 + {times}{grid} * {n['parts']}"
    return statements(
        f"""
        {tile} = triton.next_power_of_2({extent}) if {extent} <= {n["MOST_TILE"]} else {n["PART"]}
        {n["parts"]} = triton.cdiv({extent}, {tile})
        # interpreted, programs run one after another: none may wait for a later one
        if {walk.size} < {extent} and {n["parts"]} <= (1 if triton.knobs.runtime.interpret else {MOST_PARTS}):
            {n["words"]} = {pointer}
            if {n["parts"]} > 1:
                {n["words"]} = torch.zeros({words}, device={pointer}.device, dtype=torch.int64)
            pass
    """.rstrip()
    )


def _pointer(launch: Launch) -> str:
    """Return the wrapper's name of a tensor that the kernel gets."""
    given = launch.arguments
    for access in m.findall(launch.kernel, m.Call(func=_tl("load") | _tl("store"))):
        for name in reads(cst.ensure_type(access, cst.Call).args[0].value):
            if name in given and isinstance(given[name], cst.Name):
                return text(given[name])
    return text(next(iter(given.values())))


def _relaunched(walk: Walk, call: cst.Call, names: dict[str, str], tile: str, *, shared: bool) -> cst.Call:
    kernel = walk.launch.kernel
    order = [param.name.value for param in kernel.params.params]
    named = {(arg.keyword.value if arg.keyword else order[place]): arg for place, arg in enumerate(call.args)}
    args = [arg for name, arg in named.items() if name not in (walk.trips, "num_warps")]
    more = {"num_warps": f"min(max({tile} // (32 * {names['ELEMENTS']}), 1), 32)"}
    if shared:
        parts = names["parts"]
        own = {names["word_ptr"]: names["words"], parts: parts, names["PARTS"]: f"triton.next_power_of_2({parts})"}
        more = {**own, **more}
    grid = text(walk.launch.grid[0])
    grid = (f"{grid} * {names['parts']}" if grid.isidentifier() else f"({grid}) * {names['parts']}") if shared else grid
    given = [f"{arg.keyword.value}={text(arg.value)}" if arg.keyword else text(arg.value) for arg in args]
    given += [f"{name}={value}" for name, value in more.items()]
    inside = "".join(f"    {one},\n" for one in given)
    return cst.ensure_type(expression(f"{names[f'{kernel.name.value}_tile']}[({grid},)](\n{inside})"), cst.Call)

"""What an expression of host code may be; a tensor under an operator is refused while forward is walked."""

from __future__ import annotations

import ast
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal, Protocol

from rooflift.lint import vocabulary
from rooflift.lint.findings import Findings
from rooflift.lint.values import (
    ANY,
    MANY,
    NONE,
    Box,
    Choice,
    External,
    Function,
    Kernel,
    Launcher,
    Origin,
    Scalar,
    Scope,
    Tensor,
    Unknown,
    Value,
    constant,
    join,
    options,
    sequence,
    tensors_in,
)

Phase = Literal["module", "init", "forward"]
MAX_STEPS = 60_000  # a candidate of 1000 lines takes a few thousand
_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.LShift: lambda a, b: a << min(b, 64),
    ast.RShift: operator.rshift,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Invert: operator.invert,
    ast.Not: operator.not_,
}


class TooComplex(Exception):
    """The walk took too many steps."""


@dataclass(slots=True)
class Launch:
    """One `kernel[grid](...)` that a path reaches."""

    kernel: str
    grid: Value
    args: list[Value]
    keywords: dict[str, Value]
    node: ast.Call


@dataclass(slots=True)
class Frame:
    """One call that is being followed."""

    returned: list[tuple[Value, ast.AST]] = field(default_factory=list)
    leaves: list[list[dict[str, Value]]] = field(default_factory=list)  # a loop's names at each break and continue
    empty: int = 0  # how many conditions say that there is nothing to compute


class CallRules(Protocol):
    """What attributes and calls give."""

    def attribute(self, base: Value, node: ast.Attribute) -> Value:
        """Return what an attribute of a value may be."""

    def call(self, function: Value, args: Sequence[Value], keywords: Mapping[str, Value], node: ast.Call) -> Value:
        """Return what a call of a value may give."""


class Expressions(ABC):
    """The walk over expressions; what it needs of statements and calls is left to its heirs."""

    calls: CallRules

    def __init__(self, findings: Findings, aliases: Mapping[str, str]) -> None:
        self.findings = findings
        self.scope = Scope({name: External(path) for name, path in aliases.items()})
        self.phase: Phase = "module"
        self.own: dict[str, Value] = {}  # attributes of self
        self.methods: dict[str, ast.FunctionDef] = {}
        self.launches: list[Launch] = []
        self.frames: list[Frame] = [Frame()]
        self.steps = 0
        self.once = 0  # depth of loops whose body is walked once: comprehensions, map, reduce
        self.entered: set[str] = set()  # methods that a path reaches

    @abstractmethod
    def bind(self, target: ast.expr, value: Value) -> None:
        """Assign a value to a target."""

    @abstractmethod
    def function(self, node: ast.FunctionDef | ast.Lambda) -> Function:
        """Return a function with its defaults."""

    @abstractmethod
    def enter(self, function: Function, args: Sequence[Value], keywords: Mapping[str, Value], node: ast.AST) -> Value:
        """Follow a call into a function of the candidate."""

    def refuse(self, rule: str, node: ast.AST, what: str, remedy: str) -> None:
        """Note a fault."""
        self.findings.add(rule, node, what, remedy)

    def step(self) -> None:
        """Count one step.

        Raises:
            TooComplex: the walk took too many.
        """
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise TooComplex

    def visit(self, node: ast.expr) -> Value:
        """Return what an expression may be."""
        self.step()
        walk = getattr(self, f"_{type(node).__name__.lower()}", None)
        if walk is None:
            self.refuse("unfollowable", node, f"`{shortened(node)}` is not followed", "Write it with if, for, calls.")
            return Unknown()
        value: Value = walk(node)
        return value

    def _constant(self, node: ast.Constant) -> Value:
        return constant(node.value)

    def _name(self, node: ast.Name) -> Value:
        found = self.scope.find(node.id)
        if found is not None:
            return found
        if node.id in vocabulary.BUILTINS:
            return External(f"builtins.{node.id}")
        return Unknown()  # names that are not defined and names that are not allowed are found elsewhere

    def _namedexpr(self, node: ast.NamedExpr) -> Value:
        value: Value = self.visit(node.value)
        if self.once:
            self.refuse("unfollowable", node, "`:=` inside of a loop in one expression", "Write a for statement.")
        self.bind(node.target, value)
        return value

    def _tuple(self, node: ast.Tuple | ast.List | ast.Set) -> Value:
        values = [self.visit(e.value if isinstance(e, ast.Starred) else e) for e in node.elts]
        if not any(isinstance(e, ast.Starred) for e in node.elts):
            return sequence(values)
        items: list[Value] = []
        for part, value in zip(node.elts, values, strict=True):
            if not isinstance(part, ast.Starred):
                items.append(value)
            elif isinstance(value, Box) and value.items is not None:
                items.extend(value.items.values())
            else:
                return Box(None, join([*values, self.element(value, part)]))
        return sequence(items)

    _list = _set = _tuple

    def _dict(self, node: ast.Dict) -> Value:
        items: dict[object, Value] = {}
        rest: list[Value] = []
        for key, part in zip(node.keys, node.values, strict=True):
            name, value = self.visit(key) if key else None, self.visit(part)
            if isinstance(name, Scalar) and name.constants is not None and len(name.constants) == 1:
                items[next(iter(name.constants))] = value
            elif key is None and isinstance(value, Box) and value.items is not None:
                items.update(value.items)
            else:
                rest.extend(value.elements() if key is None and isinstance(value, Box) else [value])
        return Box(None, join([*items.values(), *rest])) if rest else Box(items)

    def _joinedstr(self, node: ast.JoinedStr) -> Value:
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                self.visit(part.value)
        return ANY

    def _lambda(self, node: ast.Lambda) -> Value:
        return self.function(node)

    def _ifexp(self, node: ast.IfExp) -> Value:
        truth = self.truth(self.visit(node.test))
        if truth is not None:
            return self.visit(node.body if truth else node.orelse)
        value, other = self.visit(node.body), self.visit(node.orelse)
        joined = join([value, other])
        if isinstance(joined, Scalar) and joined.text == "?":
            test = self.visit(node.test)
            parts = [part.text if isinstance(part, Scalar) else "?" for part in (value, test, other)]
            return Scalar("({} if {} else {})".format(*parts), joined.constants)
        return joined

    def _boolop(self, node: ast.BoolOp) -> Value:
        values = [self.visit(part) for part in node.values]
        truths = [self.truth(value) for value in values]
        absorbing = isinstance(node.op, ast.Or)
        if absorbing in truths or (truths and all(truth is not None for truth in truths)):
            decided = absorbing in truths
            if all(isinstance(value, Scalar) for value in values):
                return constant(absorbing if decided else not absorbing)
        return join(values) if all(isinstance(v, Scalar) and v.constants for v in values) is False else ANY

    def _unaryop(self, node: ast.UnaryOp) -> Value:
        value = self.visit(node.operand)
        if isinstance(node.op, ast.Not):
            truth = self.truth(value)
            return ANY if truth is None else constant(not truth)
        if self.computes(value, node):
            return self.result(value)
        return self.folded(node.op, [value])

    def _binop(self, node: ast.BinOp) -> Value:
        return self.combine(node.op, self.visit(node.left), self.visit(node.right), node)

    def combine(self, op: ast.operator, left: Value, right: Value, node: ast.AST) -> Value:
        """Return the result of a binary operator; a tensor operand is refused outside of constructors."""
        boxes = [option for side in (left, right) for option in options(side) if isinstance(option, Box)]
        if boxes:
            for side in (left, right):
                self.computes(join(t for t in options(side) if isinstance(t, Tensor)), node)
            return self._concatenated(left, right, boxes)
        if self.computes(left, node) | self.computes(right, node):
            return self.result(left, right)
        return self.folded(op, [left, right])

    def _concatenated(self, left: Value, right: Value, boxes: list[Box]) -> Value:
        known = isinstance(left, Box) and isinstance(right, Box)
        if known and boxes[0].items is not None and boxes[1].items is not None:
            return sequence([*boxes[0].items.values(), *boxes[1].items.values()])
        return Box(None, join([element for box in boxes for element in box.elements()]))

    def _compare(self, node: ast.Compare) -> Value:
        values = [self.visit(part) for part in (node.left, *node.comparators)]
        identity = all(isinstance(op, ast.Is | ast.IsNot | ast.In | ast.NotIn) for op in node.ops)
        if not all(isinstance(op, ast.Is | ast.IsNot) for op in node.ops):
            for value in values:
                self.computes(join(t for t in options(value) if isinstance(t, Tensor)), node)
        if not identity and sum(self.computes(value, node) for value in values):
            return self.result(*values)
        return self.folded(node.ops[0], values) if len(node.ops) == 1 else ANY

    def computes(self, value: Value, node: ast.AST) -> bool:
        """Refuse a tensor as the operand of an operator; tell whether it was one."""
        tensors = [option for option in options(value) if isinstance(option, Tensor)]
        unknown = [option for option in options(value) if not isinstance(option, Tensor | Scalar | External)]
        if self.phase == "forward" and tensors:
            text = f"`{shortened(node)}` computes on the tensor {tensors[0].text} with torch"
            self.refuse("torch_compute", node, text, "Compute it in a Triton kernel.")
        elif self.phase == "forward" and any(not (isinstance(u, Unknown) and u.told) for u in unknown):
            text = f"`{shortened(node)}`: one side may be a tensor"
            self.refuse("unfollowable", node, text, "Use names that hold one kind of thing each.")
        return bool(tensors)

    def result(self, *values: Value) -> Value:
        """Return the tensor that an operator on tensors gives."""
        return Tensor("?", frozenset({Origin("fresh", "torch")})) if any(tensors_in(Choice(values))) else ANY

    def folded(self, op: ast.AST, values: Sequence[Value]) -> Scalar:
        """Return a number with its formula, and its possible values where they are few."""
        texts = [text_of(value) for value in values]
        sign = _SIGNS.get(type(op), type(op).__name__)
        text = f"({texts[0]} {sign} {texts[1]})" if len(texts) == 2 else f"({sign}{texts[0]})"
        possible = [value.constants if isinstance(value, Scalar) else None for value in values]
        compute = _OPERATORS.get(type(op))
        if compute is None or any(constants is None for constants in possible):
            return Scalar(text)
        results: set[object] = set()
        for combination in product(*(constants for constants in possible if constants is not None)):
            if not all(
                isinstance(c, bool | int | float | None) or (len(values) == 2 and sign in _ORDER) for c in combination
            ):
                return Scalar(text)
            try:
                results.add(compute(*combination))
            except (TypeError, ArithmeticError, ValueError):
                return Scalar(text)
        few = len(results) <= MANY and not any(isinstance(r, int) and abs(r) > 1 << 64 for r in results)
        single = repr(next(iter(results))) if len(results) == 1 else text
        return Scalar(single, frozenset(results)) if few else Scalar(text)

    def truth(self, value: Value) -> bool | None:
        """Return whether a condition holds on every path so far, or None."""
        if isinstance(value, Scalar) and value.constants is not None:
            truths = {bool(constant) for constant in value.constants}
            return truths.pop() if len(truths) == 1 else None
        return None

    def _subscript(self, node: ast.Subscript) -> Value:
        base = self.visit(node.value)
        index = self.visit(node.slice)
        return join([self._item(option, index, node) for option in options(base)])

    def _slice(self, node: ast.Slice) -> Value:
        for part in filter(None, (node.lower, node.upper, node.step)):
            self.visit(part)
        return Scalar(ast.unparse(node))

    def _item(self, base: Value, index: Value, node: ast.Subscript) -> Value:
        match base:
            case Kernel():
                return Launcher(base, index)
            case Tensor():
                if any(tensors_in(index)):
                    self.computes(base, node)
                return Tensor(f"{base.text}[{ast.unparse(node.slice)}]", base.origins)
            case Scalar():
                return Scalar(f"{base.text}[{text_of(index)}]")
            case Box():
                return self._box_item(base, index, node)
            case External(path=path) if path.startswith(("typing.", "builtins.", "collections.")):
                return base
            case Unknown(told=True):
                return base
        self.refuse("unfollowable", node, f"`{shortened(node)}` is not followed", "Index lists, dicts and kernels.")
        return Unknown()

    def _box_item(self, box: Box, index: Value, node: ast.Subscript) -> Value:
        if isinstance(node.slice, ast.Slice):
            return self._sliced(box, node.slice)
        known = index.constants if isinstance(index, Scalar) else None
        if box.items is not None and known is not None:
            last = len(box.items)
            keys = [key + last if isinstance(key, int) and key < 0 else key for key in known]
            if all(key in box.items for key in keys):
                return join([box.items[key] for key in keys])
            return box.rest if box.rest is not None else Unknown(told=False)
        return join(box.elements()) if box.elements() else Unknown(told=False)

    def _sliced(self, box: Box, bounds: ast.Slice) -> Value:
        parts = [self.visit(part) if part else NONE for part in (bounds.lower, bounds.upper, bounds.step)]
        known = [part.constants for part in parts if isinstance(part, Scalar) and part.constants is not None]
        if box.items is not None and len(known) == 3 and all(len(constants) == 1 for constants in known):
            start, stop, step = (_index(next(iter(constants))) for constants in known)
            return sequence(list(box.items.values())[slice(start, stop, step)])
        return Box(None, join(box.elements())) if box.elements() else Box(None, Unknown(told=False))

    def element(self, value: Value, node: ast.AST) -> Value:
        """Return what iterating over a value gives."""
        found: list[Value] = []
        for option in options(value):
            match option:
                case Box():
                    found.extend(option.elements() or [Unknown(told=False)])
                case Tensor():
                    found.append(option)
                case Scalar():
                    found.append(Scalar(f"{option.text}[?]"))
                case Unknown():
                    found.append(option)
                case _:
                    self.refuse("unfollowable", node, "this is iterated over, and not followed", "Use range or a list.")
        return join(found) if found else Unknown()

    def _listcomp(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> Value:
        outer, self.scope = self.scope, Scope(parent=self.scope)
        self.once += 1
        try:
            values, whole = self._comprehended(node, list(node.generators))
        finally:
            self.scope = outer
            self.once -= 1
        return sequence(values) if whole and not isinstance(node, ast.DictComp) else Box(None, join(values))

    _setcomp = _generatorexp = _dictcomp = _listcomp

    def _comprehended(self, node: Any, generators: list[ast.comprehension]) -> tuple[list[Value], bool]:
        """Return the elements of a comprehension, and whether they are all and in order."""
        if not generators:
            if isinstance(node, ast.DictComp):
                self.visit(node.key)
            return [self.visit(node.value if isinstance(node, ast.DictComp) else node.elt)], True
        first, *others = generators
        over = self.visit(first.iter)
        known = over.items if isinstance(over, Box) and over.rest is None else None
        listed = known is not None and 0 < len(known) <= 64
        items = list(known.values()) if known is not None and listed else [self.element(over, first.iter)]
        values: list[Value] = []
        whole = listed
        for item in items:
            self.bind(first.target, item)
            truths = [self.truth(self.visit(condition)) for condition in first.ifs]
            if False in truths:
                continue
            more, all_of_it = self._comprehended(node, others)
            values += more
            whole = whole and all_of_it and all(truths)
        return values, whole

    def _attribute(self, node: ast.Attribute) -> Value:
        base = self.visit(node.value)
        return join([self.calls.attribute(option, node) for option in options(base)])

    def _call(self, node: ast.Call) -> Value:
        function = self.visit(node.func)
        args: list[Value] = []
        for arg in node.args:
            value = self.visit(arg.value if isinstance(arg, ast.Starred) else arg)
            if isinstance(arg, ast.Starred) and isinstance(value, Box) and value.items is not None:
                args.extend(value.items.values())
            else:
                args.append(self.element(value, arg) if isinstance(arg, ast.Starred) else value)
        keywords: dict[str, Value] = {}
        for keyword in node.keywords:
            value = self.visit(keyword.value)
            if keyword.arg is not None:
                keywords[keyword.arg] = value
            elif isinstance(value, Box) and value.items is not None:
                keywords.update({str(key): item for key, item in value.items.items()})
            else:
                self.refuse("unfollowable", node, "`**` of a dict that is not known", "Write the keywords out.")
        return join([self.calls.call(option, args, keywords, node) for option in options(function)])


_ORDER = ("==", "!=", "is", "is not")
_SIGNS: dict[type[ast.AST], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Is: "is",
    ast.IsNot: "is not",
    ast.USub: "-",
}


def _index(value: object) -> int | None:
    return value if isinstance(value, int) else None


def text_of(value: Value) -> str:
    """Return the formula of a number or tensor."""
    return value.text if isinstance(value, Scalar | Tensor) else "?"


def shortened(node: ast.AST) -> str:
    """Return the source of a node in one line of at most 60 characters."""
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 60 else f"{text[:57]}..."

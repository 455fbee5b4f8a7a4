"""Follows the host code of a candidate, from ModelNew through its wrappers to the launches, without running it.

Every path is walked with values that are sets of what may be there (values.py); a condition that is known to be false
is not. Calls are followed into the candidate's functions. What cannot be followed is refused, so that a candidate that
hides an operator behind an alias, a container or a closure fares no better than one that writes it down.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

from rooflift.lint import vocabulary
from rooflift.lint.calls import Calls
from rooflift.lint.expressions import Expressions, Frame, TooComplex
from rooflift.lint.findings import Findings
from rooflift.lint.values import (
    NONE,
    Box,
    Function,
    Instance,
    Kernel,
    Launcher,
    Method,
    Origin,
    Record,
    Scalar,
    Scope,
    Tensor,
    Unknown,
    Value,
    join,
    options,
    sequence,
    signature,
    tensors_in,
)

MAX_DEPTH = 24


class HostCode(Expressions):
    """The walk over host code; `launches` and `findings` are what comes of it."""

    calls: Calls

    def __init__(self, findings: Findings, aliases: Mapping[str, str]) -> None:
        super().__init__(findings, aliases)
        self.calls = Calls(self)

    # statements: each returns whether the path goes on behind it

    def block(self, body: Sequence[ast.stmt]) -> bool:
        """Walk statements in order; tell whether their end is reached."""
        return all(self.statement(statement) for statement in body)

    def statement(self, node: ast.stmt) -> bool:
        """Walk one statement."""
        self.step()
        walk = getattr(self, f"_{type(node).__name__.lower()}", None)
        if walk is None:
            self.refuse(
                "unfollowable", node, f"`{_keyword(node)}` is not followed", "Write it with if, for and functions."
            )
            return True
        return walk(node) is not False

    def _expr(self, node: ast.Expr) -> None:
        self.visit(node.value)

    def _pass(self, node: ast.Pass) -> None:
        pass

    def _assert(self, node: ast.Assert) -> None:
        self.visit(node.test)
        if node.msg:
            self.visit(node.msg)

    def _raise(self, node: ast.Raise) -> bool:
        for part in filter(None, (node.exc, node.cause)):
            self.visit(part)
        return False

    def _return(self, node: ast.Return) -> bool:
        value = self.visit(node.value) if node.value else NONE
        frame = self.frames[-1]
        if any(frame.empty for frame in self.frames):
            value = self._excused(value)
        frame.returned.append((value, node))
        return False

    def _excused(self, value: Value) -> Value:
        if isinstance(value, Tensor):
            return Tensor(
                value.text, frozenset(Origin("empty", o.name) if o.kind == "fresh" else o for o in value.origins)
            )
        return value

    def _assign(self, node: ast.Assign) -> None:
        value = self.visit(node.value)
        for target in node.targets:
            self.bind(target, value)

    def _annassign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.bind(node.target, self.visit(node.value))

    def _augassign(self, node: ast.AugAssign) -> None:
        now = self.visit(node.target)
        for tensor in tensors_in(now):
            self.calls.written_by_torch(tensor, node)
        added = self.visit(node.value)
        value = self.combine(node.op, now, added, node)
        for box in options(now):
            if isinstance(box, Box):
                self.calls.put(
                    box, join([added, *(e for b in options(added) if isinstance(b, Box) for e in b.elements())]), node
                )
                value = join([now, value])
        self.bind(node.target, value)

    def _if(self, node: ast.If) -> bool:
        truth = self.truth(self.visit(node.test))
        before = dict(self.scope.names)
        ends: list[dict[str, Value]] = []
        for taken, body in ((True, node.body), (False, node.orelse)):
            if truth is not None and truth is not taken:
                continue
            self.scope.names = dict(before)
            with self._maybe_empty(taken and _asks_for_nothing(node.test)):
                if self.block(body):
                    ends.append(self.scope.names)
        self.scope.names = _merged(ends) if ends else before
        return bool(ends)

    @contextmanager
    def _maybe_empty(self, so: bool) -> Iterator[None]:
        frame = self.frames[-1]
        frame.empty += so
        yield
        frame.empty -= so

    def _for(self, node: ast.For) -> bool:
        over = self.visit(node.iter)
        return self._loop(node, lambda: self.bind(node.target, self.element(over, node.iter)))

    def _while(self, node: ast.While) -> bool:
        return self._loop(node, lambda: self.truth(self.visit(node.test)))

    def _loop(self, node: ast.For | ast.While, begin: Callable[[], bool | None]) -> bool:
        """Walk a body until no name changes any more; numbers that change become any number."""
        frame = self.frames[-1]
        state = dict(self.scope.names)
        for _ in range(50):
            self.scope.names = dict(state)
            before = _signatures(state)  # of now: what a container holds may grow in the body
            if begin() is False:
                break
            frame.leaves.append([])
            ends = [self.scope.names] if self.block(node.body) else []
            leaves = frame.leaves.pop()
            after = _widened(state, _merged([state, *ends, *leaves]))
            if _signatures(after) == before:
                break
            state = after
        else:
            raise TooComplex
        self.scope.names = state
        self.block(node.orelse)
        return True

    def _break(self, node: ast.Break) -> bool:  # noqa: ARG002 - statements are called alike
        if self.frames[-1].leaves:
            self.frames[-1].leaves[-1].append(dict(self.scope.names))
        return False

    _continue = _break

    def _with(self, node: ast.With) -> bool:
        for item in node.items:
            context = self.visit(item.context_expr)
            if not (isinstance(context, Scalar) and context.text.partition("(")[0] in vocabulary.CONTEXTS):
                self.refuse("unfollowable", item.context_expr, "this `with` is not allowed", "Leave it out.")
            if item.optional_vars:
                self.bind(item.optional_vars, Unknown(told=False))
        return self.block(node.body)

    def _try(self, node: ast.Try) -> bool:
        for body in (node.body, *(handler.body for handler in node.handlers), node.orelse, node.finalbody):
            self.block(body)
        return True

    _trystar = _try

    def _functiondef(self, node: ast.FunctionDef) -> None:
        self.scope.names[node.name] = self.function(node)

    def function(self, node: ast.FunctionDef | ast.Lambda) -> Function:
        """Return a function with its defaults, which live as long as the function does."""
        args = node.args
        named = [arg.arg for arg in (*args.posonlyargs, *args.args)]
        pairs = list(zip(named[len(named) - len(args.defaults) :], args.defaults, strict=True))
        pairs += [(a.arg, d) for a, d in zip(args.kwonlyargs, args.kw_defaults, strict=True) if d is not None]
        defaults = [(name, self.visit(default)) for name, default in pairs]
        for _, value in defaults:
            self.keep(value)
        return Function(node, self.scope, tuple(defaults))

    def keep(self, value: Value) -> None:
        """Mark containers that outlive a call."""
        for option in options(value):
            if isinstance(option, Box) and not option.kept:
                option.kept = True
                for element in option.elements():
                    self.keep(element)

    def _delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            if not isinstance(target, ast.Name):
                self.refuse("patching", target, "`del` of an attribute or item", "Leave it out.")

    # targets

    def bind(self, target: ast.expr, value: Value) -> None:
        """Assign a value to a name, a tuple of names, an attribute or an item."""
        match target:
            case ast.Name(id=name):
                self.scope.names[name] = value
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                for index, part in enumerate(parts):
                    self.bind(part, self._part(value, index, len(parts), part))
            case ast.Starred(value=inner):
                self.bind(inner, Box(None, self.element(value, target)))
            case ast.Attribute():
                self._bind_attribute(target, value)
            case ast.Subscript():
                self._bind_item(target, value)

    def _part(self, value: Value, index: int, count: int, part: ast.expr) -> Value:
        if isinstance(part, ast.Starred):
            return value
        if isinstance(value, Box) and value.items is not None and len(value.items) == count and index in value.items:
            return value.items[index]
        if isinstance(value, Scalar):
            return Scalar(f"{value.text}[{index}]")
        return self.element(value, part)

    def _bind_attribute(self, target: ast.Attribute, value: Value) -> None:
        owner = self.visit(target.value)
        name = f"{ast.unparse(target)}"
        if not isinstance(owner, Instance):
            self.refuse("patching", target, f"{name} is changed", "Leave other objects as they are.")
        elif self.phase != "init":
            self.refuse("caching", target, f"{name} is set during forward", "Compute each call from its inputs alone.")
        elif any(isinstance(option, Function | Method | Kernel | Launcher | Record) for option in options(value)):
            self.refuse("patching", target, f"{name} is a function", "Define functions at module level.")
        elif target.attr in MODULE_STATE or target.attr in self.methods:
            self.refuse("patching", target, f"{name} belongs to nn.Module", "Choose another name.")
        else:
            self.keep(value)
            value = _as_kept(value, target.attr)
            self.own[target.attr] = join([self.own[target.attr], value]) if target.attr in self.own else value

    def _bind_item(self, target: ast.Subscript, value: Value) -> None:
        key = self.visit(target.slice)
        if isinstance(target.slice, ast.Slice) and isinstance(value, Box):
            value = self.element(value, target)
        for owner in options(self.visit(target.value)):
            if isinstance(owner, Tensor):
                self.calls.written_by_torch(owner, target)
            elif isinstance(owner, Box):
                known = key.constants if isinstance(key, Scalar) else None
                single = known is not None and len(known) == 1 and owner.items is not None and not owner.kept
                if single and known is not None and owner.items is not None and len(self.frames[-1].leaves) == 0:
                    (index,) = known
                    owner.items[index] = join([owner.items[index], value]) if index in owner.items else value
                else:
                    self.calls.put(owner, value, target)
            elif not (isinstance(owner, Unknown) and owner.told):
                self.refuse("patching", target, "an item of this is changed", "Change local lists and dicts only.")

    # calls of the candidate's own functions

    def enter(self, function: Function, args: Sequence[Value], keywords: Mapping[str, Value], node: ast.AST) -> Value:
        """Follow a call into a function of the candidate; return what it may return."""
        if len(self.frames) > MAX_DEPTH:
            raise TooComplex
        names = dict(function.defaults) | _bound(function.node.args, args, keywords)
        missing = [a.arg for a in _parameters(function.node.args) if a.arg not in names]
        if missing:
            self.refuse("arguments", node, f"the call lacks {', '.join(missing)}", "Pass every parameter.")
            names |= dict.fromkeys(missing, Unknown())
        outer, self.scope = self.scope, Scope(names, function.scope)
        self.frames.append(Frame())
        try:
            if isinstance(function.node, ast.Lambda):
                return self.visit(function.node.body)
            ends = self.block(function.node.body)
            returned = [value for value, _ in self.frames[-1].returned]
            return join([*returned, *([NONE] if ends else [])]) if returned else NONE
        finally:
            self.frames.pop()
            self.scope = outer


MODULE_STATE = vocabulary.words(
    """_parameters _buffers _modules _call_impl _wrapped_call_impl _slow_forward _apply _forward_hooks
    _forward_pre_hooks _backward_hooks _compiled_call_impl forward __class__ __dict__ training"""
)


def _parameters(args: ast.arguments) -> list[ast.arg]:
    return [*args.posonlyargs, *args.args, *args.kwonlyargs]


def _bound(args: ast.arguments, given: Sequence[Value], keywords: Mapping[str, Value]) -> dict[str, Value]:
    named = [arg.arg for arg in (*args.posonlyargs, *args.args)]
    bound: dict[str, Value] = dict(zip(named, given, strict=False))
    known = {arg.arg for arg in _parameters(args)}
    bound |= {name: value for name, value in keywords.items() if name in known}
    if args.vararg:
        bound[args.vararg.arg] = sequence(given[len(named) :])
    if args.kwarg:
        bound[args.kwarg.arg] = Box({name: value for name, value in keywords.items() if name not in known})
    return bound


def _merged(states: Sequence[Mapping[str, Value]]) -> dict[str, Value]:
    names = dict.fromkeys(name for state in states for name in state)
    return {name: join([state[name] for state in states if name in state]) for name in names}


def _signatures(state: Mapping[str, Value]) -> dict[str, object]:
    return {name: signature(value) for name, value in state.items()}


def _widened(before: Mapping[str, Value], after: Mapping[str, Value]) -> dict[str, Value]:
    return {
        name: Scalar("?")
        if isinstance(value, Scalar) and name in before and before[name] != value and isinstance(before[name], Scalar)
        else value
        for name, value in after.items()
    }


def _as_kept(value: Value, name: str) -> Value:
    """Return a value as an attribute of self: memory allocated by the constructor outlives a call."""
    changed: list[Value] = []
    for option in options(value):
        if isinstance(option, Tensor):
            kinds = {origin.kind for origin in option.origins}
            kind: Literal["parameter", "kept"] = "parameter" if kinds == {"parameter"} else "kept"
            changed.append(Tensor(f"self.{name}", frozenset({Origin(kind, name)})))
        elif isinstance(option, Scalar):
            changed.append(Scalar(option.text if option.constants else f"self.{name}", option.constants))
        else:
            changed.append(option)
    return join(changed)


def _asks_for_nothing(test: ast.expr) -> bool:
    """Tell whether a condition has the form of a test for empty tensors: `n == 0`, `not n`, `0 in shape`."""
    match test:
        case ast.Compare(ops=[ast.Eq()], comparators=[ast.Constant(value=0)]):
            return True
        case ast.Compare(left=ast.Constant(value=0), ops=[ast.Eq() | ast.In()]):
            return True
        case ast.Compare(ops=[ast.Lt()], comparators=[ast.Constant(value=1)]):
            return True
        case ast.Compare(ops=[ast.LtE()], comparators=[ast.Constant(value=0)]):
            return True
        case ast.UnaryOp(op=ast.Not(), operand=ast.Call() | ast.Name()):
            return True
        case ast.Call(func=ast.Name(id="any"), args=[ast.GeneratorExp(elt=element)]):
            return _asks_for_nothing(element)
        case ast.BoolOp(op=ast.Or(), values=values):
            return all(map(_asks_for_nothing, values))
    return False


def _keyword(node: ast.stmt) -> str:
    return ast.unparse(node).split()[0].rstrip(":")

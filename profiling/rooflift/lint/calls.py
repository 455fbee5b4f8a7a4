"""What attributes and calls in host code give, and which of them a candidate may use."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING

from rooflift.lint import vocabulary
from rooflift.lint.values import (
    ANY,
    NONE,
    Box,
    Config,
    External,
    Function,
    Holder,
    Instance,
    Kernel,
    Launcher,
    Method,
    Origin,
    Partial,
    Record,
    Scalar,
    Tensor,
    Unknown,
    Value,
    join,
    options,
    sequence,
    tensors_in,
)

if TYPE_CHECKING:
    from rooflift.lint.expressions import Expressions

_COMPUTE = "Compute it in a Triton kernel; torch may allocate, give shapes and make views."


class Calls:
    """The attributes and calls of one walk."""

    def __init__(self, host: Expressions) -> None:
        self.host = host

    # attributes

    def attribute(self, base: Value, node: ast.Attribute) -> Value:
        """Return what `base.attr` is; refuse what a candidate may not use."""
        name = node.attr
        match base:
            case External(path=path):
                return self._external(f"{path}.{name}", node)
            case Tensor():
                return self._tensor_attribute(base, node)
            case Scalar():
                return Method(base, name) if name in _SCALAR_METHODS else Scalar(f"{base.text}.{name}")
            case Box():
                return base.items[name] if base.record and base.items and name in base.items else Method(base, name)
            case Instance():
                return self._own(base, node)
            case Holder():
                return self._held(base, node)
            case Record() if name in base.fields:
                return ANY
            case Unknown(told=True):
                return base
        self.host.refuse(
            "unfollowable", node, f"`{ast.unparse(node)}` is not followed", "Call kernels as kernel[grid](...)."
        )
        return Unknown()

    def _external(self, path: str, node: ast.AST) -> Value:
        """Return an object of another package, or refuse it."""
        package, _, name = path.partition(".")
        if package == "torch":
            return self._torch(path, name, node)
        if package == "triton":
            known = (
                path in vocabulary.MODULES["triton"] or name in vocabulary.TRITON_PLAIN | vocabulary.TRITON_DECORATORS
            )
            if known or path.startswith("triton.language."):
                return External(path)
            self.host.refuse(
                "import", node, f"{path} has no use in a kernel file", "Use triton.jit, cdiv, autotune, Config."
            )
            return Unknown()
        return External(path)

    def _torch(self, path: str, name: str, node: ast.AST) -> Value:
        if path in vocabulary.MODULES["torch"]:
            return External(path)
        last = name.removeprefix("nn.")
        if name in vocabulary.DTYPES:
            return Scalar(path)
        allowed = vocabulary.TORCH_PLAIN | vocabulary.ALLOCATION | vocabulary.VIEW_FUNCTIONS
        in_init = self.host.phase == "init" and (name in vocabulary.INIT_FUNCTIONS or name.startswith("nn.init."))
        holder = self.host.phase == "init" and name.startswith("nn.") and last in vocabulary.HOLDERS
        if name in allowed or in_init or holder or name.startswith(("finfo.", "iinfo.")):
            return External(path)
        rule = vocabulary.refusal(path)
        self.host.refuse(rule, node, f"{path} is used", _REMEDIES.get(rule, _COMPUTE))
        return Unknown()

    def _tensor_attribute(self, base: Tensor, node: ast.Attribute) -> Value:
        name = node.attr
        if name in vocabulary.TENSOR_FACTS:
            return Scalar(f"{base.text}.{name}")
        if name in vocabulary.TENSOR_VIEWS:
            return Tensor(f"{base.text}.{name}", base.origins)
        return Method(base, name)  # refused when it is called, with what it is

    def _own(self, base: Instance, node: ast.Attribute) -> Value:
        name = node.attr
        if base.parent:
            if name != "__init__":
                self.host.refuse("dynamic_code", node, f"super().{name}", "Use super().__init__() alone.")
            return Scalar("super().__init__")
        if name in self.host.own:
            return self.host.own[name]
        if name in self.host.methods:
            return Method(base, name)
        if name in ("register_parameter", "register_buffer", "extra_repr", "training"):
            return Method(base, name) if name.startswith("register") else ANY
        self.host.refuse("undefined_name", node, f"self.{name} is set nowhere before", "Set it in __init__.")
        return Unknown()

    def _held(self, base: Holder, node: ast.Attribute) -> Value:
        if node.attr in vocabulary.HOLDER_TENSORS:
            text = f"{base.name}.{node.attr}"
            return Tensor(text, frozenset({Origin("parameter", text)}))
        if node.attr in vocabulary.HOLDER_NUMBERS:
            return Scalar(f"{base.name}.{node.attr}")
        text = f"`{ast.unparse(node)}`: nn.{base.name} may hold parameters, not compute"
        self.host.refuse("torch_compute", node, text, _COMPUTE)
        return Unknown()

    # calls

    def call(self, function: Value, args: Sequence[Value], keywords: Mapping[str, Value], node: ast.Call) -> Value:
        """Return what a call gives; refuse what a candidate may not call."""
        match function:
            case Function():
                return self.host.enter(function, args, keywords, node)
            case Launcher():
                return self._launch(function, args, keywords, node)
            case Method():
                return self._method(function, args, keywords, node)
            case Partial():
                return self.call(
                    function.function, [*function.args, *args], dict(function.keywords) | dict(keywords), node
                )
            case Record(fields=fields):
                items: dict[object, Value] = dict(zip(fields, args, strict=False))
                return Box(items | dict(keywords.items()), record=True, rest=ANY)
            case External(path=path):
                return self._external_call(path, args, keywords, node)
            case Holder(name=name):
                self.host.refuse("torch_compute", node, f"nn.{name} computes the result", _COMPUTE)
                return Unknown()
            case Scalar(text="super().__init__") | Unknown(told=True):
                return NONE if isinstance(function, Scalar) else function
            case Kernel(name=name):
                self.host.refuse("unfollowable", node, f"{name} is called without a grid", f"Write {name}[grid](...).")
                return Unknown()
        self.host.refuse(
            "unfollowable", node, f"`{ast.unparse(node.func)}` is called, and not followed", "Call functions by name."
        )
        return Unknown()

    def _external_call(self, path: str, args: Sequence[Value], keywords: Mapping[str, Value], node: ast.Call) -> Value:
        package, _, name = path.partition(".")
        given = [*args, *keywords.values()]
        if package == "builtins":
            return self._builtin(name, args, keywords, node)
        if package == "torch":
            return self._torch_call(name, args, keywords, node)
        if package == "triton":
            return self._triton_call(path, name, args, keywords, node)
        if package == "functools":
            return self._functools(name, args, keywords, node)
        if package == "itertools":
            return self._itertools(name, args, keywords)
        if path.startswith(("dataclasses.", "collections.")):
            return Unknown(told=False)
        return self._number(path, given, node)

    def _triton_call(
        self, path: str, name: str, args: Sequence[Value], keywords: Mapping[str, Value], node: ast.Call
    ) -> Value:
        given = [*args, *keywords.values()]
        if path == "triton.Config":
            return self._config(args, keywords)
        if path == "triton.language.constexpr":
            return args[0] if args else ANY
        if path.startswith("triton.tools.tensor_descriptor."):
            tensors = list(tensors_in(join(given)))
            return join(tensors) if tensors else Unknown(told=False)
        if path == "triton.set_allocator":
            for function in given:
                self.called_back(function, node)
            return NONE
        if name not in vocabulary.TRITON_PLAIN:
            self.host.refuse("unfollowable", node, f"{path} is called in host code", "Call it in a kernel.")
            return Unknown()
        return self._number(path, given, node)

    def _number(self, path: str, given: Sequence[Value], node: ast.AST) -> Value:
        if any(True for value in given for _ in tensors_in(value)) and self.host.phase == "forward":
            self.host.refuse(
                "torch_compute", node, f"{path.removeprefix('builtins.')} is applied to a tensor", _COMPUTE
            )
        texts = [value.text if isinstance(value, Scalar | Tensor) else "?" for value in given]
        text = f"{path.rpartition('.')[2]}({', '.join(texts)})"
        return Scalar(text, _evaluated(path, given))

    def _builtin(self, name: str, args: Sequence[Value], keywords: Mapping[str, Value], node: ast.Call) -> Value:
        given = [*args, *keywords.values()]
        if name == "super":
            return Instance(parent=True)
        if name in ("map", "filter") and args:
            elements = [self.host.element(value, node) for value in args[1:]]
            mapped = self._each(args[0], elements, node)
            return Box(None, mapped if name == "map" else join(elements))
        if name in ("min", "max", "sorted") and "key" in keywords:
            self.called_back(keywords["key"], node)
        if name in ("tuple", "list", "reversed", "set", "frozenset", "sorted", "zip", "enumerate", "dict"):
            return self._container(name, args, keywords, node)
        if name == "len" and args and isinstance(args[0], Box) and args[0].items is not None:
            return Scalar(str(len(args[0].items)), frozenset({len(args[0].items)}))
        if name in ("len", "isinstance", "range", "slice") or name.endswith("Error"):
            tensor_free = given if name == "range" else []
            return (
                self._ranged(tensor_free) if name == "range" else self._number(name, [_plain(v) for v in given], node)
            )
        return self._number(f"builtins.{name}", given, node)

    def _each(self, function: Value, args: Sequence[Value], node: ast.Call) -> Value:
        """Follow a function that map or reduce calls for each element."""
        self.host.once += 1
        try:
            return join([self.call(option, args, {}, node) for option in options(function)])
        finally:
            self.host.once -= 1

    def _ranged(self, given: Sequence[Value]) -> Value:
        known = [v.constants if isinstance(v, Scalar) else None for v in given]
        if known and all(c is not None and len(c) == 1 and isinstance(next(iter(c)), int) for c in known):
            numbers = range(*(n for c in known if c is not None for n in c if isinstance(n, int)))
            if len(numbers) <= 64:
                return sequence([Scalar(str(n), frozenset({n})) for n in numbers])
        return Box(None, ANY)

    def _container(self, name: str, args: Sequence[Value], keywords: Mapping[str, Value], node: ast.Call) -> Value:
        if name == "dict":
            first = args[0] if args else None
            return Box((first.items or {} if isinstance(first, Box) else {}) | dict(keywords.items()))
        first = args[0] if args else None
        if name in ("tuple", "list") and (first is None or (isinstance(first, Box) and first.items is not None)):
            return sequence(list(first.items.values()) if isinstance(first, Box) and first.items is not None else [])
        known = [value.items for value in args if isinstance(value, Box) and value.items is not None]
        if name in ("zip", "enumerate") and len(known) == len(args):
            columns = [list(items.values()) for items in known]
            if name == "enumerate":
                columns.insert(0, [Scalar(str(n), frozenset({n})) for n in range(len(columns[0]))])
            return sequence([sequence(row) for row in zip(*columns, strict=False)])
        elements = [self.host.element(value, node) for value in args]
        if name == "enumerate":
            elements.insert(0, ANY)
        if name in ("sorted", "set", "frozenset") and any(tensors_in(join(args))) and self.host.phase == "forward":
            self.host.refuse("torch_compute", node, f"{name} compares tensors", _COMPUTE)
        return Box(None, sequence(elements) if name in ("zip", "enumerate") else join(elements))

    def _functools(self, name: str, args: Sequence[Value], keywords: Mapping[str, Value], node: ast.Call) -> Value:
        if name == "partial" and args:
            return Partial(args[0], tuple(args[1:]), tuple(keywords.items()))
        if name == "reduce" and len(args) > 1:
            element = join([self.host.element(args[1], node), *args[2:]])
            return self._each(args[0], [element, element], node)
        return Unknown()

    def _itertools(self, name: str, args: Sequence[Value], keywords: Mapping[str, Value]) -> Value:
        known = [value.items for value in args if isinstance(value, Box) and value.items is not None]
        if name == "product" and len(known) == len(args) and not keywords:
            return sequence([sequence(row) for row in product(*(items.values() for items in known))][:256])
        parts = [element for value in args if isinstance(value, Box) for element in value.elements()]
        element = join(parts) if parts else ANY
        return Box(None, element if name in ("chain", "accumulate", "count") else Box(None, element))

    def _torch_call(self, name: str, args: Sequence[Value], keywords: Mapping[str, Value], node: ast.Call) -> Value:
        given = [*args, *keywords.values()]
        last = name.rpartition(".")[2]
        fresh = frozenset({Origin("fresh", f"line {node.lineno}:{node.col_offset}")})
        texts = ", ".join(value.text if isinstance(value, Scalar | Tensor) else "?" for value in args)
        if name in ("nn.Parameter", "nn.parameter.Parameter"):
            if self.host.phase != "init":
                self.host.refuse("caching", node, "a parameter is made during forward", "Make it in __init__.")
            return Tensor("parameter", frozenset({Origin("parameter", f"line {node.lineno}")}))
        if name in vocabulary.ALLOCATION or name in vocabulary.INIT_FUNCTIONS or last == "clone":
            if self.host.phase == "module":
                self.host.refuse("caching", node, f"torch.{name} makes a tensor at module level", "Make it in forward.")
            return Tensor(f"{last}({texts})", fresh)
        if name.startswith("nn.init."):
            return args[0] if args else Unknown(told=False)
        if name.startswith("nn.") and last in vocabulary.HOLDERS:
            return Holder(last)
        if name in vocabulary.VIEW_FUNCTIONS and args:
            views = [Tensor(f"{t.text}.{last}", t.origins) for t in tensors_in(args[0])]
            view: Value = join(views) if views else Unknown(told=False)
            return Box(None, view) if last in vocabulary.TENSOR_PARTS else view
        if name.startswith(("no_grad", "inference_mode", "cuda.device")):
            return Scalar(f"torch.{name}({texts})")
        return Scalar(f"{name}({', '.join(_plain(v).text for v in given)})")

    # methods

    def _method(self, method: Method, args: Sequence[Value], keywords: Mapping[str, Value], node: ast.Call) -> Value:
        owner = method.owner
        if isinstance(owner, Tensor):
            return self._tensor_method(owner, method.name, args, node)
        if isinstance(owner, Box):
            return self._box_method(owner, method.name, args, keywords, node)
        if isinstance(owner, Instance):
            return self._own_method(method.name, args, keywords, node)
        given = [*args, *keywords.values()]
        return self._number(f"{owner.text}.{method.name}" if isinstance(owner, Scalar) else method.name, given, node)

    def _own_method(self, name: str, args: Sequence[Value], keywords: Mapping[str, Value], node: ast.Call) -> Value:
        if name.startswith("register_"):
            if self.host.phase != "init":
                self.host.refuse("caching", node, f"self.{name} during forward", "Register it in __init__.")
            registered = dict(zip(("name", "value"), args, strict=False)) | dict(keywords)
            self._register(registered)
            return NONE
        definition = self.host.methods[name]
        self.host.entered.add(name)
        function = self.host.function(definition)
        static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in definition.decorator_list)
        return self.host.enter(function, args if static else [Instance(), *args], keywords, node)

    def _register(self, given: Mapping[str, Value]) -> None:
        name = given.get("name")
        value = given.get("value", given.get("param", given.get("tensor", NONE)))
        for text in name.constants or () if isinstance(name, Scalar) else ():
            origins = frozenset({Origin("parameter", str(text))})
            tensor = Tensor(f"self.{text}", origins)
            self.host.own[str(text)] = tensor if any(tensors_in(value)) else value

    def _tensor_method(self, tensor: Tensor, name: str, args: Sequence[Value], node: ast.Call) -> Value:
        texts = ", ".join(value.text if isinstance(value, Scalar | Tensor) else "?" for value in args)
        if name in vocabulary.TENSOR_FACT_METHODS:
            return Scalar(f"{tensor.text}.{name}({texts})")
        if name in vocabulary.TENSOR_VIEW_METHODS:
            same = name in ("contiguous", "detach", "to", "float", "half", "bfloat16", "requires_grad_")
            return Tensor(tensor.text if same else f"{tensor.text}.{name}({texts})", tensor.origins)
        if name in vocabulary.TENSOR_PARTS:
            return Box(None, Tensor(f"{tensor.text}.{name}", tensor.origins))
        if name in vocabulary.TENSOR_COPIES:
            fresh = Origin("fresh", f"line {node.lineno}:{node.col_offset}")
            return Tensor(tensor.text if name == "clone" else f"{name}({texts})", frozenset({fresh}))
        if self.host.phase == "init" and (name in vocabulary.INIT_METHODS or not name.endswith("_")):
            return tensor
        if name in vocabulary.FILLS and all(origin.kind == "fresh" for origin in tensor.origins):
            return tensor
        if name.endswith("_") and not name.endswith("__"):
            self.written_by_torch(tensor, node, f".{name}()")
        else:
            self.host.refuse("torch_compute", node, f".{name}() is called on the tensor {tensor.text}", _COMPUTE)
        return Tensor("?", frozenset({Origin("fresh", "torch")}))

    def written_by_torch(self, tensor: Tensor, node: ast.AST, how: str = "an assignment") -> None:
        """Refuse a change of a tensor by host code."""
        if self.host.phase == "init":
            return
        kinds = {origin.kind for origin in tensor.origins}
        if kinds & {"input", "parameter"}:
            self.host.refuse("input_changed", node, f"{how} changes {tensor.text}", "Write to a tensor of your own.")
        if kinds & {"kept"}:
            self.host.refuse(
                "caching", node, f"{how} changes {tensor.text}, which outlives the call", "Allocate in forward."
            )
        if kinds & {"fresh", "empty"}:
            self.host.refuse("torch_compute", node, f"{how} writes {tensor.text} with torch", _COMPUTE)

    def put(self, box: Box, value: Value, node: ast.AST) -> None:
        """Add to a container; refuse it where the container outlives the call."""
        if box.kept and self.host.phase != "init":
            self.host.refuse(
                "caching",
                node,
                "a container that outlives the call is changed",
                "Compute each call from its inputs alone.",
            )
        if self.host.once:
            self.host.refuse(
                "unfollowable", node, "a container is changed in a comprehension", "Write a for statement."
            )
        box.put(value)

    def _box_method(
        self, box: Box, name: str, args: Sequence[Value], keywords: Mapping[str, Value], node: ast.Call
    ) -> Value:
        if name in (
            "append",
            "extend",
            "insert",
            "update",
            "setdefault",
            "add",
            "remove",
            "clear",
            "pop",
            "popitem",
            "sort",
            "reverse",
        ):
            parts = [part for value in args for part in ([*value.elements()] if isinstance(value, Box) else [])]
            self.put(box, join([*args, *parts, *keywords.values()]), node)
            return box.rest if name in ("pop", "setdefault", "popitem") and box.rest else NONE
        elements = join(box.elements()) if box.elements() else Unknown(told=False)
        if name == "get" and args and isinstance(args[0], Scalar) and args[0].constants and box.items is not None:
            return join([box.items.get(key, args[1] if len(args) > 1 else NONE) for key in args[0].constants])
        if name in ("items", "keys", "values"):
            return Box(None, sequence([ANY, elements]) if name == "items" else ANY if name == "keys" else elements)
        if name in ("index", "count"):
            return ANY
        return join([elements, NONE]) if name == "get" else Box(None, elements)

    # launches

    def _launch(
        self, launcher: Launcher, args: Sequence[Value], keywords: Mapping[str, Value], node: ast.Call
    ) -> Value:
        from rooflift.lint.expressions import Launch

        if self.host.phase == "forward":
            self.host.launches.append(Launch(launcher.kernel.name, launcher.grid, list(args), dict(keywords), node))
        else:
            self.host.refuse(
                "caching", node, f"{launcher.kernel.name} is launched outside of forward", "Launch it in forward."
            )
        return NONE

    def _config(self, args: Sequence[Value], keywords: Mapping[str, Value]) -> Value:
        named = dict(
            zip(("kwargs", "num_warps", "num_stages", "num_ctas", "maxnreg", "pre_hook"), args, strict=False)
        ) | dict(keywords)
        meta = named.pop("kwargs", None)
        items = meta.items if isinstance(meta, Box) and meta.items is not None else {}
        if isinstance(meta, Box) and meta.items is None:
            return Unknown(told=False)
        return Config(tuple((str(key), value) for key, value in items.items()), tuple(named.items()))

    def called_back(self, value: Value, node: ast.AST) -> None:
        """Follow a function that triton will call; its arguments are dictionaries that may hold the inputs."""
        argument = Tensor("argument", frozenset({Origin("input", "argument")}))
        for option in options(value):
            if isinstance(option, Function):
                args = option.node.args
                names = [arg.arg for arg in (*args.posonlyargs, *args.args)]
                self.host.enter(option, [Box(None, argument, kept=True) for _ in names], {}, node)
            elif not (isinstance(option, Scalar) or (isinstance(option, Unknown) and option.told)):
                self.host.refuse(
                    "unfollowable", node, "a callback that is not a function of this file", "Write a lambda or def."
                )


_SCALAR_METHODS = frozenset(
    {"numel", "index", "count", "format", "join", "bit_length", "items", "get", "keys", "values", "type"}
)
_REMEDIES = {
    "streams_threads": "Launch on the current stream, from this thread.",
    "patching": "Leave timing to rooflift.",
    "dynamic_code": "Write the code down as functions and kernels.",
    "system_access": "A kernel file reads and writes tensors only.",
    "caching": "Compute each call from its inputs alone.",
}


def _plain(value: Value) -> Scalar:
    return value if isinstance(value, Scalar) else Scalar(value.text if isinstance(value, Tensor) else "?")


def _evaluated(path: str, given: Sequence[Value]) -> frozenset[object] | None:
    """Return the results of a function of whole numbers where they are few."""
    functions = {
        "builtins.min": min,
        "builtins.max": max,
        "builtins.abs": abs,
        "builtins.int": int,
        "triton.cdiv": lambda a, b: -(-a // b),
        "triton.next_power_of_2": lambda n: 1 << max(n - 1, 0).bit_length(),
    }
    possible = [value.constants if isinstance(value, Scalar) else None for value in given]
    if path not in functions or not possible or any(constants is None for constants in possible):
        return None
    results: set[object] = set()
    for combination in product(*(constants for constants in possible if constants is not None)):
        try:
            results.add(functions[path](*combination))  # type: ignore[operator]
        except (TypeError, ArithmeticError, ValueError):
            return None
    return frozenset(results) if len(results) <= 12 else None

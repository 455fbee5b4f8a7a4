"""Kernels apart from their file: functions under triton.jit with all that they name, and a module of these alone.

`gather` runs where the candidate is loaded and may be told anything by it. `module_text` runs elsewhere: it takes
functions whose every name is a parameter, an own variable, one of `BUILTINS`, or something of triton or math.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from rooflift.worker.language import REMEDY, ROOTS, language_object, require_language
from rooflift.worker.launch_plan import Argument, Constant, DType, Items, Kernel, LaunchPlan, Named, NoPlan, Source

BUILTINS = {
    builtin.__name__: builtin
    for builtin in (
        *(abs, bool, enumerate, float, int, len, list, max, min),
        *(print, range, round, str, sum, tuple, zip),
    )
}
FORBIDDEN = (
    *(ast.Import, ast.ImportFrom, ast.Lambda, ast.ClassDef, ast.Global, ast.Nonlocal, ast.Try, ast.With),
    *(ast.AsyncFunctionDef, ast.Await, ast.Yield, ast.YieldFrom, ast.NamedExpr, ast.Delete),
)


class Kernels:
    """The kernels that launches reached, each once."""

    def __init__(self) -> None:
        self.sources: dict[str, Source] = {}
        self.names: dict[str, Named | Constant] = {}
        self._functions: dict[str, Any] = {}

    def gather(self, kernel: Any) -> str:
        """Take in a kernel and all that it names; return its name.

        Raises:
            NoPlan: it names something that is neither triton's nor a constant, or two kernels have one name.
        """
        function = kernel.fn
        while hasattr(function, "fn"):  # a kernel under further decorators
            function = function.fn
        name = str(function.__name__)
        if name in self.sources:
            if self._functions[name] is not function:
                raise NoPlan(f"two kernels are called {name}", "Give each kernel its own name.")
            return name
        lines, first = inspect.getsourcelines(function)
        text = textwrap.dedent("".join(lines))
        node = ast.parse(text).body[0]
        if not isinstance(node, ast.FunctionDef):
            raise NoPlan(f"{name} is no function", "Write kernels as functions under @triton.jit.")
        decorator = "triton.constexpr_function" if "Constexpr" in type(kernel).__name__ else "triton.jit"
        text = "".join(text.splitlines(keepends=True)[node.lineno - 1 :])
        self.sources[name] = Source(name, text, first + node.lineno - 1, decorator)  # type: ignore[arg-type]
        self._functions[name] = function
        for used in sorted(free_names(node)):
            found, known = _look_up(function, used)
            if known:
                self._take(used, found, name, _constexpr_by_annotation(function, used))
        return name

    def _take(self, used: str, value: Any, kernel: str, annotated: bool) -> None:
        import triton.language as tl

        if is_kernel(value):
            if self.gather(value) != used:
                raise NoPlan(f"{kernel} knows {value.__name__} as {used}", "Call kernels by their own names.")
            return
        found: Named | Constant
        if isinstance(value, ModuleType):
            found = Named(value.__name__)
        elif isinstance(value, tl.constexpr):
            found = Constant(self.argument(value.value), True)
        elif (module := getattr(value, "__module__", None) or "").split(".")[0] in ROOTS and hasattr(value, "__name__"):
            found = Named(module, value.__name__)
        else:
            found = Constant(self.argument(value), annotated)
        if self.names.setdefault(used, found) != found:
            raise NoPlan(f"{used} has two values among the kernels", "Give each constant its own name.")

    def argument(self, value: Any) -> Argument:
        """Return a constant, or a kernel's argument that is no tensor, as a plan holds it.

        Raises:
            NoPlan: it is of a type that a plan has no form for.
        """
        import triton.language as tl

        if isinstance(value, tl.constexpr):
            value = value.value
        if isinstance(value, tl.dtype):
            return DType(next(name for name, known in vars(tl).items() if type(known) is tl.dtype and known == value))
        if is_kernel(value):
            return Kernel(self.gather(value))
        if isinstance(value, list | tuple):
            return Items(tuple(self.argument(item) for item in value))
        if value is None or type(value) in (bool, int, float, str):
            plain: Argument = value
            return plain
        raise NoPlan(f"a kernel is given a {type(value).__name__}", "Pass tensors, numbers, types of tl, and tuples.")


def is_kernel(value: Any) -> bool:
    """Whether something is a function under triton.jit, in the interpreter as well."""
    from triton.runtime.interpreter import InterpretedFunction
    from triton.runtime.jit import JITCallable

    return isinstance(value, JITCallable | InterpretedFunction)


def free_names(function: ast.FunctionDef) -> set[str]:
    r"""Return what a function names and neither takes nor assigns; annotations are left out.

    >>> sorted(free_names(ast.parse("def f(x: int, B: tl.constexpr):\\n    y = tl.load(x)\\n    g(y, B)").body[0]))
    ['g', 'tl']
    """
    own = {arg.arg for arg in ast.walk(function.args) if isinstance(arg, ast.arg)}
    used: set[str] = set()
    for node in _run_time_nodes(function):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else own).add(node.id)
    return used - own


def _run_time_nodes(function: ast.FunctionDef) -> Iterator[ast.AST]:
    for part in (*function.body, *function.args.defaults, *filter(None, function.args.kw_defaults)):
        yield from ast.walk(part)


def _look_up(function: Any, name: str) -> tuple[Any, bool]:
    closed = inspect.getclosurevars(function).nonlocals
    for place in (closed, function.__globals__):
        if name in place:
            return place[name], True
    return None, False


def _constexpr_by_annotation(function: Any, name: str) -> bool:
    said = function.__globals__.get("__annotations__", {}).get(name)
    return "constexpr" in (said if isinstance(said, str) else getattr(said, "__name__", ""))


def module_text(plan: LaunchPlan) -> str:
    """Return a module with the kernels of a plan and nothing else, each on the lines that it has in the candidate.

    Raises:
        NoPlan: a kernel is more than a function of triton's language.
    """
    named: dict[str, Any] = dict.fromkeys((source.name for source in plan.sources), module_text)  # a function
    named |= {name: language_object(what) for name, what in plan.names.items() if isinstance(what, Named)}
    known = {*BUILTINS, *plan.names, *(source.name for source in plan.sources)}
    header = [f"{name} = {_bound(what)}" for name, what in plan.names.items()]
    # annotations stay texts, as Triton reads them: they may name what no kernel may
    lines = ["from __future__ import annotations; import importlib, triton, triton.language; " + "; ".join(header)]
    for source in sorted(plan.sources, key=lambda one: one.line):
        node = _require_kernel(source, known)
        require_language(node, source.name, named)
        if source.line - 1 <= len(lines):
            raise NoPlan(f"{source.name}: two kernels stand on one line", "Define kernels at the top of the file.")
        lines += [""] * (source.line - 2 - len(lines))
        lines += [f"@{source.decorator}", *_plain_annotations(source.text.rstrip("\n"), node).split("\n")]
    return "\n".join(lines) + "\n"


def _bound(what: Named | Constant) -> str:
    if isinstance(what, Named):
        return f"importlib.import_module({what.module!r})" + (f".{what.attribute}" if what.attribute else "")
    text = _literal(what.value)
    return f"triton.language.constexpr({text})" if what.constexpr else text


def _literal(value: Argument) -> str:
    match value:
        case DType(name) if name.isidentifier():
            return f"triton.language.{name}"
        case Items(items):
            return "(" + "".join(f"{_literal(item)}, " for item in items) + ")"
        case float():
            return f"float({str(value)!r})"
        case None | bool() | int() | str():
            return repr(value)
    raise NoPlan(f"a kernel names a {type(value).__name__}", REMEDY)


def _plain_annotations(text: str, node: ast.FunctionDef) -> str:
    """Return a function with annotations that are texts written out, so that they are texts once and not twice."""
    lines = [line.encode() for line in text.split("\n")]
    said = [arg.annotation for arg in ast.walk(node.args) if isinstance(arg, ast.arg)]
    texts = [one for one in said if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    for one in sorted(texts, key=lambda one: (one.lineno, one.col_offset), reverse=True):
        line, value = lines[one.lineno - 1], str(one.value)
        plain = value if value.replace(".", "").isidentifier() else "None"
        lines[one.lineno - 1] = line[: one.col_offset] + plain.encode() + line[one.end_col_offset :]
    return b"\n".join(lines).decode()


def _require_kernel(source: Source, known: set[str]) -> ast.FunctionDef:
    try:
        tree = ast.parse(source.text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise NoPlan(f"{source.name}: its source cannot be parsed ({error})", REMEDY) from None
    node = tree.body[0] if len(tree.body) == 1 else None
    if not isinstance(node, ast.FunctionDef) or node.name != source.name or node.decorator_list:
        raise NoPlan(f"{source.name} is not one function", REMEDY)
    unknown = free_names(node) - known
    if unknown:
        raise NoPlan(f"{source.name} names {min(unknown)}, which no kernel may", REMEDY)
    for part in ast.walk(node):
        if isinstance(part, FORBIDDEN) or (isinstance(part, ast.FunctionDef) and part is not node):
            raise NoPlan(f"{source.name} holds a {type(part).__name__}, which no kernel may", REMEDY)
    return node

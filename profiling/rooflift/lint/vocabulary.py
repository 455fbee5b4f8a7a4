"""What a candidate may import and name, and what the installed triton offers."""

from __future__ import annotations

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path


def words(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


IMPORTS = words("torch triton math typing collections dataclasses enum functools itertools __future__")
STREAMS = words("Stream ExternalStream Event CUDAGraph set_stream default_stream threading multiprocessing")
CODE = words(
    """eval exec compile __import__ setattr delattr vars globals locals breakpoint memoryview importlib inspect ctypes
    builtins gc sys _C utils hub load jit numpy apply_ map_ get_type_hints ForwardRef"""
)
SYSTEM = words("open input exit quit os io subprocess socket shutil tofile from_file save distributed")
HOOKS = words(
    """register_hook register_forward_hook register_forward_pre_hook register_full_backward_hook register_module_hook
    register_post_accumulate_grad_hook"""
)
# refused whatever they belong to; the others only of torch
OF_ANYTHING = words("numpy apply_ map_ tofile os sys subprocess socket shutil ctypes builtins importlib")


def refusal(name: str) -> str | None:
    """Return the rule that refuses a builtin, a module, or an attribute of torch or of a tensor by its name."""
    if name in STREAMS:
        return "streams_threads"
    if name in CODE:
        return "dynamic_code"
    if name in SYSTEM:
        return "system_access"
    return "patching" if name in HOOKS else None


@cache
def triton_names(module: str) -> frozenset[str] | None:
    """Return the names of a module of the installed triton, read from its source; triton is not imported.

    None: triton is not installed or has no such module.
    """
    file = _source(module)
    if file is None:
        return None
    names: set[str] = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                names.update(alias.asname or alias.name.split(".")[0] for alias in aliases)
            case ast.Assign(targets=targets):
                names.update(target.id for target in targets if isinstance(target, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
    if file.name == "__init__.py":
        names.update(path.stem for path in file.parent.glob("*.py"))
        names.update(path.parent.name for path in file.parent.glob("*/__init__.py"))
    return frozenset(names)


def unknown_attribute(path: str) -> tuple[str, str] | None:
    """Return the module and the attribute that it lacks, for a dotted name under triton; None where all is well."""
    parts = path.split(".")
    for length in range(1, len(parts)):
        module = ".".join(parts[:length])
        names = triton_names(module)
        if names is None:
            return None
        if parts[length] not in names:
            return module, parts[length]
        if _source(f"{module}.{parts[length]}") is None or parts[length] in _objects(module):
            return None
    return None


@cache
def _objects(module: str) -> frozenset[str]:
    """Return what a module imports out of others: `triton.runtime.driver` is an object and hides its own module."""
    file = _source(module)
    nodes = ast.parse(file.read_text(encoding="utf-8")).body if file is not None else []
    named = (alias for node in nodes if isinstance(node, ast.ImportFrom) and node.module for alias in node.names)
    return frozenset(alias.asname or alias.name for alias in named)


@cache
def _source(module: str) -> Path | None:
    first, *rest = module.split(".")
    spec = find_spec(first)
    if spec is None or spec.origin is None:
        return None
    at = Path(spec.origin).parent.joinpath(*rest)
    for file in (at / "__init__.py", at.with_suffix(".py")):
        if file.is_file():
            return file
    return None

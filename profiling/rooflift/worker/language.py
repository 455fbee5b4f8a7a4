"""The language that kernels are written in: what of triton and math they may name, and what leads out of it.

Modules of triton lead to all of Python: `triton.runtime.cache.os` is one. The compiler would follow such a name as the
interpreter does, so names are followed here first, attribute by attribute.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Mapping
from contextlib import suppress
from types import ModuleType
from typing import Any

from rooflift.worker.launch_plan import Named, NoPlan

ROOTS = ("triton", "math")
OF_TRITON = ("cdiv", "next_power_of_2")  # of triton itself; all else is of triton.language
LANGUAGE = ("triton.language", "triton._C", "rooflift.worker.libdevice")  # modules that define it; the last interprets
INSIDE = "handle"  # of a tensor: the interpreter's own array, or the compiler's own value
REMEDY = "Let kernels name triton.language, other kernels, and tl.constexpr values."


def language_object(what: Named) -> Any:
    """Return what a name stands for: a module, or something in one.

    Raises:
        NoPlan: it is not of the language.
    """
    parts = (*what.module.split("."), *filter(None, (what.attribute,)))
    with suppress(ImportError, AttributeError):
        if parts[0] in ROOTS and all(map(str.isidentifier, parts)):
            module = importlib.import_module(what.module)
            return _in_language(module, what.attribute)
    raise NoPlan(f"a kernel names {'.'.join(parts)}", REMEDY)


def _in_language(owner: ModuleType, name: str) -> Any:
    """Return an attribute of a module, or the module itself; raises AttributeError where it is not of the language."""
    found = getattr(owner, name) if name else owner
    if isinstance(found, ModuleType):
        legal = found.__name__ in ROOTS or f"{found.__name__}.".startswith("triton.language.")
    elif owner.__name__ in ROOTS:
        legal = owner.__name__ == "math" or name in OF_TRITON
    else:
        defined = getattr(found, "fn", found)  # a function under triton.jit
        legal = (getattr(defined, "__module__", None) or "").startswith(LANGUAGE)
    if not legal or name.startswith("_"):
        raise AttributeError(name)
    return found


def require_language(node: ast.FunctionDef, kernel: str, named: Mapping[str, Any]) -> None:
    """Refuse attributes that lead from the language into Python; `named` is what stands behind names of modules.

    Raises:
        NoPlan: the kernel names one, or hands a module on.
    """
    inner = {id(part.value) for part in ast.walk(node) if isinstance(part, ast.Attribute)}
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and isinstance(named.get(part.id), ModuleType) and id(part) not in inner:
            raise NoPlan(f"{kernel} hands {part.id} on, which is a module", REMEDY)
        if isinstance(part, ast.Attribute):
            found = _attribute(part, kernel, named)
            if isinstance(found, ModuleType) and id(part) not in inner:
                raise NoPlan(f"{kernel} hands {ast.unparse(part)} on, which is a module", REMEDY)


def _attribute(node: ast.Attribute, kernel: str, named: Mapping[str, Any]) -> Any:
    """Return what an attribute of a module is, None for an attribute of anything else."""
    owner = None
    if isinstance(node.value, ast.Attribute):
        owner = _attribute(node.value, kernel, named)
    elif isinstance(node.value, ast.Name):
        owner = named.get(node.value.id)
    with suppress(AttributeError):
        if isinstance(owner, ModuleType):
            return _in_language(owner, node.attr)
        function = callable(owner) and not isinstance(owner, type)
        if not function and not node.attr.startswith("_") and node.attr != INSIDE:
            return None
    raise NoPlan(f"{kernel} names {ast.unparse(node)}, which no kernel may", REMEDY)

"""Kernel files imported by path."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    pass


class _WithoutCache(importlib.machinery.SourceFileLoader):
    """Leaves no __pycache__ beside the kernel files."""

    def set_data(self, *_: Any, **__: Any) -> None:
        """Write no bytecode."""


def load_module(path: Path, name: str | None = None) -> ModuleType:
    """Import a file by path, as its own module; it is not put under kernels.* because that name is somebody else's."""
    name = name or f"rooflift_kernel_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path, loader=_WithoutCache(name, str(path)))
    assert spec is not None  # a .py path has a spec
    assert spec.loader is not None  # and a loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # triton's JIT looks its source file up there
    spec.loader.exec_module(module)
    return module

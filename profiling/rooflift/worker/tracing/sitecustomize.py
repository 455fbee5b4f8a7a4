"""Loaded by Python when a program starts: records its kernels, then makes room for the sitecustomize that it hides."""

from __future__ import annotations

import contextlib
import importlib
import sys
from pathlib import Path

with contextlib.suppress(Exception):  # somebody's program runs, whatever becomes of its trace
    importlib.import_module("rooflift_trace").begin()  # beside this file

_own = Path(__file__).resolve().parent
sys.path[:] = [place for place in sys.path if Path(place or ".").resolve() != _own]
_this = sys.modules.pop("sitecustomize")
with contextlib.suppress(ImportError):
    importlib.import_module("sitecustomize")
sys.modules.setdefault("sitecustomize", _this)

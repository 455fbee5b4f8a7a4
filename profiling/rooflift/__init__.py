"""Profile versioned Triton kernels with Nsight Compute and place every version against its speed of light.

    import rooflift as rl
    run = rl.latest("depthwise_conv2d", gpu="H100")
    run.summary()

docs/python-api.md has every name with an example. A name is loaded when it is first used: importing the package costs
nothing. `runs`, `lint` and `compile` are functions here and packages below; `from rooflift.runs.find import ...` works.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rooflift.api.estimates import estimate
    from rooflift.api.find import gpu, latest, open, operator, roofs, runs  # noqa: A004  # rl.open, as Image.open
    from rooflift.api.run import Run
    from rooflift.api.times import compare_times
    from rooflift.api.work import compile, lint, profile, read_report, verify  # noqa: A004  # rl.compile, as re.compile
    from rooflift.errors import RoofliftError
    from rooflift.optimize.ask import prompt

__version__ = "0.1.0"
__all__ = [
    "RoofliftError",
    "Run",
    "compare_times",
    "compile",
    "estimate",
    "gpu",
    "latest",
    "lint",
    "open",
    "operator",
    "profile",
    "prompt",
    "read_report",
    "roofs",
    "runs",
    "verify",
]

_MODULES = {
    "rooflift.api.estimates": ("estimate",),
    "rooflift.api.find": ("gpu", "latest", "open", "operator", "roofs", "runs"),
    "rooflift.api.run": ("Run",),
    "rooflift.api.times": ("compare_times",),
    "rooflift.api.work": ("compile", "lint", "profile", "read_report", "verify"),
    "rooflift.errors": ("RoofliftError",),
    "rooflift.optimize.ask": ("prompt",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


class _Package(ModuleType):
    """This package: loading the package `rooflift.runs` does not put it in the place of the function `rl.runs`."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _MODULE_OF and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package

if not TYPE_CHECKING:  # a type checker reads the imports above

    def __getattr__(name: str) -> Any:
        if name not in _MODULE_OF:
            raise AttributeError(f"module 'rooflift' has no attribute {name!r}")
        found = getattr(import_module(_MODULE_OF[name]), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])

"""Profile versioned Triton kernels with Nsight Compute and place every version against its speed of light.

    import rooflift as rl
    run = rl.latest("depthwise_conv2d", gpu="H100")
    run.summary()

docs/python-api.md has every name with an example. A name is loaded when it is first used: importing the package costs
nothing. `runs`, `lint`, `compile` and `optimize` are functions here and packages below, which can be imported from.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rooflift.api.capture import capture
    from rooflift.api.checks import verify
    from rooflift.api.doctor import doctor
    from rooflift.api.estimates import estimate
    from rooflift.api.find import latest, open, runs  # noqa: A004  # rl.open, as Image.open
    from rooflift.api.kernelbench import fast_p, kernelbench
    from rooflift.api.lint import lint
    from rooflift.api.new import new
    from rooflift.api.operators import operator, operators
    from rooflift.api.project import gpu
    from rooflift.api.reports import launches, read_report
    from rooflift.api.roofs import roofs
    from rooflift.api.run import Run
    from rooflift.api.times import compare_times
    from rooflift.api.tune import tune
    from rooflift.api.work import compile, profile  # noqa: A004  # rl.compile, as re.compile
    from rooflift.errors import RoofliftError
    from rooflift.optimize.ask import optimize, prompt
    from rooflift.region import region

__version__ = "0.1.0"
__all__ = [
    "RoofliftError",
    "Run",
    "capture",
    "compare_times",
    "compile",
    "doctor",
    "estimate",
    "fast_p",
    "gpu",
    "kernelbench",
    "latest",
    "launches",
    "lint",
    "new",
    "open",
    "operator",
    "operators",
    "optimize",
    "profile",
    "prompt",
    "read_report",
    "region",
    "roofs",
    "runs",
    "tune",
    "verify",
]

_MODULES = {
    "rooflift.api.capture": ("capture",),
    "rooflift.api.checks": ("verify",),
    "rooflift.api.doctor": ("doctor",),
    "rooflift.api.estimates": ("estimate",),
    "rooflift.api.find": ("latest", "open", "runs"),
    "rooflift.api.kernelbench": ("fast_p", "kernelbench"),
    "rooflift.api.lint": ("lint",),
    "rooflift.api.new": ("new",),
    "rooflift.api.operators": ("operator", "operators"),
    "rooflift.api.project": ("gpu",),
    "rooflift.api.reports": ("launches", "read_report"),
    "rooflift.api.roofs": ("roofs",),
    "rooflift.api.run": ("Run",),
    "rooflift.api.times": ("compare_times",),
    "rooflift.api.tune": ("tune",),
    "rooflift.api.work": ("compile", "profile"),
    "rooflift.errors": ("RoofliftError",),
    "rooflift.optimize.ask": ("optimize", "prompt"),
    "rooflift.region": ("region",),
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

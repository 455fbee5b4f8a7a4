"""What a candidate's Python does beside its plan: what it replaces in other modules, what it asks of the system.

It is of no use against the judge, who loads nothing of a candidate. But a file that is kept is loaded by others later,
so one that was seen to do such a thing is refused. What hides from this is not excluded (docs/trust.md).
"""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from rooflift.worker.launch_plan import NoPlan

WATCHED = (
    "torch",
    "triton",
    "rooflift",
    "builtins",
    "time",
    "os",
    "json",
    "msgspec",
    "importlib",
    "inspect",
    "threading",
)
REFUSED = (  # audit events that a kernel file has no reason for, by the beginning of their names
    *(
        "os.",
        "shutil.",
        "subprocess.",
        "socket.",
        "ctypes.",
        "signal.",
        "pty.",
        "gc.",
        "sys.settrace",
        "sys.setprofile",
    ),
    *("sys.addaudithook", "_thread.", "exec", "compile", "marshal.", "pickle.", "tempfile.", "http.", "urllib."),
)
REMEDY = "Define kernels and launch them; leave other modules and the system alone."
LIBRARY = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib"))
PACKAGES = tuple(sysconfig.get_path(name) for name in ("purelib", "platlib"))


@contextmanager
def watched(candidate: Path) -> Iterator[None]:
    """Refuse what a candidate's file does meanwhile, once it is done.

    Raises:
        NoPlan: it replaced a function or class of another module, or asked something of the system.
    """
    before, seen = _callables(), list[str]()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if (event == "open" or event.startswith(REFUSED)) and not _reads_source(event, arguments):
            line = _line_of(event, str(candidate))
            if line:
                seen.append(f"{candidate.name}:{line}: the file does {event}")

    _hooks.append(hook)
    try:
        yield
    finally:
        _hooks.remove(hook)
    replaced = _replaced(before)
    if replaced:
        raise NoPlan(f"the file replaces {replaced}", REMEDY)
    if seen:
        raise NoPlan(seen[0], REMEDY)


_hooks: list[Any] = []  # an audit hook cannot be taken away again: one calls those of the moment
sys.addaudithook(lambda event, arguments: [hook(event, arguments) for hook in _hooks] and None)


def _reads_source(event: str, arguments: tuple[Any, ...]) -> bool:
    """Whether a file is read that a warning or a traceback shows a line of."""
    return event == "open" and str(arguments[0]).endswith(".py") and not set("wax+") & set(str(arguments[1]))


def _line_of(event: str, candidate: str) -> int:
    """Return the candidate's line that an event comes from, 0 where another package lies between.

    Python's own library calls exec for named tuples and dataclasses; a candidate has to call it itself.
    """
    library = () if event in ("exec", "compile") else ("<", *LIBRARY)
    frame: FrameType | None = sys._getframe()  # noqa: SLF001  # who called is what is asked
    while frame is not None and (file := frame.f_code.co_filename) != candidate:
        if file != __file__ and (not file.startswith(library) or file.startswith(PACKAGES)):
            return 0
        frame = frame.f_back
    return frame.f_lineno if frame is not None else 0


def _callables() -> dict[tuple[str, str], Any]:
    """Return the functions and classes of modules, and those of their classes, by owner and name."""
    found: dict[tuple[str, str], Any] = {}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] not in WATCHED:
            continue
        for attribute, value in list(vars(module).items()):
            if not callable(value):
                continue
            found[name, attribute] = value
            if isinstance(value, type) and value.__module__ == name:
                inside = list(vars(value).items())
                found.update({(f"{name}.{attribute}", inner): part for inner, part in inside if callable(part)})
    return found


def _replaced(before: dict[tuple[str, str], Any]) -> str:
    """Return the name of what another package's function or class stands for now, "" where there is none."""
    after = _callables()
    for (owner, name), value in before.items():
        now = after.get((owner, name), value)
        of = str(getattr(now, "__module__", None) or "").partition(".")[0]
        if now is not value and of not in (owner.partition(".")[0], "functools", "torch", "triton"):
            return f"{owner}.{name}"
    return ""

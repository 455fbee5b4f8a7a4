"""The errors that a user meets: each says what happened, where, and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RoofliftError(Exception):
    """Base of every expected failure. The CLI prints message and remedy and leaves with `exit_code`."""

    exit_code = 2

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(f"{message}\n{remedy}")
        self.message = message
        self.remedy = remedy


class CatalogError(RoofliftError):
    """An operator, version, header or case file is unknown or malformed."""


class EnvironmentFault(RoofliftError):
    """Something outside the project is missing or refuses: GPU, ncu, a package, a permission."""


class NoGpu(EnvironmentFault):
    """No NVIDIA GPU can be used here."""


class InterpreterGap(EnvironmentFault):
    """Triton's interpreter lacks what a version needs, which says nothing about the version."""


class NcuFault(EnvironmentFault):
    """ncu is missing or failed."""


class CounterPermission(NcuFault):
    """The driver refused the performance counters (ERR_NVGPUCTRPERM)."""


class SanitizerFault(EnvironmentFault):
    """compute-sanitizer is missing or failed, which says nothing about a version."""


class KernelFault(RoofliftError):
    """A version does not compile, does not run, or ran past its time limit."""


class WrongResult(RoofliftError):
    """A version's output differs from the reference."""


class ReportFault(RoofliftError):
    """A .ncu-rep file is empty, foreign or holds no launch."""


class RunFault(RoofliftError):
    """A run folder is missing, incomplete or of another schema version."""


class NoRun(RunFault):
    """An operator was not measured yet."""


MOST = 12  # names in a remedy


def did_you_mean(wanted: str, known: Iterable[str]) -> str:
    """Return the remedy line for an unknown name: the near names, or the first of them all."""
    names = list(known)
    near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.5) or [n for n in names if n.startswith(wanted)]
    if near:
        return f"Did you mean {', '.join(near)}?"
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return f"Known: {', '.join(names[:MOST]) or 'none'}{more}."

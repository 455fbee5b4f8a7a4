"""What needs no GPU: versions checked in Triton's interpreter and compiled, by children side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from rooflift.measure import compiled, session
from rooflift.measure.request import Request, in_dtypes
from rooflift.measure.session import Measurement, Progress
from rooflift.process import run_to_end
from rooflift.schema import CheckRecord

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Offline:
    """What came of versions without a GPU."""

    checks: list[CheckRecord]  # one comparison with the reference a version, test case and dtype
    compiled: pd.DataFrame  # as compiled.csv
    left_out: int = 0  # versions of the operator that were neither checked nor compiled


def check_and_compile(request: Request, targets: Sequence[int], progress: Progress) -> Offline:
    """Check a request's versions on the operator's test cases with one seed, and compile them for the targets.

    Raises:
        KernelFault: a version does not compile or run, or the time limit is over.
        WrongResult: a version differs from the reference.
        EnvironmentFault: triton or cuobjdump is missing.
    """
    cases = request.operator.select_cases([], "test")
    once = replace(request, options=msgspec.structs.replace(request.options, seeds=1))
    seen = Measurement()
    with (
        session.checking(once, cases, True, seen, progress) as checks,
        compiled.compiling(request, targets, seen, progress) as compiles,
    ):
        run_to_end(session.in_turn([[*compiles, *checks]], request.timeout_s))
    return Offline(
        session.in_order(seen.checks, in_dtypes(cases, request.dtypes)),
        compiled.to_rows(compiled.in_order(seen.compiled, request)),
    )

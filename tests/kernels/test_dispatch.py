"""What users import: an operator's dispatch in Triton's interpreter, staged and checked as a suite does it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rooflift.measure.checking import verify
from rooflift.measure.request import Request
from rooflift.project.operator import load_operator
from rooflift.schema import MeasureOptions


@pytest.mark.slow
def test_dispatch_agrees_with_the_reference_on_every_case_and_dtype(
    ask: Callable[..., Request], checkout: Path
) -> None:
    operator = load_operator(checkout, "depthwise_conv2d")
    request = replace(ask(operator, timeout_s=600), versions=[], suite=True, options=MeasureOptions(seeds=1))
    checks = verify(request, request.cases, True, lambda text: None)
    wanted = [("dispatch", case.name, dtype, 0) for case in request.cases for dtype in case.dtypes]
    assert Counter((c.version, c.case, c.dtype, c.seed) for c in checks) == Counter(wanted)
    assert max(check.error_over_tolerance for check in checks) <= 1

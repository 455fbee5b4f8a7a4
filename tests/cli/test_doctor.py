"""`rooflift doctor`, as typed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

Rooflift = Callable[..., Any]


@pytest.mark.usefixtures("no_gpu")
def test_doctor_says_what_is_missing_and_ends_with_2(rooflift: Rooflift) -> None:
    said = rooflift("doctor", "--json")
    findings = {finding["name"]: finding for finding in json.loads(said.out)}
    assert said.code == 2
    assert findings["gpu"]["status"] == "problem"
    assert "CUDA_VISIBLE_DEVICES" in findings["gpu"]["remedy"]
    assert "Unset CUDA_VISIBLE_DEVICES" in rooflift("doctor").out

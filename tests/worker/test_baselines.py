"""The slow baselines: prepared like the reference, and left out with a word when one of them fails."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from rooflift.project.cases import Case
from rooflift.worker.baselines import slow_baselines

CASE = Case("small", {}, [[2, 3, 4, 5]], ("float32",))


@pytest.fixture(autouse=True)
def _no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.compiler, "reset", lambda: None)  # imports the compiler


def events(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines() if line]


def test_each_peer_is_a_warm_call_of_the_reference(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    compiled: list[dict[str, Any]] = []
    monkeypatch.setattr(torch, "compile", lambda model, **options: compiled.append(options) or model)
    x = torch.rand(2, 3, 4, 5)
    calls = slow_baselines(CASE, torch.nn.ReLU(), [x])
    assert list(calls) == ["torch_channels_last", "torch_compile"]
    assert calls["torch_channels_last"]().is_contiguous(memory_format=torch.channels_last)
    assert calls["torch_compile"]().is_contiguous()
    assert all(torch.equal(call(), x) for call in calls.values())
    assert compiled == [{"dynamic": False}]
    assert events(capsys) == []


def test_peer_that_does_not_compile_is_left_out_and_the_other_stays(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise NotImplementedError("no such operator in /home/alice/kernels")

    monkeypatch.setattr(torch, "compile", fail)
    assert list(slow_baselines(CASE, torch.nn.ReLU(), [torch.rand(2, 3, 4, 5)])) == ["torch_channels_last"]
    doing, left_out = events(capsys)
    assert "no such operator" in doing["text"]
    assert left_out == {
        "type": "LeftOut",
        "provider": "torch_compile",
        "case": "small",
        "dtype": "float32",
        "error": "NotImplementedError",  # its words name a place of this machine
    }


def test_operator_without_a_4d_input_has_no_peer_in_channels_last(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch, "compile", lambda model, **_: model)
    assert list(slow_baselines(CASE, torch.nn.ReLU(), [torch.rand(5)])) == ["torch_compile"]
    assert events(capsys) == []

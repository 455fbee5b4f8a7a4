"""The slow baselines: prepared like the reference, and left out with a word when one of them fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from rooflift.project.cases import Case
from rooflift.worker.baselines import BaselineFault, in_channels_last, own_baselines, slow_baselines

CASE = Case("small", {}, [[2, 3, 4, 5]], ("float32",))
IMAGE = torch.nn.MaxPool2d(1)  # the values of its input
OWN = """
import torch
from math import prod  # no baseline, but somebody else's function


def twice(model, inputs):
    model.eval()
    return lambda: inputs[0] * 2


def result(model, inputs):
    return model(*inputs)


def absent(model, inputs):
    import a_library_that_nobody_has


def smaller(model, inputs):
    return lambda: inputs[0][:1]


def fails_late(model, inputs):
    return lambda: 1 / 0


def _helper():
    pass
"""


class Twice(torch.nn.Module):
    """Of no image."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * x


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "baselines.py"
    path.write_text(OWN)
    return path


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
    calls = slow_baselines(CASE, IMAGE, [x])
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
    assert list(slow_baselines(CASE, IMAGE, [torch.rand(2, 3, 4, 5)])) == ["torch_channels_last"]
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
    assert list(slow_baselines(CASE, Twice(), [torch.rand(5)])) == ["torch_compile"]
    assert events(capsys) == []


def test_channels_last_computes_the_same_in_another_layout() -> None:
    model = torch.nn.Conv2d(3, 3, 3, groups=3)
    inputs = [torch.rand(2, 3, 6, 5), 7, torch.rand(4)]
    turned = in_channels_last(model, inputs)
    assert turned is not None
    its_model, (x, number, vector) = turned
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert its_model.weight.is_contiguous(memory_format=torch.channels_last)
    assert (number, vector is inputs[2]) == (7, True)
    torch.testing.assert_close(its_model(x), model(inputs[0]))
    assert model.weight.is_contiguous()  # the model of the other baselines stays as it was
    assert inputs[0].is_contiguous()


@pytest.mark.parametrize("module", [torch.nn.BatchNorm2d(3), torch.nn.GroupNorm(1, 3), torch.nn.AdaptiveAvgPool2d(1)])
def test_norms_and_pools_of_channels_are_an_images(module: torch.nn.Module) -> None:
    assert in_channels_last(torch.nn.Sequential(module), [torch.rand(2, 3, 4, 5)]) is not None
    assert in_channels_last(torch.nn.Sequential(module), [torch.rand(2, 3, 5)]) is None


def test_heads_of_attention_are_no_channels() -> None:
    assert in_channels_last(torch.nn.LayerNorm(5), [torch.rand(2, 3, 4, 5)]) is None
    assert in_channels_last(torch.nn.Linear(5, 3), [torch.rand(2, 3, 4, 5)]) is None


def test_public_functions_beside_the_reference_are_baselines_and_those_that_cannot_run_are_left_out_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], own: Path
) -> None:
    monkeypatch.setattr(torch, "compile", lambda model, **_: model)
    x = torch.rand(3)
    calls = slow_baselines(CASE, Twice(), [x], own, ["torch_eager"])
    assert list(calls) == ["torch_compile", "twice", "result"]
    assert all(torch.equal(call(), 2 * x) for call in calls.values())
    told = {event["provider"]: event["error"] for event in events(capsys) if event["type"] == "LeftOut"}
    assert told == {
        "absent": "ModuleNotFoundError",
        "smaller": "BaselineFault",
        "fails_late": "ZeroDivisionError",
    }


def test_a_file_that_does_not_load_costs_no_other_baseline(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], own: Path
) -> None:
    monkeypatch.setattr(torch, "compile", lambda model, **_: model)
    own.write_text("import a_library_that_nobody_has")
    assert list(slow_baselines(CASE, Twice(), [torch.rand(3)], own)) == ["torch_compile"]
    (told,) = [event for event in events(capsys) if event["type"] == "LeftOut"]
    assert (told["provider"], told["error"]) == ("baselines.py", "ModuleNotFoundError")


def test_names_and_arguments_of_baselines_are_checked(own: Path) -> None:
    assert list(own_baselines(own)) == ["twice", "result", "absent", "smaller", "fails_late"]
    with pytest.raises(BaselineFault, match="twice is the name of another provider"):
        own_baselines(own, ["copy", "twice"])
    own.write_text("def cublas(inputs):\n    return None\n")
    with pytest.raises(BaselineFault, match="cublas takes other arguments"):
        own_baselines(own)

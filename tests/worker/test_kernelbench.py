"""KernelBench's verdicts, reproduced: where they agree with the error model and where they are known to differ."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from rooflift.project.cases import Case
from rooflift.worker.kernelbench import judge


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x)


def judged(version: type[nn.Module], dtype: str = "float32", reference: type[nn.Module] = Linear) -> dict[str, Any]:
    plain: Any = SimpleNamespace(Model=reference, get_inputs=lambda: [torch.rand(16, 64)], get_init_inputs=list)
    case = Case("small", None, None, (dtype,))
    return judge(lambda: SimpleNamespace(ModelNew=version), plain, case, "cpu")  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_weights_drawn_under_one_seed_make_the_references_own_code_correct(dtype: str) -> None:
    found = judged(Linear, dtype)
    assert (found["compiled"], found["correctness"]) == (True, True)
    assert found["metadata"]["correctness_trials"] == "(5 / 5)"


@pytest.mark.parametrize(("off", "right"), [(5e-5, True), (3e-4, False)])
def test_the_tolerance_is_absolute_and_relative(off: float, right: bool) -> None:
    class Off(Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(x) + off

    found = judged(Off)
    assert found["correctness"] is right
    if not right:
        assert found["metadata"]["correctness_issue"] == "Output mismatch"
        assert float(found["metadata"]["max_difference"][0]) == pytest.approx(off, rel=0.01)


def test_a_norm_without_its_weight_is_correct_there_since_weights_start_at_1() -> None:
    """What the error model refuses: a mode for setting verdicts side by side has to agree with KernelBench."""

    class Norm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.LayerNorm(64)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(x)

    class Without(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.layer_norm(x, (64,))

    assert judged(Without, reference=Norm)["correctness"]


def test_shapes_errors_and_files_that_do_not_load_are_told_in_its_fields() -> None:
    class Narrow(Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(x)[:, :31]

    class Breaks(Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise ValueError("no")

    assert "shape mismatch" in judged(Narrow)["metadata"]["correctness_issue"]
    assert judged(Breaks)["metadata"]["runtime_error_name"] == "builtins.ValueError"

    def load() -> Any:
        raise SyntaxError("not Python")

    plain: Any = SimpleNamespace(Model=Linear, get_inputs=lambda: [torch.rand(16, 64)], get_init_inputs=list)
    found = judge(load, plain, Case("small", None, None, ("float32",)), "cpu")
    assert (found["compiled"], found["correctness"]) == (False, False)
    assert found["metadata"]["compilation_error"] == "not Python"

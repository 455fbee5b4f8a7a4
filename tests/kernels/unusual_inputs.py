"""A program that the tests run in Triton's interpreter: one version, inputs that no case holds.

`python unusual_inputs.py FOLDER FILE` prints {name of the input: "agrees", or the error's type and message}.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from rooflift.compile.module import load_module
from rooflift.project.cases import Case
from rooflift.schema import CheckRecord
from rooflift.worker.correctness import check_version, compare, poisoned_memory
from rooflift.worker.interpreter import fix_interpreter

Inputs = Callable[[], tuple[dict[str, Any], torch.Tensor]]  # arguments of the constructor, and x


def randn(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, dtype=dtype)


DEPTHWISE = {"in_channels": 3, "kernel_size": 3, "padding": 1, "bias": True}
INPUTS: dict[str, dict[str, Inputs]] = {
    "depthwise_conv2d": {
        "every second column": lambda: (DEPTHWISE, randn(2, 3, 5, 22)[..., ::2]),
        "channels last": lambda: (DEPTHWISE, randn(2, 3, 5, 11).to(memory_format=torch.channels_last)),
        "transposed": lambda: (DEPTHWISE, randn(2, 3, 11, 5).transpose(2, 3)),
        "expanded": lambda: (DEPTHWISE, randn(1, 3, 5, 11).expand(2, 3, 5, 11)),
        "empty batch": lambda: (DEPTHWISE, randn(0, 3, 6, 11)),
        "float64": lambda: (DEPTHWISE, randn(2, 3, 6, 11, dtype=torch.float64)),
        "float16 for float32 weights": lambda: (DEPTHWISE, randn(2, 3, 6, 11, dtype=torch.float16)),
        "another number of channels": lambda: (DEPTHWISE, randn(2, 4, 6, 11)),
        "three dimensions": lambda: (DEPTHWISE, randn(3, 6, 11)),
        "filter larger than the image": lambda: (DEPTHWISE | {"kernel_size": 7}, randn(2, 3, 4, 11)),
    },
    "rms_norm": {
        "every second column": lambda: ({"num_features": 5}, randn(2, 5, 3, 14)[..., ::2]),
        "channels last": lambda: ({"num_features": 5}, randn(2, 5, 3, 7).to(memory_format=torch.channels_last)),
        "transposed": lambda: ({"num_features": 5}, randn(2, 7, 5).transpose(1, 2)),
        "expanded": lambda: ({"num_features": 5}, randn(2, 5, 1, 7).expand(2, 5, 3, 7)),
        "empty batch": lambda: ({"num_features": 5}, randn(0, 5, 3, 7)),
        "no position": lambda: ({"num_features": 5}, randn(2, 5, 0, 7)),
        "float64": lambda: ({"num_features": 5}, randn(2, 5, 3, 7, dtype=torch.float64)),
        "one dimension": lambda: ({"num_features": 5}, randn(5)),
    },
}
ALONG_THE_LAST_DIMENSION: dict[str, Inputs] = {
    "every second column": lambda: ({}, randn(2, 3, 22)[..., ::2]),
    "channels last": lambda: ({}, randn(2, 3, 6, 11).to(memory_format=torch.channels_last)),
    "transposed": lambda: ({}, randn(11, 6).T),
    "expanded": lambda: ({}, randn(3, 1).expand(3, 7)),
    "empty batch": lambda: ({}, randn(0, 7)),
    "no column": lambda: ({}, randn(3, 0)),
    "no dimension": lambda: ({}, randn()),
    "some -inf": lambda: ({}, randn(3, 1100).masked_fill_(torch.arange(1100) < 1030, float("-inf"))),
    "float64": lambda: ({}, randn(2, 7, dtype=torch.float64)),
}
INPUTS |= {"softmax": ALONG_THE_LAST_DIMENSION, "cumsum": ALONG_THE_LAST_DIMENSION}


def outcome(reference: ModuleType, version: ModuleType, init: dict[str, Any], x: torch.Tensor) -> str:
    """Run the version on x; "agrees" when its result is the reference's."""
    torch.manual_seed(1)
    expected = reference.Model(**init)
    model = version.ModelNew(**init)
    model.load_state_dict({k.removeprefix("conv2d."): v for k, v in expected.state_dict().items()})
    try:
        with poisoned_memory():
            got = model(x)
    except (TypeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    found = compare(got, expected.double()(x.double()), "", Case("", init, None, ("float32",)), 0)
    return "agrees" if isinstance(found, CheckRecord) else str(found)


def many_launches(reference: ModuleType, version: ModuleType) -> str:
    """Run with a grid that may be 4 long, on more planes and rows than that; "agrees" after several launches."""
    launches = 0
    kernel = version.depthwise_conv2d_kernel

    class Counted:
        def __getitem__(self, grid: Any) -> Any:
            nonlocal launches
            launches += 1
            return kernel[grid]

    version.depthwise_conv2d_kernel, version.MAX_GRID_YZ = Counted(), 4
    case = Case("planes", {"in_channels": 3, "kernel_size": 3, "bias": True}, [[3, 3, 21, 9]], ("float32",))
    found = check_version("", version, reference, case, "cpu", 0)
    if launches != 3:
        return f"{launches} launches for 9 planes, 4 at a time"
    return "agrees" if isinstance(found, CheckRecord) else str(found)


def main() -> None:
    """Print what becomes of every input."""
    folder, file = map(Path, sys.argv[1:])
    fix_interpreter()
    reference, version = load_module(folder / "reference.py"), load_module(file)
    with torch.no_grad():
        found = {what: outcome(reference, version, *inputs()) for what, inputs in INPUTS[folder.name].items()}
        if hasattr(version, "MAX_GRID_YZ"):
            found["more planes than a grid is long"] = many_launches(reference, version)
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()

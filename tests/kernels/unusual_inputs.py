"""A program that the tests run in Triton's interpreter: versions of an operator, inputs that no case holds.

`python unusual_inputs.py FOLDER FILE...` prints {file: {name of the input: "agrees", or the error's type and message}}.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from rooflift.compile.module import load_module
from rooflift.project.cases import Case
from rooflift.project.operator import Operator, load_operator
from rooflift.schema import CheckRecord
from rooflift.worker.correctness import check_version, compare
from rooflift.worker.inputs import make_inputs
from rooflift.worker.interpreter import fix_interpreter
from rooflift.worker.poison import poisoned_memory
from rooflift.worker.protocol import Mismatch
from rooflift.worker.results import leaves
from rooflift.worker.stand_in import gpu_stands_in
from rooflift.worker.tensors import make_reference, make_version
from rooflift.worker.truth import find_truth

Inputs = Callable[[], tuple[dict[str, Any], *tuple[torch.Tensor, ...]]]  # arguments of the constructor, and the inputs


def randn(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, dtype=dtype)


def twice(inputs: Inputs) -> tuple[dict[str, Any], *tuple[torch.Tensor, ...]]:
    """The same with x a second time, half as large."""
    init, x = inputs()
    return init, x, x / 2


def with_rows(inputs: Inputs) -> tuple[dict[str, Any], *tuple[torch.Tensor, ...]]:
    """The same with a gradient, and a mean and a reciprocal deviation of each row."""
    init, x, gradient = twice(inputs)
    rows = x.shape[:-1]
    return init, x, gradient, torch.randn(rows), torch.rand(rows) + 0.5


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
INPUTS["cross_entropy"] = {
    "every second column": lambda: ({}, randn(3, 22)[:, ::2], torch.tensor([0, 10, -100])),
    "every second target": lambda: ({}, randn(3, 7), torch.arange(6)[::2]),
    "transposed": lambda: ({}, randn(11, 3).T, torch.tensor([0, 10, -100])),
    "expanded": lambda: ({}, randn(3, 1).expand(3, 7), torch.tensor(6).expand(3)),
    "empty batch": lambda: ({}, randn(0, 7), torch.zeros(0, dtype=torch.int64)),
    "some -inf": lambda: (
        {},
        randn(2, 1100).masked_fill_(torch.arange(1100) < 1030, float("-inf")),
        torch.tensor([1099, 1030]),
    ),
    "float64": lambda: ({}, randn(2, 7, dtype=torch.float64), torch.tensor([1, 2])),
    "targets of int32": lambda: ({}, randn(2, 7), torch.tensor([1, 2], dtype=torch.int32)),
    "a target too few": lambda: ({}, randn(4, 7), torch.tensor([1, 2, 3])),
}
INPUTS |= {"softmax": ALONG_THE_LAST_DIMENSION, "cumsum": ALONG_THE_LAST_DIMENSION}
NORM = {"columns": 7}
INPUTS["layer_norm"] = {
    "every second column": lambda: (NORM, randn(2, 3, 14)[..., ::2]),
    "channels last": lambda: (NORM, randn(2, 3, 6, 7).to(memory_format=torch.channels_last)),
    "transposed": lambda: (NORM, randn(7, 6).T),
    "expanded": lambda: (NORM, randn(3, 1, 7).expand(3, 2, 7)),
    "empty batch": lambda: (NORM, randn(0, 7)),
    "no column": lambda: ({"columns": 0}, randn(3, 0)),
    "without a dimension": lambda: (NORM, randn()),
    "far from 0": lambda: ({"columns": 1100}, randn(3, 1100) + 1000),
    "another number of columns": lambda: (NORM, randn(2, 8)),
    "float64": lambda: (NORM, randn(2, 7, dtype=torch.float64)),
    "float16 for float32 weights": lambda: (NORM, randn(2, 7, dtype=torch.float16)),
}
INPUTS["add_rms_norm"] = {what: partial(twice, inputs) for what, inputs in INPUTS["layer_norm"].items()} | {
    "two layouts": lambda: (NORM, randn(7, 6).T, randn(6, 7)),
    "two shapes": lambda: (NORM, randn(2, 7), randn(3, 7)),
    "two dtypes": lambda: (NORM, randn(2, 7), randn(2, 7, dtype=torch.bfloat16)),
}
BACKWARD = ("every second column", "channels last", "transposed", "expanded", "empty batch", "float64")
INPUTS["layer_norm_backward"] = {what: partial(with_rows, INPUTS["layer_norm"][what]) for what in BACKWARD}


def packed(rows: int, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
    """4-bit weights, and the scales of their groups of 128 columns."""
    return torch.randint(0, 256, (rows, columns // 2), dtype=torch.uint8), bfloat16(columns // 128, rows)


bfloat16 = partial(randn, dtype=torch.bfloat16)
LINEAR = {"rows": 5, "columns": 7}
INPUTS["gemv"] = {
    "every second column": lambda: (LINEAR, randn(1, 14)[:, ::2]),
    "transposed": lambda: (LINEAR, randn(7, 3).T),
    "expanded": lambda: (LINEAR, randn(1, 7).expand(3, 7)),
    "empty batch": lambda: (LINEAR, randn(0, 7)),
    "no column": lambda: ({"rows": 5, "columns": 0}, randn(3, 0)),
    "without a dimension": lambda: (LINEAR, randn()),
    "another number of columns": lambda: (LINEAR, randn(2, 8)),
    "float64": lambda: (LINEAR, randn(2, 7, dtype=torch.float64)),
    "float16 for float32 weights": lambda: (LINEAR, randn(2, 7, dtype=torch.float16)),
}
INPUTS["gemv_int4"] = {
    "every second column": lambda: ({}, bfloat16(1, 256)[:, ::2], *packed(5, 128)),
    "transposed": lambda: ({}, bfloat16(128, 3).T, *packed(5, 128)),
    "expanded": lambda: ({}, bfloat16(1, 128).expand(3, 128), *packed(5, 128)),
    "empty batch": lambda: ({}, bfloat16(0, 128), *packed(5, 128)),
    "far below 1": lambda: ({}, bfloat16(1, 128) * 2.0**-40, *packed(5, 128)),
    "far above 1": lambda: ({}, bfloat16(1, 128) * 2.0**40, *packed(5, 128)),
    "float64": lambda: ({}, randn(2, 128, dtype=torch.float64), *packed(5, 128)),
    "groups of 96": lambda: ({"group_size": 96}, bfloat16(1, 192), *packed(5, 192)),
}
GROUPS = {"groups": 2, "channels": 6}
INPUTS["group_norm"] = {
    "every second column": lambda: (GROUPS, randn(2, 6, 5, 14)[..., ::2]),
    "channels last": lambda: (GROUPS, randn(2, 6, 5, 7).to(memory_format=torch.channels_last)),
    "transposed": lambda: (GROUPS, randn(2, 6, 7, 5).transpose(2, 3)),
    "expanded": lambda: (GROUPS, randn(2, 6, 1, 7).expand(2, 6, 5, 7)),
    "empty batch": lambda: (GROUPS, randn(0, 6, 5, 7)),
    "no position": lambda: (GROUPS, randn(2, 6, 0, 7)),
    "far from 0": lambda: (GROUPS, randn(2, 6, 5, 7) + 1000),
    "float64": lambda: (GROUPS, randn(2, 6, 5, 7, dtype=torch.float64)),
    "float16 for float32 weights": lambda: (GROUPS, randn(2, 6, 5, 7, dtype=torch.float16)),
    "other channels": lambda: (GROUPS, randn(2, 8, 5, 7)),
}
INPUTS["topk"] = {
    "every second column": lambda: ({"k": 3}, randn(2, 3, 22)[..., ::2]),
    "channels last": lambda: ({"k": 3}, randn(2, 3, 6, 11).to(memory_format=torch.channels_last)),
    "transposed": lambda: ({"k": 3}, randn(11, 6).T),
    "expanded": lambda: ({"k": 3}, randn(1, 7).expand(3, 7)),
    "empty batch": lambda: ({"k": 3}, randn(0, 7)),
    "some -inf": lambda: ({"k": 3}, randn(1, 1100).masked_fill_(torch.arange(1100) < 1030, float("-inf"))),
    "a nan": lambda: ({"k": 3}, randn(1, 1100).masked_fill_(torch.arange(1100) == 7, float("nan"))),
    "float64": lambda: ({"k": 3}, randn(2, 7, dtype=torch.float64)),
    "fewer columns than k": lambda: ({"k": 3}, randn(4, 2)),
}
INPUTS["matmul"] = {
    "every second column": lambda: ({}, bfloat16(6, 32)[:, ::2], bfloat16(16, 10)[:, ::2]),
    "transposed": lambda: ({}, bfloat16(16, 6).T, bfloat16(5, 16).T),
    "expanded": lambda: ({}, bfloat16(1, 16).expand(6, 16), bfloat16(16, 1).expand(16, 5)),
    "a row": lambda: ({}, bfloat16(1, 16), bfloat16(16, 5)),
    "one term": lambda: ({}, bfloat16(3, 1), bfloat16(1, 261)),
    "three terms": lambda: ({}, bfloat16(30, 3), bfloat16(3, 9)),
    "empty batch": lambda: ({}, bfloat16(0, 16), bfloat16(16, 5)),
    "no term": lambda: ({}, bfloat16(6, 0), bfloat16(0, 5)),
    "float64": lambda: ({}, randn(6, 16, dtype=torch.float64), randn(16, 5, dtype=torch.float64)),
    "bfloat16 by float16": lambda: ({}, bfloat16(6, 16), randn(16, 5, dtype=torch.float16)),
    "another number of terms": lambda: ({}, bfloat16(6, 16), bfloat16(15, 5)),
    "a vector": lambda: ({}, bfloat16(6, 16), bfloat16(16)),
}


def heads(
    q: torch.Tensor, k: torch.Tensor | None = None, *, causal: bool = True
) -> tuple[dict[str, Any], *tuple[torch.Tensor, ...]]:
    """Queries, and keys and values in the same layout, or in another."""
    k = q if k is None else k
    return {"causal": causal}, q, k / 2, k + 1


INPUTS["attention"] = {
    "every second column": lambda: heads(bfloat16(1, 2, 20, 32)[..., ::2]),
    "transposed": lambda: heads(bfloat16(1, 2, 16, 20).mT),
    "heads beside positions": lambda: heads(
        bfloat16(2, 20, 4, 16).transpose(1, 2), bfloat16(2, 20, 2, 16).transpose(1, 2)
    ),
    "expanded": lambda: heads(bfloat16(1, 1, 20, 16).expand(2, 3, 20, 16), bfloat16(2, 1, 20, 16)),
    "not at 16 bytes": lambda: heads(bfloat16(1 + 2 * 20 * 16)[1:].view(1, 2, 20, 16), causal=False),
    "empty batch": lambda: heads(bfloat16(0, 2, 20, 16)),
    "no position": lambda: heads(bfloat16(1, 2, 0, 16)),
    "large scores": lambda: heads(100 * bfloat16(1, 2, 140, 16), causal=False),
    "float64": lambda: heads(randn(1, 2, 20, 16, dtype=torch.float64)),
    "heads in no groups": lambda: heads(bfloat16(1, 3, 20, 16), bfloat16(1, 2, 20, 16)),
}

SQUARE = {"K": 16, "N": 24}
INPUTS["matmul_gelu"] = {
    "every second column": lambda: (SQUARE, bfloat16(5, 32)[:, ::2]),
    "transposed": lambda: (SQUARE, bfloat16(16, 5).T),
    "expanded": lambda: (SQUARE, bfloat16(1, 16).expand(3, 16)),
    "not at 16 bytes": lambda: (SQUARE, bfloat16(1 + 5 * 16)[1:].view(5, 16)),
    "without a batch": lambda: (SQUARE, bfloat16(16)),
    "empty batch": lambda: (SQUARE, bfloat16(0, 16)),
    "another number of columns": lambda: (SQUARE, bfloat16(3, 17)),
    "float64": lambda: (SQUARE, randn(3, 16, dtype=torch.float64)),
}


def eighths(a: torch.Tensor, b: torch.Tensor, scales: int = 1) -> tuple[dict[str, Any], *tuple[torch.Tensor, ...]]:
    """Two matrices in 8 bits, and a scale for each, or for each row of the second."""
    a, b = a.to(torch.float8_e4m3fn), b.to(torch.float8_e4m3fn)
    return {}, a, b, torch.rand(1), torch.rand(scales)


INPUTS["matmul_fp8"] = {
    "every second column": lambda: eighths(randn(5, 64)[:, ::2], randn(24, 64)[:, ::2]),
    "transposed": lambda: eighths(randn(32, 5).T, randn(32, 24).T),
    "expanded": lambda: eighths(randn(1, 32).expand(5, 32), randn(24, 1).expand(24, 32)),
    "empty batch": lambda: eighths(randn(0, 32), randn(24, 32)),
    "no term": lambda: eighths(randn(5, 0), randn(24, 0)),
    "every second scale": lambda: (
        *eighths(randn(5, 32), randn(24, 32))[:3],
        torch.rand(10)[::2],
        torch.rand(48)[::2],
    ),
    "too few scales": lambda: eighths(randn(5, 32), randn(24, 32), 23),
    "float64": lambda: ({}, *(randn(5, 32, dtype=torch.float64) for _ in range(2)), torch.rand(1), torch.rand(1)),
}


def gradients(
    q: torch.Tensor, k: torch.Tensor | None = None, *, causal: bool = True
) -> tuple[dict[str, Any], *tuple[torch.Tensor, ...]]:
    """A gradient, queries, and keys and values in the same layout or in another, the result, and the sums."""
    init, q, k, v = heads(q, k, causal=causal)
    return init, q / 2, q, k, v, q - 1, torch.rand(q.shape[:3]) + 3


INPUTS["attention_backward"] = {
    "every second column": lambda: gradients(bfloat16(1, 2, 20, 32)[..., ::2]),
    "transposed": lambda: gradients(bfloat16(1, 2, 16, 20).mT),
    "expanded": lambda: gradients(bfloat16(1, 1, 20, 16).expand(2, 2, 20, 16), bfloat16(2, 1, 20, 16)),
    "not at 16 bytes": lambda: gradients(bfloat16(1 + 2 * 20 * 16)[1:].view(1, 2, 20, 16), causal=False),
    "empty batch": lambda: gradients(bfloat16(0, 2, 20, 16)),
    "no position": lambda: gradients(bfloat16(1, 2, 0, 16)),
    "float64": lambda: gradients(randn(1, 2, 20, 16, dtype=torch.float64)),
    "keys in no groups": lambda: gradients(bfloat16(1, 3, 20, 16), bfloat16(1, 2, 20, 16)),
}


def derived(operator: Operator, reference: ModuleType) -> dict[str, Inputs]:
    """Return the smallest test case of an operator that names no inputs here, in layouts that no case has."""
    case = min(
        (case for case in operator.select_cases([], "test") if isinstance(case.init, dict | None) and case.shapes),
        key=lambda case: (all(math.prod(shape) < 32 for shape in case.shapes), sum(map(math.prod, case.shapes))),
    )
    dtype = next(dtype for dtype in ("float32", *case.dtypes) if dtype in case.dtypes)
    given = make_inputs(reference, case.with_dtype(dtype), "cpu", 1)

    def other(change: Callable[[torch.Tensor], torch.Tensor], dimensions: int = 1) -> Inputs:
        return lambda: (case.init or {}, *(change(x) if x.dim() >= dimensions else x for x in given))

    return {
        "every second column": other(lambda x: x.repeat_interleave(2, -1)[..., ::2]),
        "transposed": other(lambda x: x.mT.contiguous().mT, 2),
        "expanded": other(lambda x: x[:1].expand(x.shape)),
        "empty batch": other(lambda x: x[:0] if len(x) == len(given[0]) else x),
        "float64": other(lambda x: x.double() if x.is_floating_point() else x),
    }


def outcome(reference: ModuleType, version: ModuleType, init: dict[str, Any], *inputs: torch.Tensor) -> str:
    """Run the version on the inputs; "agrees" when its result is the reference's."""
    case = Case("", init, None, ("bfloat16" if inputs[0].dtype == torch.bfloat16 else "float32",))
    model, _ = make_version(version, reference, make_reference(reference, case, "cpu", 1), case, "cpu", 1)
    try:
        with poisoned_memory(), gpu_stands_in("cpu"):
            got = leaves(model(*inputs))
    except (TypeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    found = compare(got, [*inputs], find_truth(reference, case, "cpu", 1, [*inputs]), "", case, 1)
    return str(found) if isinstance(found, Mismatch) else "agrees"


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
    if launches != 2 * 3:  # a check calls a version twice
        return f"{launches} launches for twice 9 planes, 4 at a time"
    return "agrees" if isinstance(found, CheckRecord) else str(found)


def outcomes(folder: Path, file: Path) -> dict[str, str]:
    """Return what becomes of every input."""
    reference, version = load_module(folder / "reference.py"), load_module(file)
    tried = INPUTS.get(folder.name)
    if tried is None:
        tried = derived(load_operator(folder.parents[1], folder.name), reference)
    found = {what: outcome(reference, version, *inputs()) for what, inputs in tried.items()}
    if hasattr(version, "MAX_GRID_YZ"):
        found["more planes than a grid is long"] = many_launches(reference, version)
    return found


def main() -> None:
    """Print what becomes of every input of each version."""
    folder, *files = map(Path, sys.argv[1:])
    fix_interpreter()
    with torch.no_grad():
        sys.stdout.write(json.dumps({file.name: outcomes(folder, file) for file in files}))


if __name__ == "__main__":
    main()

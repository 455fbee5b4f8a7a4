"""A version against the reference in float64: fresh inputs, poisoned outputs, one tolerance table."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from rooflift.dtypes import DTYPES
from rooflift.project.cases import Case
from rooflift.schema import CheckRecord
from rooflift.worker.protocol import FAR, Mismatch
from rooflift.worker.tensors import make_inputs, make_model, make_pair


def reference_result(reference: ModuleType, case: Case, device: str, seed: int) -> Any:
    """Return what the reference gives in float64 for the parameters and inputs of a seed; it serves every version."""
    import torch

    with torch.no_grad():
        model = make_model(reference.Model, reference, case, device, seed).double()
        return model(*[x.double() if _is_float(x) else x for x in make_inputs(reference, case, device, seed + 1)])


def check_version(
    name: str,
    version: ModuleType,
    reference: ModuleType,
    case: Case,
    device: str,
    seed: int,
    expected: Any = None,
) -> CheckRecord | Mismatch:
    """Run a version on fresh inputs, its uninitialised memory filled with NaN first, and compare.

    `expected` is the `reference_result` of the same case and seed; None computes it.
    """
    import torch

    if expected is None:
        expected = reference_result(reference, case, device, seed)
    with torch.no_grad():
        _, model = make_pair(reference, version, case, device, seed)
        inputs = make_inputs(reference, case, device, seed + 1)
        with poisoned_memory():
            got = model(*inputs)
        return compare(got, expected, name, case, seed)


def compare(got: Any, expected: Any, name: str, case: Case, seed: int) -> CheckRecord | Mismatch:
    """Compare a tensor (or a tuple of them) with the reference's in float64; another shape or dtype is wrong, too."""
    import torch

    got, expected = _tensors(got), _tensors(expected)
    worst: CheckRecord | Mismatch = CheckRecord(name, case.name, case.dtype, seed, 0.0, 0.0)
    if [_form(x) for x in got] != (forms := [_form(x, case.dtype) for x in expected]):
        wanted_form, got_form = ", ".join(forms), ", ".join(_form(x) for x in got)
        return Mismatch(name, case.name, case.dtype, seed, [], wanted_form, got_form, FAR, 0, 0)
    for actual, wanted in zip(got, expected, strict=True):
        if actual.numel() == 0:
            continue
        exact = not _is_float(wanted)
        same = actual == wanted  # equal infinities, too; their difference is NaN
        wanted = wanted.double()
        difference = (actual.double() - wanted).abs_().masked_fill_(same, 0)
        finite = wanted[wanted.isfinite()]
        size = finite.square().mean().sqrt() if finite.numel() else 0
        scale = wanted.abs().add_(size).clamp_min_(torch.finfo(torch.float32).tiny)
        tolerance = torch.finfo(torch.float32).tiny if exact else DTYPES[case.dtype].tolerance
        error = (difference / (scale * tolerance)).masked_fill_(~same & ~wanted.isfinite(), float("inf"))
        error = error.masked_fill_(same, 0).nan_to_num_(nan=float("inf"), posinf=float("inf"))
        largest = float(error.max())
        if largest > 1:
            flat = int(error.argmax())
            return Mismatch(
                name,
                case.name,
                case.dtype,
                seed,
                index=[int(i) for i in torch.unravel_index(torch.tensor(flat), actual.shape)],
                expected=f"{float(wanted.flatten()[flat]):.8g}",
                got=f"{float(actual.flatten()[flat]):.8g}",
                error_over_tolerance=min(largest, FAR),
                wrong_elements=int((error > 1).sum()),
                elements=actual.numel(),
            )
        if largest >= worst.error_over_tolerance:
            worst = CheckRecord(name, case.name, case.dtype, seed, float(difference.max()), largest)
    return worst


@contextlib.contextmanager
def poisoned_memory() -> Iterator[None]:
    """Fill what torch.empty and its kin return with NaN, so that an element that is never written is seen."""
    import torch

    # the debug mode is the switch behind use_deterministic_algorithms, without its import of the inductor (seconds)
    deterministic: Any = torch.utils.deterministic
    mode, filled = torch.get_deterministic_debug_mode(), deterministic.fill_uninitialized_memory
    torch.set_deterministic_debug_mode("warn")
    deterministic.fill_uninitialized_memory = True
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)
        deterministic.fill_uninitialized_memory = filled


def _form(value: Any, dtype: str | None = None) -> str:
    """Return "shape dtype" of a tensor; `dtype` stands for the reference's float64."""
    if not hasattr(value, "shape"):
        return type(value).__name__
    own = str(value.dtype).removeprefix("torch.")
    return f"{tuple(value.shape)} {dtype if dtype and _is_float(value) else own}"


def _tensors(value: Any) -> list[Any]:
    return list(value) if isinstance(value, tuple | list) else [value]


def _is_float(value: Any) -> bool:
    return hasattr(value, "is_floating_point") and value.is_floating_point()

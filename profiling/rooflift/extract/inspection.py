"""A whole request compiled without a GPU: its versions, cases and dtypes for several targets. Launches nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from rooflift.catalog.families import Family
from rooflift.collect.operators import CasePlan, input_shapes, load_module, make_inputs
from rooflift.collect.request import Request
from rooflift.extract.compiled import CompiledKernel, inspect_version
from rooflift.records import CompiledRow, Manifest
from rooflift.runs import to_frame

if TYPE_CHECKING:
    import pandas as pd


def compile_kernels(request: Request, manifest: Manifest | None, targets: Sequence[int]) -> list[CompiledKernel]:
    """Compile the versions for targets (89, 90, ...), without a GPU: the cases and dtypes that ncu would profile.

    A case that takes the reference's own inputs has its shapes from `manifest`, or from the reference.

    Raises:
        KernelFault: a version does not compile.
    """
    return [
        kernel
        for plan in request.counted
        for concrete in [_concrete(request.family, plan, manifest)]
        for version in request.versions
        for kernel in inspect_version(version.path, version.name, concrete, plan.dtype, targets)
    ]


def compile_tables(request: Request, manifest: Manifest | None, targets: Sequence[int]) -> pd.DataFrame:
    """Return what `compile_kernels` found as the rows of compiled.csv."""
    fields = CompiledRow.__struct_fields__
    kernels = compile_kernels(request, manifest, targets)
    return to_frame([CompiledRow(**{f: getattr(kernel, f) for f in fields}) for kernel in kernels], CompiledRow)


class ConcreteCase(msgspec.Struct, frozen=True):
    """A case whose arguments and shapes are known."""

    name: str
    init: dict[str, Any] | list[Any]
    inputs: list[list[int]]


def _concrete(family: Family, plan: CasePlan, manifest: Manifest | None) -> ConcreteCase:
    if plan.init is not None and plan.inputs is not None:
        return ConcreteCase(plan.case, plan.init, plan.inputs)
    for record in manifest.cases if manifest else ():
        if record.case == plan.case:
            return ConcreteCase(plan.case, record.init, record.inputs)
    import torch

    reference = load_module(family.reference)
    with torch.device("meta"):
        shapes = input_shapes(make_inputs(reference, plan, "meta", 0))
    return ConcreteCase(plan.case, reference.get_init_inputs(), shapes)

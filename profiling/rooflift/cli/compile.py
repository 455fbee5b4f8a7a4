"""`rooflift compile`."""

from __future__ import annotations

from rooflift.cli.console import console, print_json, progress_shown
from rooflift.cli.options import DEFAULT_TARGETS, AsJson, Cases, Dtypes, OperatorName, Root, Targets, Versions
from rooflift.cli.resolve import project_root


def compile_(
    operator: OperatorName,
    version: Versions = None,
    case: Cases = None,
    dtype: Dtypes = None,
    target: Targets = None,
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Compile versions without a GPU: registers, spills, occupancy.

    Also shared memory and the instruction mix. Nothing is run.
    """
    import msgspec

    from rooflift.measure.compiled import compile_kernels
    from rooflift.measure.environment import package_version
    from rooflift.measure.request import request_for
    from rooflift.report import columns, tables
    from rooflift.report.terminal import terminal

    request = request_for(
        project_root(root), operator, versions=version, cases=case, dtypes=dtype, use="bench", timeout_s=600
    )
    with progress_shown() as progress:
        progress("compiling")
        kernels = compile_kernels(request, target or list(DEFAULT_TARGETS), progress)
    if as_json:
        print_json([msgspec.structs.asdict(kernel) for kernel in kernels])
        return
    import pandas as pd

    frame = pd.DataFrame([msgspec.structs.asdict(kernel) for kernel in kernels])
    title = f"Compiled by triton {package_version('triton')}, not run"
    console().print(terminal(columns.table("compiled", frame), title))
    mix = pd.DataFrame([{"version": k.version, "dtype": k.dtype, "target": k.target} | k.sass for k in kernels])
    console().print(terminal(tables.mix_table(mix.fillna(0)), "Instructions in the binary"))

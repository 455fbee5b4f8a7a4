"""`rooflift import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from rooflift.cli.console import note, print_json, print_parts
from rooflift.cli.options import AsJson, AssumedUnits, Case, Dtype, OfSomeOperator, Root, SomeGpu, Version


def import_(
    file: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Reports, what `ncu --csv` printed, or metrics as JSON.")
    ],
    out: Annotated[Path, typer.Option(help="The run folder to make.")],
    operator: OfSomeOperator = None,
    version: Version = None,
    gpu: SomeGpu = None,
    case: Case = None,
    dtype: Dtype = None,
    names: Annotated[
        str | None, typer.Option("--as", metavar="v0,v1,...", help="Make a ladder: the names of the files' versions.")
    ] = None,
    by_kernel: Annotated[bool, typer.Option("--by-kernel", help="Make a ladder of the kernels of one file.")] = False,
    kernel: Annotated[str | None, typer.Option(help="Kernels whose name this regular expression finds.")] = None,
    launch: Annotated[int | None, typer.Option(help="The launch of this number, from 0.")] = None,
    skip: Annotated[int, typer.Option(min=0, help="Leave out so many launches, such as warm-ups.")] = 0,
    last: Annotated[bool, typer.Option("--last", help="The last launch that is left.")] = False,
    units: AssumedUnits = "auto",
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Make a run, or a ladder, of reports from elsewhere.

    Repeats of a kernel count as medians, different kernels stand apart. Options that are not given, and that the file
    does not tell either, are recorded as unknown.
    """
    import msgspec

    from rooflift.api.run import Run
    from rooflift.api.shown import short

    label: dict[str, Any] = {"operator": operator, "version": version, "gpu": gpu, "case": case, "dtype": dtype}
    wanted = tuple(name.strip() for name in names.split(",")) if names else ()
    chosen: dict[str, Any] = {"kernel": kernel, "launch": launch, "skip": skip, "last": last}
    run = Run.imported(file, out, **label, names=wanted, by_kernel=by_kernel, **chosen, units=units, root=root)
    if as_json:
        print_json({"run": short(run.folder), **msgspec.to_builtins(run.manifest)})
        return
    print_parts([f"Wrote {short(run.folder)}: {run.operator}, on {run.gpu}"])
    for text in run.manifest.notes:
        note(text)

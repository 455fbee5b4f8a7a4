"""`rooflift import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rooflift.cli.console import console, note, print_json, shown
from rooflift.cli.options import AsJson, Case, Dtype, OfSomeOperator, Root, SomeGpu, Version
from rooflift.cli.resolve import project_root


def import_(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A .ncu-rep, or JSON: kernel -> ncu metric name -> value.")
    ],
    out: Annotated[Path, typer.Option(help="The run folder to make.")],
    operator: OfSomeOperator = None,
    version: Version = None,
    gpu: SomeGpu = None,
    case: Case = None,
    dtype: Dtype = None,
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Make a run of a report or metrics from elsewhere.

    Options that are not given, and that the file does not tell either, are recorded as unknown.
    """
    import msgspec

    from rooflift.importer import Label, import_file
    from rooflift.project.gpus import spec_for_key
    from rooflift.project.operator import load_operator

    top = project_root(root) if operator else (root or Path.cwd())
    of_operator = load_operator(top, operator) if operator else None
    if of_operator and case:
        of_operator.select_cases([case], "bench")
    of_version = of_operator.select_versions([version])[0] if of_operator and version else version or ""
    label = Label(of_operator, of_version, spec_for_key(gpu) if gpu else None, case or "", dtype or "")
    run = import_file(file, label, top, out)
    if as_json:
        print_json({"run": shown(run.folder), **msgspec.to_builtins(run.manifest)})
        return
    manifest = run.manifest
    console().print(f"Wrote {shown(run.folder)}: {manifest.operator}, on {manifest.machine.gpu}", markup=False)
    for text in manifest.notes:
        note(text)

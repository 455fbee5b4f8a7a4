"""`rooflift roofs`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rooflift.cli.console import console, print_json, progress_shown, shown
from rooflift.cli.options import AsJson, Root, Timeout
from rooflift.cli.resolve import project_root
from rooflift.errors import RunFault


def roofs(
    out: Annotated[Path | None, typer.Option(help="The file to write. Default: below reports/roofs/.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    timeout: Timeout = 300,
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Measure this GPU's bandwidths and FLOP rates, for rooflines.

    DRAM and L2 bandwidth, FP32 and tensor core rates. Rooflines draw the newest file of their GPU.
    """
    import msgspec

    from rooflift.analysis.roofline import with_datasheet
    from rooflift.measure.roofs import measure
    from rooflift.report import columns
    from rooflift.report.terminal import terminal
    from rooflift.runs.roofs import roofs_path, write_roofs

    top = project_root(root)
    if out is not None and out.exists() and not force:
        raise RunFault(f"{out} exists", "Name another file, or replace it with --force.")
    with progress_shown() as progress:
        found = measure(top, timeout, progress)
    path = out or roofs_path(top / "reports", found)
    write_roofs(path, found, force=force)
    if as_json:
        print_json({"written": shown(path), **msgspec.to_builtins(found)})
        return
    import pandas as pd

    frame = pd.DataFrame(with_datasheet(found))
    console().print(terminal(columns.table("roofs", frame), f"Roofs of {found.machine.gpu} ({found.created[:10]})"))
    console().print(f"Wrote {shown(path)}", markup=False)

"""`rooflift roofs`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rooflift.cli.console import print_json, print_parts, progress_shown
from rooflift.cli.options import AsJson, Root, Timeout


def roofs(
    out: Annotated[Path | None, typer.Option(help="The file to write. Default: below reports/roofs/.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    timeout: Timeout = 300,
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Measure this GPU's bandwidths and FLOP rates, for rooflines.

    DRAM and L2 bandwidth; rates of FP32, FP64, special functions and tensor cores. SOL and rooflines take the newest
    file of their GPU.
    """
    from rooflift.api import roofs as measured
    from rooflift.api.shown import records, short, titled

    with progress_shown() as progress:
        found = measured.roofs(out=out, force=force, timeout_s=timeout, say=progress, root=root)
    about = found.attrs
    if as_json:
        written = {"written": short(about["file"]), "created": about["created"], "machine": about["machine"]}
        print_json(written | {"rows": records(found)})
        return
    title = f"Roofs of {about['gpu']} ({about['created'][:10]})"
    print_parts([titled("roofs", found, title), f"Wrote {short(about['file'])}"])

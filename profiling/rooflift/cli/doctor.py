"""`rooflift doctor`."""

from __future__ import annotations

import typer

from rooflift.cli.console import console, print_json
from rooflift.cli.options import AsJson, Root

COLOURS = {"ok": "green", "problem": "red", "note": "yellow"}


def doctor(as_json: AsJson = False, root: Root = None) -> None:
    """Show what this machine can measure; each problem with its remedy.

    GPU, driver, ncu and its performance counters, packages, sandbox, disk. Exit codes: 0 no problem, 2 there is one.
    """
    from rich.markup import escape

    from rooflift.api.doctor import doctor as examine

    found = examine(root=root)
    if as_json:
        print_json(found.record())
    else:
        for finding in found.findings:
            sign = f"[{COLOURS[finding.status]}]{finding.status:<7}[/]"
            console().print(f"{sign} [bold]{finding.name}[/]: {escape(finding.detail)}")
            if finding.remedy:
                console().print(f"        {escape(finding.remedy)}")
    if not found.ready:
        raise typer.Exit(2)

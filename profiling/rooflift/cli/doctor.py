"""`rooflift doctor`."""

from __future__ import annotations

from pathlib import Path

import typer

from rooflift.cli.console import console, print_json
from rooflift.cli.options import AsJson, Root

SIGNS = {"ok": "[green]ok[/]", "problem": "[red]problem[/]", "note": "[yellow]note[/]"}


def doctor(as_json: AsJson = False, root: Root = None) -> None:
    """Show what this machine can measure; each problem with its remedy.

    GPU, driver, ncu and its performance counters, packages, sandbox, disk. Exit codes: 0 no problem, 2 there is one.
    """
    import msgspec
    from rich.markup import escape

    from rooflift.measure.doctor import examine

    findings = examine(root or Path.cwd())
    if as_json:
        print_json(msgspec.to_builtins(findings))
    else:
        for finding in findings:
            console().print(f"{SIGNS[finding.status]:<18} [bold]{finding.name}[/]: {escape(finding.detail)}")
            if finding.remedy:
                console().print(f"        {escape(finding.remedy)}")
    if any(finding.status == "problem" for finding in findings):
        raise typer.Exit(2)

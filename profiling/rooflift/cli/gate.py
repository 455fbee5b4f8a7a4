"""`rooflift gate`."""

from __future__ import annotations

from typing import Annotated

import typer

from rooflift.cli.console import print_view
from rooflift.cli.options import AsJson, Root
from rooflift.cli.resolve import run_and_version


def gate(
    what: Annotated[
        str,
        typer.Argument(
            metavar="RUN[:VERSION]", help="The run to judge: RUN or RUN:VERSION. Default: its last version."
        ),
    ],
    base: Annotated[
        str | None, typer.Option(help="RUN or RUN:VERSION for --max-slowdown. Default: the version before it.")
    ] = None,
    max_slowdown: Annotated[
        str | None, typer.Option(help="The most that the time may grow against the base, such as 2%.")
    ] = None,
    min_sol: Annotated[str | None, typer.Option(help="The least SOL %, such as 85%.")] = None,
    max_registers: Annotated[int | None, typer.Option(help="The most registers a thread.", min=1)] = None,
    max_spills: Annotated[int | None, typer.Option(help="The most local loads and stores in a kernel.", min=0)] = None,
    case: Annotated[list[str] | None, typer.Option("--case", "-c", help="Judge the times of these alone.")] = None,
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Check a version against thresholds, for CI.

    They are options, or stand in the table tool.rooflift.gate of pyproject.toml; an option goes first.

    Exit codes: 0 every rule passed, 1 a rule is broken, 2 none is given, or one could not be judged.
    """
    run, version = run_and_version(what, root)
    other, before = run_and_version(base, root) if base else (None, None)
    found = run.gate(
        version,
        base=before,
        other=other,
        max_slowdown=max_slowdown,
        min_sol=min_sol,
        max_registers=max_registers,
        max_spills=max_spills,
        cases=case or (),
    )
    print_view(found, as_json)
    raise typer.Exit(found.exit_code)
